"""The build: what make is told, which cell failed, what is locked, what is written."""

import ast
import os
import re
import shutil
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


def execute(path, folder):
    """Execute a notebook as the Makefile does."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "nbconvert", "--log-level=ERROR"),
            *("--to", "notebook", "--output-dir", folder),
            "--NotebookExporter.preprocessors=helpers.report.execute.Execute",
            "--KernelManager.transport_encryption=auto",
            path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_failing_cell_is_named_and_leaves_nothing(tmp_path):
    path = notebook(tmp_path / "x.ipynb", "a = 1", "a / 0", "a")
    run = execute(path, tmp_path / "out")
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
    """Return the names of the files that a cell writes to figures/."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    writers = {  # with the place of the name among the arguments
        "figures.save": 1,
        "results.certificate": 1,
        "results.comparisons": 2,
        "results.table": 1,
        "results.write_csv": 1,
    }
    called = [(c, ast.unparse(c.func)) for c in calls]
    named = [c.args[writers[name]] for c, name in called if name in writers]
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


@pytest.fixture
def told(tmp_path):
    """Return a function: the commands that `make report` would run in an empty copy."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    notebooks = [path.name for path in (ROOT / "notebooks").glob("*.ipynb")]
    lock = ("requirements.lock", ".venv/.installed")
    for name in (*(f"notebooks/{name}" for name in notebooks), *lock):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "QUICK"))}

    def told(*arguments, **environment):
        return subprocess.run(
            ["make", "--dry-run", "report", *arguments],
            cwd=tmp_path,
            env=clean | environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return told


def places(commands):
    """Return the paths below build/ and figures/ and those of reports in commands."""
    return set(re.findall(r"(?:build|figures)/[\w./-]+|\S*report\.pdf", commands))


def test_a_quick_report_is_built_in_a_folder_of_its_own(told):
    commands = told("QUICK=1")
    assert "helpers.report build/quick/report.pdf build/quick/chapters/" in commands
    written = places(commands)
    assert len(written) > 20
    assert [path for path in written if not path.startswith("build/quick/")] == []
    assert told(QUICK="1") == told("QUICK=yes") == commands


def test_a_quick_report_is_the_full_one_in_another_folder(told):
    commands = told()
    assert "helpers.report report.pdf build/chapters/" in commands
    assert "quick" not in commands
    moved = commands.replace("build/", "build/quick/")
    moved = re.sub(r"(?<![\w/])report\.pdf", "build/quick/report.pdf", moved)
    assert moved == told("QUICK=1")


@pytest.mark.parametrize("quick", ["QUICK=0", "QUICK="])
def test_quick_may_be_switched_off(told, quick):
    assert told(quick) == told()
