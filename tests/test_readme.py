"""The README is true: its table, its targets, its paths and its code."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import reference

from helpers import checks, datasets, experiments
from helpers.layers import HiddenLayer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_results_table_is_that_of_the_committed_reference():
    frame = pd.read_csv(ROOT / "data" / "reference.csv")
    rows = reference.rows(frame)
    assert "\n".join(rows) in README
    assert reference.replaced(README, rows) == README
    other = reference.rows(frame.assign(validation=1.0))
    assert "| softmax | 1.0 ± " in reference.replaced(README, other)
    names = ["dataset", "network", "train", *reference.COLUMNS[2:]]
    measured = pd.DataFrame(
        [["A", "x", 1.0, 90.04, 0.04, 95.04], ["B", "x", 1.0, 80.06, 0.06, 85.06]],
        columns=names,
    )
    chosen = pd.DataFrame({"learning_rate": [0.02], "momentum": [0.9], "edge": [0.4]})
    found = reference.reference(measured, chosen)
    assert found.to_numpy()[1].tolist() == ["B", "x", 80.1, 0.1, 85.1, 0.02, 0.9]
    assert set(found) == set(frame)
    assert reference.rows(found) == [
        "| network | A | B |",
        "|---|---|---|",
        "| x | 90.0 ± 0.0 | 80.1 ± 0.1 |",
        "| best possible | 95.0 | 85.1 |",
    ]


def test_targets_and_links_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make (?:\S+=\S+ )?([a-z]+)`", README))
    listed = README.split("lists the other targets: ")[1].split(".")[0]
    named |= set(re.findall(r"`([a-z]+)`", listed))
    assert {"report", "test", "lab", "data"} <= named <= targets
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).exists()


def test_layout_names_every_module():
    rooms = ("data", "engine", "helpers", "report")
    modules = {p.stem for room in rooms for p in (ROOT / room).glob("[a-z]*.py")}
    layout = README.split("## How the code is laid out")[1]
    assert modules <= set(re.findall(r"`([a-z]+)`", layout))


def test_the_five_lines_train_a_new_architecture(monkeypatch):
    monkeypatch.setattr(experiments, "ARCHITECTURES", dict(experiments.ARCHITECTURES))
    quick = BLOCKS[0].replace("epochs=20", "epochs=1")
    *lines, last = quick.strip().splitlines()
    scope = {}
    exec("\n".join(lines), scope)
    table = eval(last, scope)
    assert table["network"].tolist() == ["wide"]
    assert table["validation"][0] > 100 / datasets.load("Peaks").classes


def test_the_sweep_trains_as_many_networks_as_it_says(monkeypatch):
    small = BLOCKS[2].replace("np.geomspace(1e-3, 1, 20)", "[0.1, 0.2]")
    small = small.replace("np.arange(100).reshape(5, 20)", "np.arange(2).reshape(1, 2)")
    scope = {}
    exec(small, scope)
    table = pd.concat(scope["rows"])
    assert len(table) == 5 * 2
    assert set(table["network"]) == set(experiments.ARCHITECTURES)
    assert table["replicas"].sum() == 20
    monkeypatch.setattr(experiments, "perform_all", lambda runs, data: [])
    exec(BLOCKS[2], scope)
    sizes = [len(run.seeds) for run in scope["runs"]]
    said = f"These {sum(sizes):,} networks, in {len(sizes)} stacks of {sizes[0]}"
    assert said in README
    assert len(set(sizes)) == 1


def test_the_new_activation_passes_its_checks():
    scope = {"np": np}
    exec(BLOCKS[1], scope)
    rng = np.random.default_rng(0)
    layer, X = HiddenLayer(2, 10, scope["Sigmoid"]()), rng.standard_normal((2, 8))
    tests = checks.layer_tests("mine", layer, X, rng)
    assert len(tests) == 10
    assert all(test.passed for test in tests), [str(t) for t in tests]
