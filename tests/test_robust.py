"""The comparison of runs under imitated processors finds what it should."""

import inspect
import os

import digests
import nbformat
import numpy as np
import pytest
import robust
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers import sgd
from helpers.layers import OutputLayer
from helpers.network import Network

HOLDS, NOT, OPEN = "holds", "does not hold", "undecided"
FILES = {"5_x, 9 trainings": "c" * 64, "a.csv": "d" * 64}


@pytest.mark.parametrize(
    ("verdicts", "files", "shown"),
    [
        ({}, {}, []),
        ({"n0": OPEN}, {}, ["n0"]),
        ({"n2": HOLDS, "n5": None}, {}, ["n2", "n5", "missing"]),
        ({"more": HOLDS}, {}, ["more", "missing"]),
        ({}, {"a.csv": "e" * 64}, ["a.csv", "e" * 12]),
        ({}, {"5_x, 9 trainings": "e" * 64}, ["e" * 12]),
    ],
)
def test_everything_is_the_same_or_it_fails(verdicts, files, shown):
    ours = {("5", f"n{n}"): (HOLDS, NOT, OPEN)[n % 3] for n in range(6)}
    theirs = ours | {("5", claim): word for claim, word in verdicts.items()}
    runs = {robust.HERE: ours, "other": {k: v for k, v in theirs.items() if v}}
    made = {robust.HERE: FILES, "other": FILES | files}
    text, same = robust.comparison(runs, made)
    assert "2 runs, each with 6 verdicts (2 times holds, 2 times does not hold" in text
    assert "1 files, and the trainings of 1 notebooks" in text
    assert f"5_x, 9 trainings: {'c' * 64}" in text
    assert same == (not shown)
    assert text.endswith("The same everywhere." if same else "FAIL")
    assert all(part in text for part in shown)
    assert [claim for _, claim in robust.differing(runs).index] == [*verdicts]


def test_what_a_run_made_is_read_whatever_the_order_of_its_trainings(tmp_path):
    figures = "build/quick/figures" if robust.QUICK else "figures"
    folders = [tmp_path / name for name in ("one", "other", "third")]
    for folder, lines in zip(folders, ("a b", "b a", "a c"), strict=True):
        for name, text in {
            f"{figures}/x.csv": "1",
            **dict.fromkeys(robust.documents(), "2"),
            "build/digests/5_x.txt": lines,
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    one, other, third = (robust.made(folder, "") for folder in folders)
    assert set(robust.made(folders[0], "56")) == {"5_x, 2 trainings"}
    assert robust.made(folders[0], "6") == {}
    assert set(one) == {"x.csv", "report.pdf", "supplement.pdf", "5_x, 2 trainings"}
    assert one == other
    assert one["5_x, 2 trainings"] != third["5_x, 2 trainings"]


def test_a_training_is_noted_with_its_parameters_and_history(tmp_path, blobs):
    for change in (0, 0, 1e-7):
        network = Network([OutputLayer(2, 3)], np.random.default_rng(0))
        network.parameters[0] += change
        train = digests.note(sgd.train, tmp_path / "x.txt")
        rng = np.random.default_rng(1)
        history = train(
            network, blobs(), sgd.SGD(0.1), rng=rng, epochs=1, progress=False
        )
        assert history["epoch"].tolist() == [0, 1]
    one, same, other = (tmp_path / "x.txt").read_text().split()
    assert one == same != other
    assert inspect.getsource(train) == inspect.getsource(sgd.train)
    more = history | {"train_loss": history["train_loss"] + 1}
    assert digests.digest(network.parameters, history) == other
    assert digests.digest(network.parameters, more) != other


def test_verdicts_are_read_from_the_notebooks(tmp_path):
    words = {"a": (True, HOLDS), "b": (False, NOT), "c": (None, OPEN)}
    outputs = [new_output("stream", text="no")] + [
        new_output("display_data", metadata={"verdict": {"claim": c, "holds": holds}})
        for c, (holds, _) in words.items()
    ]
    cells = [new_code_cell("x", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "3_x.ipynb")
    expected = {("3_x", claim): word for claim, (_, word) in words.items()}
    assert robust.verdicts([tmp_path / "3_x.ipynb"]) == expected


def test_imitations_are_single_ones_and_one_of_both_that_change_something(monkeypatch):
    names = robust.imitations(["X", "Y"])
    assert next(iter(names)) == "Nehalem and plain loops"
    assert names["Nehalem and plain loops"] == {
        "OPENBLAS_CORETYPE": "Nehalem",
        "ENGINE_CPU": "nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X Y",
    }
    assert len(names) == 4
    fused = robust.imitations(["X86_V3"])
    assert fused["Nehalem and plain loops"]["ENGINE_CPU"] == "haswell"
    assert fused["Nehalem"] == names["Nehalem"]
    assert set(robust.imitations([])) == {"Nehalem", "Sandybridge"}
    assert robust.effective({"none": {}}) == {}
    monkeypatch.setattr(robust, "processor", lambda settings: settings.get("A", "real"))
    settings = {"same": {"A": "real"}, "other": {"A": "old"}}
    assert robust.effective(settings) == {"other": {"A": "old"}}


def test_a_copy_has_what_the_notebooks_need_and_no_results(tmp_path):
    robust.copy_project([tmp_path / "copy"])
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {*robust.COPIED, ".venv", "figures", "sitecustomize.py"}
    assert not list((tmp_path / "copy").rglob("__pycache__"))


def test_a_second_copy_keeps_what_was_executed_and_takes_what_was_changed(
    tmp_path, monkeypatch
):
    root, copy = tmp_path / "root", tmp_path / "copy"
    make = root / "Makefile", copy / "Makefile"
    for path in (root / "helpers", copy / "build"):
        path.mkdir(parents=True)
    make[0].touch()
    os.utime(make[0], (1, 1))
    monkeypatch.setattr(robust, "ROOT", root)
    monkeypatch.setattr(robust, "COPIED", ("Makefile", "helpers"))
    for name in ("old.py", "new.py"):
        (root / "helpers" / name).touch()
        robust.copy_project([copy])
        (root / "helpers" / name).unlink()
        assert [path.name for path in (copy / "helpers").iterdir()] == [name]
        assert [path.stat().st_mtime for path in make] == [1, 1]
        assert (copy / "build").is_dir()


def test_a_run_knows_nothing_of_the_make_that_asked(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "k")
    monkeypatch.setenv("MAKELEVEL", "1")
    found = robust.surroundings({"OPENBLAS_CORETYPE": "Nehalem"})
    assert not {"MAKEFLAGS", "MAKELEVEL"} & set(found)
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
    (tmp_path / "notebooks" / "1_x.ipynb").touch()
    (tmp_path / "Makefile").write_text("build/%:\n\t@false\n")
    with pytest.raises(ValueError, match=r"CHAPTERS: no notebook .* '9'"):
        robust.execute(tmp_path, {}, "9")
    with pytest.raises(ValueError, match="a notebook fails in"):
        robust.execute(tmp_path, {}, "")
    monkeypatch.setattr(robust, "effective", lambda settings: {})
    assert robust.main("", []) == 1
    assert capsys.readouterr().out.startswith("make: NumPy and OpenBLAS")
