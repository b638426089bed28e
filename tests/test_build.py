"""The build: what make is told, which cell failed, what is locked, what is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parent.parent


def notebook(path, *codes):
    nbformat.write(new_notebook(cells=[new_code_cell(code) for code in codes]), path)
    return path


def execute(path, folder):
    """Execute a notebook as the Makefile does."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "nbconvert", "--log-level=ERROR"),
            *("--to", "typeset.execute.Executed", "--output-dir", folder),
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


def test_a_dead_kernel_is_named_and_a_foreign_one_is_not_asked_for(tmp_path):
    run = execute(notebook(tmp_path / "x.ipynb", "import os; os._exit(3)"), tmp_path)
    assert "x.ipynb, cell 1: the kernel died" in run.stderr.splitlines()[-1]
    path = notebook(tmp_path / "y.ipynb", "1")
    nb = nbformat.read(path, as_version=4)
    nb.metadata["kernelspec"] = {"name": "julia", "display_name": "Julia"}
    nbformat.write(nb, path)
    assert execute(path, tmp_path / "out").returncode == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"cells": [\n<<<<<<< HEAD\n', "does not appear to be JSON: .* HEAD"),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
            '[{"cell_type": "code"}]}',
            "missing an expected key: ",
        ),
    ],
)
def test_a_file_that_is_no_notebook_is_named_in_one_line(tmp_path, content, reason):
    (tmp_path / "x.ipynb").write_text(content, "utf-8")
    run = execute(tmp_path / "x.ipynb", tmp_path / "out")
    assert run.returncode != 0
    said = rf"\S*x\.ipynb cannot be read as a notebook: .*{reason}.*"
    assert re.fullmatch(said, run.stderr.strip())


def test_a_cell_that_cannot_be_parsed_is_named(tmp_path):
    run = execute(notebook(tmp_path / "x.ipynb", "1", "a, b =\n    (1, 2)"), tmp_path)
    assert "x.ipynb, cell 2: SyntaxError: invalid" in run.stderr.splitlines()[-1]


LOCKS = (
    *("requirements", "requirements-cluster", "benchmarks/requirements"),
    *("tests/requirements", "tests/mutation/requirements"),
)


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_every_direct_requirement_with_hashes(name):
    def pins(suffix):
        text = (ROOT / f"{name}.{suffix}").read_text(encoding="utf-8").lower()
        found = re.findall(r"^([a-z][\w.-]*)==(\S+)", text, re.MULTILINE)
        return {(package.replace("_", "-"), number) for package, number in found}

    assert pins("txt") <= pins("lock")
    lock = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
    assert all("--hash=sha256:" in part for part in lock.split("\n    # via")[:-1])
    assert "://" not in lock


def test_nothing_is_installed_or_run_that_could_be_another_tomorrow():
    installs = re.findall(r"\$\(install\).*", (ROOT / "Makefile").read_text("utf-8"))
    assert installs
    assert all("--require-hashes" in line for line in installs)
    for workflow in (ROOT / ".github" / "workflows").iterdir():
        used = re.findall(r"uses: \S+@(\S+)", workflow.read_text("utf-8"))
        assert used
        assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in used)


def test_line_ends_are_the_same_on_every_system():
    """Make and the shell cannot read those of Windows, which git writes if asked to."""
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8")


STAND_IN = """#!{python}
import sys, time
from pathlib import Path

words = sys.argv[1:]
if "pytest" in words:
    sys.exit()
if "--output-dir" in words:  # nbconvert
    name = Path(words[-1]).stem
    Path("order").open("a").write(name + "\\n")
    kind = "ipynb" if "typeset.execute.Executed" in words else "typ"
    written = [Path(words[words.index("--output-dir") + 1]) / f"{{name}}.{{kind}}"]
    if name.startswith("5") and kind == "ipynb":
        time.sleep(0.5)
        figures = "build/quick/figures" if "quick" in str(written[0]) else "figures"
        written += [Path(figures) / f"{{n}}.csv" for n in ("chosen", "five_seeds")]
else:  # python -m typeset FILE ...
    written = [Path(words[2])]
    print("wrote", words[2])
for path in written:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{{}}")
"""


@pytest.fixture
def copy(tmp_path):
    """Return a folder with the Makefile whose programs only write their files."""
    paths = (ROOT / "notebooks").rglob("[0-9]*.ipynb")
    notebooks = [path.relative_to(ROOT) for path in paths]
    locks = ("requirements.lock", "tests/requirements.lock")
    handed = ("figures/chosen.csv", "figures/five_seeds.csv", "benchmarks/x.py")
    modules = ["helpers/layers.py"]
    rooms = [
        path for room in ("report", "typeset") for path in (ROOT / room).glob("*.*")
    ]
    modules += [path.relative_to(ROOT) for path in rooms]
    for name in (*notebooks, *locks, *handed, *modules, ".venv/.installed"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    for name in ("Makefile", "typeset/lock.py", "typeset/watch.py", "typeset/lost.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("python", "jupyter"):
        program = tmp_path / ".venv" / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
    return tmp_path


def started(folder, *arguments, **environment):
    """Start a make in a folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "QUICK"))}
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env=clean | {"LC_ALL": "C"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def made(folder, *arguments, **environment):
    """Return what a make in a folder prints; it must succeed."""
    process = started(folder, *arguments, **environment)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


@pytest.mark.parametrize("linked", [False, True])
def test_an_environment_that_make_has_not_made_is_left_alone(copy, tmp_path, linked):
    shutil.rmtree(copy / ".venv")
    theirs = copy / ("elsewhere" if linked else ".venv")
    theirs.mkdir()
    (theirs / "precious").touch()
    if linked:
        (theirs / ".made").touch()
        (copy / ".venv").symlink_to(theirs)
    process = started(copy, "report", f"PYTHON={sys.executable}")
    printed, _ = process.communicate()
    assert process.returncode == 2
    assert "make: .venv is not of make's making, and is left alone: move" in printed
    assert (theirs / "precious").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(copy):
    (copy / "build").write_text("a file")
    printed, _ = started(copy, "report").communicate()
    assert f"{copy}/build cannot be written: build in a copy" in printed
    assert "mkdir" not in printed
    assert executed(copy) == []


PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir .venv/bin && cp "$0" .venv/bin/python ;;
  *" install "*) echo "$*" >>installs; [ ! -e full ] ;;
  *site*|*font_manager*) ;;
  *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def set_up(copy):
    """Return a function that sets up an environment, of packages that are empty."""
    program = copy / "python"
    program.write_text(PYTHON.format(python=sys.executable))
    program.chmod(0o755)

    def set_up(*arguments):
        """Return what make says, and what is installed."""
        (copy / "installs").unlink(missing_ok=True)
        process = started(copy, *arguments, f"PYTHON={program}")
        return process.communicate()[0], (copy / "installs").read_text()

    shutil.rmtree(copy / ".venv")
    return set_up


@pytest.mark.parametrize("left", [(), (".made",), (".made", "bin/python")])
def test_a_setup_that_was_stopped_is_begun_again(copy, set_up, left):
    """Nothing but the folder may be there, or it with its mark, or the packages."""
    (copy / ".venv").mkdir()
    for name in left:
        (copy / ".venv" / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / ".venv" / name).touch()
    set_up("test")
    assert (copy / ".venv" / ".installed-tests").exists()


def test_packages_that_may_be_there_in_part_are_installed_again(copy, set_up):
    (copy / "full").touch()
    printed, _ = set_up("test")
    assert "make: packages could not be installed: is the package index" in printed
    (copy / "full").unlink()
    _, installs = set_up(".venv/.installed")
    assert "--force-reinstall" not in installs
    (copy / "full").touch()
    set_up("test")
    (copy / "full").unlink()
    _, installs = set_up("test")
    assert "--force-reinstall --requirement tests/requirements.lock" in installs


def test_a_folder_of_packages_with_a_blank_is_refused(copy):
    printed, _ = started(copy, "report", "VENV=a b").communicate()
    assert "VENV=a b: name a folder without blanks" in printed
    assert printed.count("\n") == 1


def executed(folder):
    """Return the notebooks executed since the last call, in order."""
    order = folder / "order"
    names = order.read_text().splitlines() if order.exists() else []
    order.unlink(missing_ok=True)
    chapters = [n for n in names if names.count(n) > 1]
    return list(dict.fromkeys(chapters))


def test_a_second_report_does_nothing(copy):
    assert "wrote report.pdf" in made(copy, "report")
    assert len(executed(copy)) == 6
    assert "'report.pdf' is up to date" in made(copy, "report")
    assert executed(copy) == []


@pytest.mark.parametrize("jobs", [(), ("-j3",)])
def test_goals_run_one_after_another(copy, jobs):
    made(copy, "report")
    (copy / "report.pdf").unlink()
    executed(copy)
    printed = made(copy, "clean", "report", *jobs)
    assert (copy / "report.pdf").exists()
    assert len(executed(copy)) == 6
    assert "warning" not in printed
    made(copy, "report", "clean", *jobs)
    assert not (copy / "build").exists()
    made(copy, "clean", "report", "QUICK=1", *jobs)
    assert (copy / "build" / "quick" / "report.pdf").exists()
    assert not (copy / "build" / "executed").exists()


def test_a_second_make_waits_for_the_first(copy):
    both = [started(copy, "report") for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    waited = ["waiting for another make in this folder" in text for text in printed]
    assert sorted(waited) == [False, True]
    assert len(executed(copy)) == 6
    assert len(list((copy / "build" / "executed").iterdir())) == 6


def test_what_is_set_up_waits_for_nothing(copy):
    """JupyterLab opens and tests run while a report is being made."""
    (copy / ".venv" / ".installed-tests").touch()
    report = started(copy, "report")
    while not (copy / "order").exists():
        assert report.poll() is None
    assert "waiting" not in made(copy, "test")
    assert report.poll() is None
    assert "wrote report.pdf" in report.communicate()[0]


@pytest.mark.parametrize("quick", [(), ("QUICK=1",)])
def test_what_is_handed_over_and_lost_is_made_again(copy, quick):
    made(copy, "report", *quick)
    executed(copy)
    lost = copy / ("build/quick/figures" if quick else "figures") / "five_seeds.csv"
    lost.unlink()
    made(copy, "report", *quick)
    assert lost.exists()
    five, six = executed(copy)
    assert (five[0], six[0]) == ("5", "6")
    assert "is up to date" in made(copy, "report", *quick)


def test_a_supplement_is_made_after_the_chapters(copy):
    assert "wrote supplement.pdf" in made(copy, "supplement")
    order = list(dict.fromkeys((copy / "order").read_text().split()))
    assert len(order) > 6
    assert sorted(order[:6]) == sorted(
        p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb")
    )
    assert not (copy / "report.pdf").exists()
    assert "wrote report.pdf" in made(copy, "all")


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ("helpers/layers.py", 6),
        ("report/claims.py", 6),
        ("typeset/report.typ", 0),
        ("notebooks/2_sgd.ipynb", 1),
        ("notebooks/5_five_architectures.ipynb", 2),
    ],
)
def test_what_changes_is_executed_again(copy, changed, count):
    made(copy, "report")
    executed(copy)
    os.utime(copy / changed)
    assert "wrote report.pdf" in made(copy, "report")
    assert len(executed(copy)) == count


@pytest.mark.parametrize("name", ["with space.ipynb", "a$b.ipynb"])
def test_a_name_that_make_cannot_read_is_named(copy, name):
    (copy / "notebooks" / name).touch()
    process = started(copy, "report")
    printed, _ = process.communicate()
    assert process.returncode == 2
    assert f"notebooks: rename {name}: letters, digits" in printed


@pytest.fixture
def told(copy):
    """Return a function: the commands that `make report` would run in an empty copy."""
    return lambda *arguments, **environment: made(
        copy, "--dry-run", "report", *arguments, **environment
    )


def places(commands):
    """Return the paths below build/ and figures/ and those of reports in commands."""
    return set(re.findall(r"(?:build|figures)/[\w./-]+|\S*report\.pdf", commands))


def test_a_quick_report_is_built_in_a_folder_of_its_own(told):
    commands = told("QUICK=1")
    assert "typeset build/quick/report.pdf build/quick/chapters/" in commands
    written = places(commands)
    assert len(written) > 20
    assert [path for path in written if not path.startswith("build/quick/")] == []
    assert told(QUICK="1") == told("QUICK=yes") == commands


def test_a_quick_report_is_the_full_one_in_another_folder(told):
    commands = told()
    assert "typeset report.pdf build/chapters/" in commands
    assert "quick" not in commands
    moved = commands.replace("build/", "build/quick/")
    moved = re.sub(r"(?<![\w/])report\.pdf", "build/quick/report.pdf", moved)
    assert moved == told("QUICK=1")


@pytest.mark.parametrize("quick", ["QUICK=0", "QUICK="])
def test_quick_may_be_switched_off(told, quick):
    assert told(quick) == told()
