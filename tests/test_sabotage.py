"""Every threshold is seen to catch a line of code broken by hand."""

import re

import pytest
from sabotage import SABOTAGE, failures, main

NUMBERS = {  # what the failing check must have measured
    "order-1": r"order nan",
    "order-2": r"order 1\.\d+, then [01]\.\d+ ",
    "rounding": r"layer: b .*order 1\.0\d+, then 1\.0\d+ ",
    "central-difference": r"error 1e-06 \(required: relative error ≤ 1e-07\)",
    "complex-step": r"error \de-12 \(required: relative error ≤ 1e-13\)",
    "transpose": r"error \de-1[23] \(required: relative error ≤ 1e-13\)",
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_broken_line_is_noticed_by_its_threshold(name):
    kind, *change = SABOTAGE[name]
    found = [line for line in failures(*change) if kind in line]
    assert any(re.search(NUMBERS[name], line) for line in found)


def test_a_line_left_as_it_is_fails_nothing():
    assert failures("layers.py", "return y > 0", "return y > 0") == []


def test_code_that_is_not_there_cannot_be_broken():
    with pytest.raises(ValueError, match=r"helpers/sgd.py has no 'xyz' to break"):
        failures("sgd.py", "xyz", "")


def test_the_report_of_one_threshold_names_code_and_check(capsys):
    main(["central-difference"])
    printed = capsys.readouterr().out
    for part in ("helpers/layers.py", "- return y > 0", "FAIL    central difference"):
        assert part in printed
    assert "transpose" not in printed
