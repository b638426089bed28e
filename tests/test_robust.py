"""The comparison of runs under imitated processors finds what it should."""

import nbformat
import numpy as np
import pandas as pd
import pytest
import robust
from nbformat.v4 import new_code_cell, new_notebook, new_output

HOLDS, NOT, OPEN = "holds", "does not hold", "undecided"


def runs(**changes):
    """Two runs of a hundred verdicts, the other with some changed."""
    ours = {("5", f"claim {n}"): (HOLDS, NOT, OPEN)[n % 3] for n in range(100)}
    theirs = ours | {("5", f"claim {n[1:]}"): word for n, word in changes.items()}
    return {robust.HERE: ours, "other": {k: v for k, v in theirs.items() if v}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"n0": OPEN}, []),
        ({"n0": OPEN, "n2": HOLDS}, []),
        ({"n0": OPEN, "n2": HOLDS, "n5": NOT}, ["3 of 100 verdicts change"]),
        ({"n0": NOT}, ["1 verdicts flip"]),
        ({"n1": HOLDS}, ["1 verdicts flip"]),
        ({"n1": None}, ["1 claims are not made in both"]),
        ({"nmore": HOLDS}, ["1 claims are not made in both"]),
    ],
)
def test_faults_of_verdicts_are_those_that_a_reader_would_mind(changes, words):
    faults = robust.verdict_faults(runs(**changes))
    assert len(faults) == len(words)
    for fault, word in zip(faults, words, strict=True):
        assert fault.startswith("other: ")
        assert word in fault


def test_what_differs_is_listed_and_nothing_else():
    found = robust.differing(runs(n0=NOT, n4=None))
    assert found["claim"].tolist() == ["claim 0", "claim 4"]
    assert found["other"].tolist() == [NOT, "missing"]
    assert robust.differing(runs()).empty


def table(sd=0.1, **changes):
    frame = pd.DataFrame(
        {
            "dataset": ["A", "B"],
            "network": "x",
            "validation": [90.0, 80],
            "validation sd": [sd, 0.1],
            "failed": 0,
            "seeds": 10,
            "choice": "η = 0.1",
        }
    )
    for name, value in changes.items():
        frame.loc[0, name] = value
    return frame


@pytest.mark.parametrize(
    ("sd", "changes", "words"),
    [
        (0.1, {}, []),
        (0.1, {"validation": 90.5}, []),
        (0.1, {"validation": 89.4}, ["-0.60 points (A, x), at most 0.50"]),
        (5, {"validation": 84.0}, []),
        (5, {"validation": 83.0}, ["-7.00 points (A, x), at most 6.71"]),
        (0.1, {"validation": np.nan}, ["nan points"]),
        (0.1, {"failed": 2}, ["2 replicas fail (A, x)"]),
    ],
)
def test_faults_of_the_table_are_failures_and_more_than_chance(sd, changes, words):
    tables = {robust.HERE: table(sd), "other": table(sd, **changes)}
    faults = robust.headline_faults(tables)
    assert len(faults) == len(words)
    assert all(word in fault for fault, word in zip(faults, words, strict=True))


def test_the_tables_stand_side_by_side_with_failures_and_choices():
    tables = {robust.HERE: table(), "other": table(failed=2)}
    files = {"other": ["five_x.csv", "sgd_y.csv"], "third": []}
    text = robust.comparison(runs(n0=NOT), tables, files, ["other: one"])
    assert "other: 2 files in figures/ differ: five_x.csv, sgd_y.csv" in text
    assert "third: 0 files in figures/ differ \n" in text
    assert "100 verdicts in each of 2 runs" in text
    assert "1 differ somewhere" in text
    assert "90.00 ± 0.10 (2 failed)" in text
    assert text.count("η = 0.1") == 2
    assert text.endswith("other: one\n\nFAIL")
    assert robust.comparison(runs(), {}, {}, []).endswith("The same everywhere.")


def test_files_of_trained_networks_are_the_same_or_a_fault(tmp_path):
    folders = {name: tmp_path / name for name in (robust.HERE, "other", "third")}
    figures = "build/quick/figures" if robust.QUICK else "figures"
    for n, folder in enumerate(folders.values()):
        (folder / figures).mkdir(parents=True)
        (folder / figures / "five_a.csv").write_text("x" * (n == 2))
        (folder / figures / "sgd_b.csv").write_text("x" * (n > 0))
    (folders["third"] / figures / "small_c.csv").write_text("x")
    changed = robust.differing_files(folders)
    every = ["five_a.csv", "sgd_b.csv", "small_c.csv"]
    assert changed == {"other": ["sgd_b.csv"], "third": every}
    faults = robust.file_faults(changed)
    assert [fault.split(" differs")[0] for fault in faults] == [
        "third: five_a.csv",
        "third: small_c.csv",
    ]


def test_verdicts_are_read_from_the_notebooks(tmp_path):
    outputs = [
        new_output("display_data", metadata={"verdict": {"claim": c, "holds": holds}})
        for c, holds in (("a", True), ("b", False), ("c", None))
    ]
    cells = [new_code_cell("x", outputs=[*outputs, new_output("stream", text="no")])]
    path = tmp_path / "3_x.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert robust.verdicts([path]) == {
        ("3", "a"): HOLDS,
        ("3", "b"): NOT,
        ("3", "c"): OPEN,
    }


def test_imitations_are_single_ones_and_one_of_both():
    names = robust.imitations(["X", "Y"])
    assert next(iter(names)) == "Nehalem and plain loops"
    assert names["Nehalem and plain loops"] == {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
        "NPY_DISABLE_CPU_FEATURES": "X Y",
    }
    assert len(names) == 4
    assert set(robust.imitations([])) == {"Nehalem", "Sandybridge"}


def test_what_changes_nothing_is_no_imitation(monkeypatch):
    assert robust.effective({"none": {}, "words": {"MAKEFLAGS": "k"}}) == {}
    monkeypatch.setattr(robust, "processor", lambda settings: settings.get("A", "real"))
    settings = {"same": {"A": "real"}, "other": {"A": "old"}}
    assert robust.effective(settings) == {"other": {"A": "old"}}


def test_a_copy_has_what_the_notebooks_need_and_no_results(tmp_path):
    robust.copy_project([tmp_path / "copy"])
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {*robust.COPIED, ".venv"}
    assert not list((tmp_path / "copy").rglob("__pycache__"))


def test_a_second_copy_keeps_what_was_executed_and_takes_what_was_changed(
    tmp_path, monkeypatch
):
    root, copy = tmp_path / "root", tmp_path / "copy"
    (root / "helpers").mkdir(parents=True)
    (root / "helpers" / "old.py").write_text("1")
    (root / "Makefile").write_text("1")
    monkeypatch.setattr(robust, "ROOT", root)
    monkeypatch.setattr(robust, "COPIED", ("Makefile", "helpers"))
    robust.copy_project([copy])
    (copy / "build").mkdir()
    date = (copy / "Makefile").stat().st_mtime
    assert date == (root / "Makefile").stat().st_mtime
    (root / "helpers" / "old.py").rename(root / "helpers" / "new.py")
    robust.copy_project([copy])
    assert [path.name for path in (copy / "helpers").iterdir()] == ["new.py"]
    assert (copy / "build").is_dir()
    assert (copy / "Makefile").stat().st_mtime == date


def test_a_run_knows_nothing_of_the_make_that_asked(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "k")
    monkeypatch.setenv("MAKELEVEL", "1")
    found = robust.surroundings({"OPENBLAS_CORETYPE": "Nehalem"})
    assert "MAKEFLAGS" not in found
    assert "MAKELEVEL" not in found
    assert found["OPENBLAS_CORETYPE"] == "Nehalem"


def test_an_unknown_imitation_or_chapter_is_refused_and_not_passed_over(
    tmp_path, capsys, monkeypatch
):
    known = {"A": {"X": "1"}, "B": {"X": "2"}}
    assert robust.chosen(known, []) == known
    assert robust.chosen(known, ["B"]) == {"B": {"X": "2"}}
    with pytest.raises(ValueError, match="ONLY: no 'C' among A, B"):
        robust.chosen(known, ["C"])
    with pytest.raises(ValueError, match="no other processor"):
        robust.chosen({}, [])
    monkeypatch.setattr(robust, "QUICK", True)
    assert robust.chosen(known, []) == {"A": {"X": "1"}}
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(ValueError, match=r"CHAPTERS: no notebook .* '9'"):
        robust.execute(tmp_path, {}, "9")
    monkeypatch.setattr(robust, "effective", lambda settings: {})
    assert robust.main("", []) == 1
    assert capsys.readouterr().out.startswith("make: NumPy and OpenBLAS")


def test_a_notebook_that_fails_is_told_in_a_sentence(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "1_x.ipynb").touch()
    (tmp_path / "Makefile").write_text("build/%:\n\t@false\n")
    with pytest.raises(ValueError, match="a notebook fails in"):
        robust.execute(tmp_path, {}, "")
