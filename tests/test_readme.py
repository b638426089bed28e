"""The README is true: its table, its targets, its paths and its code."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
import reference

from helpers import datasets, experiments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_results_table_is_that_of_the_committed_reference():
    frame = pd.read_csv(ROOT / "data" / "reference.csv")
    table = "\n".join(reference.rows(frame))
    assert table in README
    assert reference.replaced(README, reference.rows(frame)) == README
    other = reference.rows(frame.assign(validation=1.0))
    assert "| softmax | 1.0 ± " in reference.replaced(README, other)


def test_reference_is_rounded_and_has_the_choice():
    frame = pd.DataFrame(
        {
            "dataset": ["A", "B"],
            "network": "x",
            "train": 1.0,
            "validation": [90.04, 80.06],
            "validation sd": [0.04, 0.06],
            "ceiling": [95.04, 85.06],
        }
    )
    chosen = pd.DataFrame({"learning_rate": [0.02], "momentum": [0.9], "edge": [0.4]})
    found = reference.reference(frame, chosen)
    assert found.to_numpy()[1].tolist() == ["B", "x", 80.1, 0.1, 85.1, 0.02, 0.9]
    assert reference.rows(found) == [
        "| network | A | B |",
        "|---|---|---|",
        "| x | 90.0 ± 0.0 | 80.1 ± 0.1 |",
        "| best possible | 95.0 | 85.1 |",
    ]
    assert set(found) == set(pd.read_csv(ROOT / "data" / "reference.csv"))


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
    rooms = ("data", "engine", "helpers", "playground", "report", "typeset")
    modules = {p.stem for room in rooms for p in (ROOT / room).rglob("[a-z]*.py")}
    assert modules <= set(
        re.findall(r"`([a-z]+)`", README.split("## How the code is laid out")[1])
    )


SMALLER = {
    "epochs=20": "epochs=1",
    "np.geomspace(1e-3, 1, 20)": "[0.1, 0.2]",
    "np.arange(100).reshape(5, 20)": "np.arange(6).reshape(3, 2)",
}


def test_the_code_blocks_run_in_order_as_a_reader_pastes_them(monkeypatch, capsys):
    monkeypatch.setattr(experiments, "ARCHITECTURES", dict(experiments.ARCHITECTURES))
    scope, shown = {}, []
    for block in BLOCKS:
        lines = block
        for large, small in SMALLER.items():
            lines = lines.replace(large, small)
        *body, last = ast.parse(lines).body
        exec(compile(ast.Module(body, []), "README.md", "exec"), scope)
        if isinstance(last, ast.Expr):
            shown.append(eval(ast.unparse(last), scope))
        else:
            exec(ast.unparse(last), scope)
    chance = 100 / datasets.load("Peaks").classes
    assert [table["network"].tolist() for table in shown] == [["wide"], ["sigmoid"]]
    assert all(table["validation"][0] > chance for table in shown)
    printed = capsys.readouterr().out.splitlines()
    checked = [line for line in printed if "mine" in line]
    assert len(checked) == 10
    assert all("pass" in line for line in checked), checked
    swept = pd.concat(scope["rows"])
    assert len(swept) == 7 * 2 * 3
    assert swept["replicas"].sum() == 84


def test_the_sweep_has_as_many_networks_as_it_says():
    words = r"These ([\d,]+) networks, in (\d+) stacks of (\d+)"
    networks, stacks, size = (
        int(n.replace(",", "")) for n in re.search(words, README).groups()
    )
    assert "np.geomspace(1e-3, 1, 20)" in BLOCKS[-1]
    assert "np.arange(100).reshape(5, 20)" in BLOCKS[-1]
    assert (stacks, size) == (7 * 20 * 5, 20)
    assert networks == stacks * size
