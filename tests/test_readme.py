"""README and CONTRIBUTING are true: their table, targets, paths and code."""

import ast
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import reference

from helpers import architectures, datasets, experiments
from helpers.architectures import ARCHITECTURES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MORE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README + MORE, re.DOTALL)
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", README + MORE)))


def test_the_first_page_is_short():
    assert len(README.splitlines()) <= 130


def test_nothing_is_said_twice():
    """No run of eight words stands in both, or twice in one."""
    prose = re.sub(r"```.*?```|^\|.*?$", "", README + MORE, flags=re.DOTALL | re.M)
    words = re.findall(r"\w+", prose)
    runs = Counter(zip(*(words[n:] for n in range(8)), strict=False))
    assert [" ".join(run) for run, times in runs.items() if times > 1] == []


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


def test_every_target_is_explained_and_every_one_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"`make (?:\S+=\S+ )?([a-z]+)", README + MORE))
    assert named == targets


@pytest.mark.parametrize("link", LINKS)
def test_links_point_to_files_and_headings(link):
    path, _, heading = link.partition("#")
    assert (ROOT / path).exists()
    titles = re.findall(r"^#+ (.*)", MORE, re.MULTILINE)
    assert not heading or heading in [t.lower().replace(" ", "-") for t in titles]


def test_layout_names_every_module():
    rooms = ("data", "engine", "helpers", "playground", "report", "typeset")
    modules = {p.stem for room in rooms for p in (ROOT / room).rglob("[a-z]*.py")}
    assert modules <= set(
        re.findall(r"`([a-z]+)`", README.split("## How it is laid out")[1])
    )


SMALLER = {
    "epochs=20": "epochs=1",
    "np.geomspace(1e-3, 1, 20)": "[0.1, 0.2]",
    "np.arange(100).reshape(5, 20)": "np.arange(6).reshape(3, 2)",
}


def test_the_code_blocks_run_in_order_as_a_reader_pastes_them(monkeypatch, capsys):
    known = dict(ARCHITECTURES)
    monkeypatch.setattr(architectures, "ARCHITECTURES", known)
    monkeypatch.setattr(experiments, "ARCHITECTURES", known)
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
    tables = [one for one in shown if one is not None]
    assert [table["network"].tolist() for table in tables] == [["mine"]]
    assert tables[0]["validation"][0] > chance
    printed = capsys.readouterr().out.splitlines()
    for layer in ("Shift", "ReLU"):
        checked = [line for line in printed if layer in line]
        assert len(checked) > 5
        assert all("pass" in line for line in checked), checked
    swept = pd.concat(scope["rows"])
    assert len(swept) == 6 * 2 * 3
    assert swept["replicas"].sum() == 72


def test_the_sweep_has_as_many_networks_as_it_says():
    words = r"These ([\d,]+) networks, in (\d+) stacks of (\d+)"
    networks, stacks, size = (
        int(n.replace(",", "")) for n in re.search(words, MORE).groups()
    )
    assert "np.geomspace(1e-3, 1, 20)" in BLOCKS[-1]
    assert "np.arange(100).reshape(5, 20)" in BLOCKS[-1]
    assert (stacks, size) == (6 * 20 * 5, 20)
    assert networks == stacks * size
