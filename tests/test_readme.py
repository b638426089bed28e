"""The README is true: its table, its targets, its paths and its code."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import checks, datasets, experiments
from helpers.layers import HiddenLayer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def rows():
    """Return the results table as {network: [cells]}."""
    section = README.split("## Results")[1].split("##")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if not row[0].startswith("-")}


def test_results_table_is_that_of_the_csv():
    """Rows of a user's own data have no ceiling: the README speaks of ours.

    Another processor rounds float32 otherwise, which may move a mean by a tenth.
    """
    frame = pd.read_csv(ROOT / "figures" / "five_architectures.csv")
    table = rows()
    header = [f"{name}Data" for name in table.pop("network")]
    best = dict(zip(header, table.pop("best possible"), strict=True))
    assert set(table) == set(frame["network"])
    for row in frame.dropna(subset="ceiling").to_dict("records"):
        said = table[row["network"]][header.index(row["dataset"])]
        mean, sd = map(float, said.split(" ± "))
        assert mean == pytest.approx(row["validation"], abs=0.15)
        assert sd == pytest.approx(row["validation sd"], abs=0.15)
        assert best[row["dataset"]] == f"{row['ceiling']:.1f}"


def test_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make (?:\S+=\S+ )?([a-z]+)`", README))
    listed = README.split("lists the other targets: ")[1].split(".")[0]
    named |= set(re.findall(r"`([a-z]+)`", listed))
    assert {"report", "test", "lab", "data"} <= named <= targets


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_links_point_to_files(path):
    assert (ROOT / path).exists()


def test_layout_names_every_module():
    modules = {p.stem for p in (ROOT / "helpers").glob("[a-z]*.py")}
    assert modules <= set(re.findall(r"`([a-z]+)`", README.split("## Layout")[1]))


def test_the_five_lines_train_a_new_architecture(monkeypatch):
    monkeypatch.setattr(experiments, "ARCHITECTURES", dict(experiments.ARCHITECTURES))
    quick = BLOCKS[0].replace("epochs=20", "epochs=1")
    *lines, last = quick.strip().splitlines()
    scope = {}
    exec("\n".join(lines), scope)
    table = eval(last, scope)
    assert table["network"].tolist() == ["wide"]
    assert table["validation"][0] > 100 / datasets.load("PeaksData").classes


def test_the_sweep_trains_every_network_with_every_rate_and_seed():
    small = BLOCKS[2].replace("np.geomspace(1e-3, 1, 20)", "[0.1, 0.2]")
    small = small.replace("np.arange(100).reshape(5, 20)", "np.arange(6).reshape(3, 2)")
    scope = {}
    exec(small, scope)
    table = pd.concat(scope["rows"])
    assert len(table) == 5 * 2 * 3
    assert set(table["network"]) == set(experiments.ARCHITECTURES)
    assert table["replicas"].sum() == 60


def test_the_sweep_has_as_many_networks_as_it_says(monkeypatch):
    monkeypatch.setattr(experiments, "perform_all", lambda runs, data: [])
    scope = {}
    exec(BLOCKS[2], scope)
    networks, stacks, replicas = re.search(
        r"These ([\d,]+) networks, in (\d+) stacks of (\d+)", README
    ).groups()
    sizes = [len(run.seeds) for run in scope["runs"]]
    assert len(sizes) == int(stacks)
    assert set(sizes) == {int(replicas)}
    assert sum(sizes) == int(networks.replace(",", ""))


def test_the_new_activation_passes_its_checks():
    scope = {"np": np}
    exec(BLOCKS[1], scope)
    rng = np.random.default_rng(0)
    layer, X = HiddenLayer(2, 10, scope["Sigmoid"]()), rng.standard_normal((2, 8))
    tests = checks.layer_tests("mine", layer, X, rng)
    assert len(tests) == 9
    assert all(test.passed for test in tests), [str(t) for t in tests]
