"""Tables, verdicts, source code and provenance, as notebook and report see them."""

import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import checks
from helpers.layers import OutputLayer
from helpers.losses import softmax
from report import claims, results
from report.claims import compare


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep the project's own figures out of reach."""
    monkeypatch.setattr(results, "FIGURES", tmp_path / "figures")
    return tmp_path / "figures"


@pytest.fixture
def frame():
    return pd.DataFrame(
        {"network": ["a", "b"], "accuracy": [97.123456, None], "runs": [3, 4]}
    )


def markdown(output):
    data, metadata = output._repr_mimebundle_()
    assert data["text/markdown"] == data["text/plain"]
    return data["text/markdown"], metadata


def test_a_verdict_on_a_number_that_is_unknown_is_undecided():
    assert claims.verdict("1", "a", np.nan, "b").metadata["verdict"]["holds"] is None


def test_a_csv_file_comes_back_as_it_was(folder, frame):
    results.write_csv(frame, "some table")
    pd.testing.assert_frame_equal(results.read_csv("some table", "2_sgd"), frame)
    assert [path.name for path in folder.iterdir()] == ["some table.csv"]
    assert b"\r" not in (folder / "some table.csv").read_bytes()


def test_a_file_is_written_whole_or_not_at_all(folder, monkeypatch):
    results.write("x.csv", "old")

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        results.write("x.csv", "new")
    assert (folder / "x.csv").read_text() == "old"


def test_a_missing_file_names_the_notebook_that_writes_it():
    with pytest.raises(
        FileNotFoundError, match=r"figures/best\.csv .*notebooks/5_five\.ipynb first"
    ):
        results.read_csv("best", "5_five")


def test_a_table_is_formatted_in_text_and_exact_in_its_file(folder, frame):
    shown, metadata = markdown(results.table(frame, "t", {"accuracy": "{:.1f} %"}))
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in shown.split("\n")
    ]
    assert lines[0] == ["network", "accuracy", "runs"]
    assert lines[2:] == [["a", "97.1 %", "3"], ["b", "–", "4"]]
    assert [(cell[0], cell[-1]) for cell in lines[1]] == [(":", "-"), *2 * [("-", ":")]]
    assert metadata == {}
    assert "97.123," in (folder / "t.csv").read_text()


def test_a_table_leaves_its_frame_as_it_was(frame):
    before = frame.copy(deep=True)
    results.table(frame, "t", {"accuracy": "{:.1f}"})
    pd.testing.assert_frame_equal(frame, before)


def test_numbers_that_look_like_text_stay_as_formatted():
    shown, _ = markdown(results.table(pd.DataFrame({"x": [0.1]}), "t", {"x": "{:.3f}"}))
    assert "0.100" in shown


@pytest.mark.parametrize(
    ("given", "holds", "word"),
    [
        (True, True, "holds"),
        (False, False, "does not hold"),
        (None, None, "undecided"),
        (np.True_, True, "holds"),
        (np.False_, False, "does not hold"),
    ],
)
def test_a_verdict_comes_out_either_way_or_undecided(given, holds, word):
    shown, metadata = markdown(claims.verdict("2.1.1", "it is so", given, "1 of 2"))
    assert shown == f"**Verdict (2.1.1): {word}.** it is so: 1 of 2."
    assert metadata["verdict"].pop("holds") is holds
    assert metadata == {
        "verdict": {"item": "2.1.1", "claim": "it is so", "number": "1 of 2"}
    }


def test_source_shows_the_code_itself():
    shown, _ = markdown(results.source(softmax, OutputLayer.forward))
    assert shown.startswith("```python\ndef softmax(Z):\n")
    assert "\n    return E / E.sum(axis=-2, keepdims=True)\n\n" in shown
    assert '\n\ndef forward(self, x, W, b):\n    """' in shown
    assert shown.endswith("return W @ x + b, (x, W)\n```")


def test_provenance_names_versions_data_and_seeds():
    data = {"GMM": SimpleNamespace(source="drawn by somebody, seed 7")}
    shown, metadata = markdown(results.provenance(data, training_seeds=(1, 2)))
    rows = metadata["provenance"]
    assert rows["NumPy"] == np.__version__
    assert rows["GMM"] == "drawn by somebody, seed 7"
    assert rows["seeds: training seeds"] == "(1, 2)"
    assert set(rows) >= {"Python", "SciPy", "Matplotlib", "BLAS"}
    assert all(type(value) is str and value in shown for value in rows.values())


def check(kind="transpose", verdict="pass", error=np.nan, **fields):
    return checks.Check(kind, verdict, 0, 0, error, **fields)


@pytest.mark.parametrize("factor", [1, 1.01])
def test_a_check_table_has_a_row_per_derivative(factor):
    rng = np.random.default_rng(0)
    tests = checks.gradient_tests(
        "f",
        lambda x, y: np.sum(x**3, axis=-1) + np.sum(y, axis=-1),
        lambda x, y: (3 * factor * x**2, np.ones(2)),
        {"x": np.ones(3), "y": np.ones(2)},
        rng,
    )
    table = results.check_table(tests).set_index("block")
    assert table["function"].tolist() == ["f", "f"]
    assert table["tests"].tolist() == [2, 2]
    assert table["verdict"].to_dict() == {
        "x": "pass" if factor == 1 else "FAIL",
        "y": "pass",
    }
    assert table["order 2"]["x"] == tests[0].orders[1]
    assert table["complex"]["x"] == tests[1].error
    assert np.isnan(table["order 2"]["y"])
    assert "transpose" not in table


def test_a_check_table_shows_the_worst_of_each_number():
    tests = [
        check(kind="transpose", error=3e-16),
        *(check(kind="Taylor", orders=o) for o in ((1.01, 2), (0.97, 2.1), (1.02, 3))),
        check(kind="transpose", error=5e-16),
        check(kind="complex step", error=1e-16),
        check("central difference", error=1e-9, block="y"),
        check("Taylor", orders=(1, np.nan), function="g"),
    ]
    table = results.check_table(tests)
    assert table["block"].tolist() == ["x", "y", "x"]
    first = table.drop(columns=["function", "block", "verdict"]).iloc[0]
    np.testing.assert_array_equal(first, [6, 0.97, 2, np.nan, 1e-16, 5e-16])
    assert np.isnan(table["order 2"][2])
    whole = results.check_table(tests, by=["function"]).set_index("function")
    assert "block" not in whole
    assert whole["tests"].to_dict() == {"f": 7, "g": 1}
    assert whole["central"]["f"] == 1e-9


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (["pass", "FAIL", "refused"], "FAIL"),
        (["FAIL", "pass"], "FAIL"),
        (["pass", "refused"], "refused"),
        (["pass", "pass"], "pass"),
    ],
)
def test_a_derivative_has_the_worst_of_its_verdicts(verdicts, worst):
    tests = [check(verdict=verdict) for verdict in verdicts]
    assert results.check_table(tests)["verdict"].tolist() == [worst]


def test_comparisons_are_named_by_their_keys_and_saved_with_their_word():
    found = {("A", "x"): compare([3, 4, 5], [1, 1, 2]), ("A", "y"): compare([1], [2])}
    shown = results.comparisons(found, ["dataset", "network"], "pairs").markdown
    assert "| A         | x         |" in shown
    frame = results.read_csv("pairs", "any")
    assert frame["verdict"].tolist() == ["better", "undecided"]
    assert frame["difference"].tolist() == pytest.approx([8 / 3, -1], rel=1e-4)


def outcome(verdict, kind="Taylor", order=2.0, error=0.5):
    return checks.Check(kind, verdict, 1, 1, error, orders=(1.0, order))


@pytest.mark.parametrize(
    ("verdicts", "word", "number"),
    [
        (["pass", "pass"], "holds", "2 of 2 pass, lowest order 2.0"),
        (["pass", "FAIL", "refused"], "does not hold", "1 of 3 pass, 1 refused, "),
        (["pass", "refused"], "undecided", "1 of 2 pass, 1 refused, "),
        ([], "undecided", "0 of 0 pass."),
    ],
)
def test_a_refused_check_certifies_nothing(verdicts, word, number):
    said, _ = markdown(claims.certify("2.1.1", "It is right", map(outcome, verdicts)))
    assert f"(2.1.1): {word}." in said
    assert f"It is right: {number}" in said


def test_all_pass_has_three_answers():
    good, bad, none = map(outcome, ("pass", "FAIL", "refused"))
    assert claims.all_pass([good, good]) is True
    assert claims.all_pass([good, none, bad]) is False
    assert claims.all_pass([good, none]) is None
    assert claims.all_pass([]) is None


def test_a_tally_has_the_worst_of_every_kind():
    tests = [
        outcome("pass", order=2.0),
        outcome("pass", order=1.956),
        outcome("pass", "complex step", np.nan, 1e-16),
        outcome("pass", "complex step", np.nan, 4e-15),
        outcome("pass", "central difference", np.nan, 3e-8),
        outcome("FAIL", "transpose", np.nan, 2.4e-3),
        outcome("refused", "complex step", np.nan, np.nan),
    ]
    assert claims.tally(tests) == (
        "5 of 7 pass, 1 refused, lowest order 2.0, central difference < 1e-07, "
        "complex step < 1e-13, transpose 2e-03"
    )


def test_a_certificate_is_the_same_on_every_processor(folder):
    """Other last digits of what is rounding noise leave its file as it is."""
    files = []
    for noise in (1.0, 1.7):
        tests = [
            outcome("pass", order=2 + 1e-5 * noise),
            outcome("pass", "complex step", np.nan, 2e-16 * noise),
            outcome("pass", "transpose", np.nan, 4e-16 * noise),
        ]
        shown = results.certificate(results.check_table(tests), "certificate")
        text, _ = markdown(shown)
        files.append((folder / "certificate.csv").read_text())
    assert files[0] == files[1]
    assert " 2.00 |" in text
    assert "< 1e−13" in text


@pytest.mark.parametrize(
    ("text", "typeset"),
    [
        ("2e-05", "2e−5"),
        ("-0.5 (-1 to 1e-10)", "−0.5 (−1 to 1e−10)"),
        ("one-hot, 2-D, W-1", "one-hot, 2-D, W-1"),
        ("1e+03", "1e+03"),
    ],
)
def test_minus_signs_are_typeset_and_hyphens_kept(text, typeset):
    assert results.typeset(text) == typeset
