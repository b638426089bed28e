"""Tables, source code and provenance, as notebook and report see them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import checks
from helpers.layers import OutputLayer
from helpers.losses import softmax
from report import files, results
from report.claims import compare


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep the project's own figures out of reach."""
    monkeypatch.setattr(results, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(results, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(files, "ROOT", tmp_path)
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


def test_a_csv_file_comes_back_as_it_was(folder, frame):
    results.write_csv(frame, "some table")
    pd.testing.assert_frame_equal(results.read_csv("some table", "2_sgd"), frame)
    assert [path.name for path in folder.iterdir()] == ["some table.csv"]
    assert b"\r" not in (folder / "some table.csv").read_bytes()


def test_what_is_not_made_anew_is_read_from_the_last_report(tmp_path, frame):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "best.csv").write_text("x\n1\n")
    assert results.read_csv("best", "5_five")["x"].tolist() == [1]
    results.write_csv(pd.DataFrame({"x": [2]}), "best")
    assert results.read_csv("best", "5_five")["x"].tolist() == [2]


def test_a_missing_file_names_the_notebook_that_writes_it():
    with pytest.raises(
        FileNotFoundError, match=r"figures/best\.csv .*notebooks/5_five\.ipynb first"
    ):
        results.read_csv("best", "5_five")


def test_a_table_is_formatted_in_text_and_exact_in_its_file(folder, frame):
    before = frame.copy(deep=True)
    shown, metadata = markdown(results.table(frame, "t", {"accuracy": "{:.1f} %"}))
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in shown.split("\n")
    ]
    assert lines[0] == ["network", "accuracy", "runs"]
    assert lines[2:] == [["a", "97.1 %", "3"], ["b", "–", "4"]]
    assert [(cell[0], cell[-1]) for cell in lines[1]] == [(":", "-"), *2 * [("-", ":")]]
    assert metadata == {"label": "t"}
    assert "97.123," in (folder / "t.csv").read_text()
    pd.testing.assert_frame_equal(frame, before)
    shown, _ = markdown(results.table(pd.DataFrame({"x": [0.1]}), "t", {"x": "{:.3f}"}))
    assert "0.100" in shown


def test_source_shows_the_code_and_its_file(monkeypatch):
    monkeypatch.undo()
    shown, metadata = markdown(results.source(OutputLayer.forward, OutputLayer.jvp))
    assert shown.startswith("`helpers/layers.py`\n\n```python\ndef forward(self, x, ")
    assert "\n    return W @ x + b, (x, W)\n\ndef jvp(" in shown
    assert metadata == {"listing": "helpers/layers.py"}
    with pytest.raises(ValueError, match="too many values"):
        results.source(softmax, OutputLayer)


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


def test_a_check_table_shows_the_worst_of_each_number_and_verdict():
    tests = [
        check(kind="transpose", error=3e-16),
        *(check(kind="Taylor", orders=o) for o in ((1.01, 2), (0.97, 2.1), (1.02, 3))),
        check(kind="transpose", error=5e-16, verdict="refused"),
        check(kind="complex step", error=1e-16, verdict="FAIL"),
        check("central difference", error=1e-9, block="y"),
        check("Taylor", orders=(1, np.nan), function="g", verdict="refused"),
    ]
    table = results.check_table(tests)
    assert table["block"].tolist() == ["x", "y", "x"]
    assert table["verdict"].tolist() == ["FAIL", "pass", "refused"]
    first = table.drop(columns=["function", "block", "verdict"]).iloc[0]
    np.testing.assert_array_equal(first, [6, 0.97, 2, np.nan, 1e-16, 5e-16])
    assert np.isnan(table["order 2"][2])
    whole = results.check_table(tests, by=["function"]).set_index("function")
    assert "block" not in whole
    assert whole["tests"].to_dict() == {"f": 7, "g": 1}
    assert "transpose" not in results.check_table(tests[6:7])


def test_a_certificate_is_the_same_on_every_processor(folder):
    """Other last digits of what is rounding noise leave its file as it is."""
    written = []
    for noise in (1.0, 1.7):
        tests = [
            check("Taylor", orders=(1.0, 2 + 1e-5 * noise)),
            check("complex step", error=2e-16 * noise),
            check("transpose", error=4e-16 * noise),
        ]
        shown = results.certificate(tests, "c", drop=["tests"], function="layer")
        text, _ = markdown(shown)
        written.append((folder / "c.csv").read_text())
    assert written[0] == written[1]
    assert written[0].startswith(
        "layer,block,order 1,order 2,complex,transpose,verdict"
    )
    assert " 2.00 |" in text
    assert "< 1e−13" in text


def test_comparisons_are_named_by_their_keys_and_saved_with_their_word():
    found = {("A", "x"): compare([3, 4, 5], [1, 1, 2]), ("A", "y"): compare([1], [2])}
    shown = results.comparisons(found, ["dataset", "network"], "pairs").markdown
    assert "| A         | x         |" in shown
    frame = results.read_csv("pairs", "any")
    assert frame["verdict"].tolist() == ["better", "undecided"]
    assert frame["difference"].tolist() == pytest.approx([8 / 3, -1], rel=1e-4)


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


def test_thresholds_stand_with_their_reasons():
    shown, _ = markdown(results.thresholds("t"))
    assert "0.95 to 1.05" in shown
    assert "≥ 1.95" in shown
    assert "≤ 1e−13" in shown
