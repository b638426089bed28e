"""The build: what make is told, which cell failed, what is locked, what is written."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers.report import dependencies

ROOT = Path(__file__).parent.parent


def notebook(path, *codes):
    nbformat.write(new_notebook(cells=[new_code_cell(code) for code in codes]), path)
    return path


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from helpers import sgd, checks as c", {"sgd", "checks"}),
        ("from helpers.layers import ReLU", {"layers"}),
        ("import helpers.network", {"network"}),
        ("import numpy\nfrom scipy import special", set()),
    ],
)
def test_imports_are_read_from_the_code(code, found):
    assert dependencies.imports(code) == found


def test_a_rule_names_indirect_imports_and_their_companions(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = notebook(
        tmp_path / "x.ipynb", "%matplotlib inline", "import helpers.mistakes"
    )
    first, vanished = dependencies.rule(path, "out").split("\n\n")
    modules = ("mistakes", "checks", "layers", "network", "losses")
    expected = {f"helpers/{module}.py" for module in modules}
    assert set(first.removeprefix("out: ").split()) == expected
    assert vanished == first.removeprefix("out: ") + ":\n"
    drawn = dependencies.rule(notebook(path, "from helpers import figures"), "out")
    assert "helpers/figures.mplstyle" in drawn


def test_a_rule_depends_on_the_data_if_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = notebook(tmp_path / "x.ipynb", "from helpers import datasets")
    assert "build/data.sum" in dependencies.rule(path, "out")


def test_a_failing_cell_is_named_and_leaves_nothing(tmp_path):
    path = notebook(tmp_path / "x.ipynb", "a = 1", "a / 0", "a")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "nbconvert", "--log-level=ERROR"),
            *("--to", "notebook", "--output-dir", tmp_path / "out"),
            "--NotebookExporter.preprocessors=helpers.report.execute.Execute",
            "--KernelManager.transport_encryption=auto",
            path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.endswith("x.ipynb, cell 2: ZeroDivisionError: division by zero")
    assert not (tmp_path / "out" / "x.ipynb").exists()


@pytest.mark.parametrize("folder", [".", "tests"])
def test_the_lock_holds_every_direct_requirement_with_hashes(folder):
    def pins(name):
        text = (ROOT / folder / name).read_text(encoding="utf-8").lower()
        found = re.findall(r"^([a-z][\w.-]*)==(\S+)", text, re.MULTILINE)
        return {(package.replace("_", "-"), number) for package, number in found}

    assert pins("requirements.txt") <= pins("requirements.lock")
    lock = (ROOT / folder / "requirements.lock").read_text(encoding="utf-8")
    assert all("--hash=sha256:" in part for part in lock.split("\n    # via")[:-1])
    assert "://" not in lock


def names_written(code):
    """Return the names that a cell gives to `table`, `save` and `write_csv`."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    writers = {"results.table", "figures.save", "results.write_csv"}
    named = [c.args[1] for c in calls if ast.unparse(c.func) in writers]
    return [name.value for name in named if isinstance(name, ast.Constant)]


def test_no_two_outputs_have_the_same_name():
    written = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for cell in [c for c in cells if c.cell_type == "code"]:
            written += names_written(cell.source)
    assert len(written) > 20
    assert sorted(set(written)) == sorted(written)


def test_what_is_committed_is_small():
    assert sum(p.stat().st_size for p in (ROOT / "figures").iterdir()) < 3_000_000
    assert (ROOT / "report.pdf").stat().st_size < 3_000_000
