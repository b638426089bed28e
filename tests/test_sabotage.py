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
def test_a_broken_line_is_noticed_by_its_threshold(name, capsys):
    kind, module, right, broken = SABOTAGE[name]
    main([name])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    changes = [f"- {right.strip()}", f"+ {broken.strip()}"]
    assert lines[:3] == [f"{name}: helpers/{module}", *changes]
    assert re.search(rf"^FAIL    {kind}.*{NUMBERS[name]}", lines[4])


def test_what_is_not_broken_fails_nothing():
    assert failures("layers.py", "return y > 0", "return y > 0") == []
    with pytest.raises(ValueError, match=r"helpers/sgd.py has no 'xyz' to break"):
        failures("sgd.py", "xyz", "")
