"""A folder is itself: it runs its own code, under its own settings, on whole files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from typeset import lost

ROOT = Path(__file__).parent.parent
SHOW = ["make", "--silent", "--eval", "show: ; @env", "show"]
THEIRS = {
    "PYTHONPATH": "elsewhere",
    "PYTHONSTARTUP": "elsewhere.py",
    "MPLBACKEND": "TkAgg",
    "MATPLOTLIBRC": "elsewhere",
    "IPYTHONDIR": "elsewhere",
    "MPLCONFIGDIR": "elsewhere",
    "PROJECT": "elsewhere",
}


def surroundings(*arguments):
    """Return the environment in which make runs its commands in this folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    run = {"cwd": ROOT, "env": clean | THEIRS, "capture_output": True}
    printed = subprocess.run([*SHOW, *arguments], text=True, check=True, **run).stdout
    return dict(line.partition("=")[::2] for line in printed.splitlines())


def test_nothing_of_a_users_own_settings_is_left():
    found = surroundings()
    assert not [name for name in THEIRS if "elsewhere" in found.get(name, "")]
    assert found["JUPYTER_NO_CONFIG"] == "1"


def test_an_environment_elsewhere_is_told_the_folder_that_make_stands_in():
    assert "PROJECT" not in surroundings()
    assert surroundings("VENV=../shared")["PROJECT"] == str(ROOT)


def test_code_is_imported_from_the_folder_that_is_named(tmp_path):
    (tmp_path / "helpers.py").write_text("where = 'here'")
    code = [sys.executable, "-c", "import helpers; print(helpers.where)"]
    run = {"cwd": "/", "env": os.environ | {"PROJECT": str(tmp_path)}, "text": True}
    assert subprocess.check_output(code, **run) == "here\n"


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A folder with an executed notebook, its chapter, a figure and a picture."""
    monkeypatch.chdir(tmp_path)
    for folder in ("build/executed/more", "build/chapters/more", "figures"):
        Path(folder).mkdir(parents=True)
    Path("figures/x.csv").write_text("1")
    Path("build/chapters/more/p.svg").write_text("2")
    Path("build/chapters/more/1_x.typ").write_text('#image("p.svg", alt: "x")')
    Path("build/executed/more/1_x.ipynb").write_text("{}")
    lost.note(Path("build/made/more/1_x.ipynb"), [tmp_path / "figures" / "x.csv"])
    return tmp_path


def test_what_is_whole_is_left_alone(built, capsys):
    before = sorted(built.rglob("*"))
    lost.main("build")
    assert sorted(built.rglob("*")) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "content", "words", "gone"),
    [
        ("figures/x.csv", "3", "made figures/x.csv, which is lost or ch", "executed"),
        ("figures/x.csv", None, "made figures/x.csv, which is lost or ch", "executed"),
        ("build/executed/more/1_x.ipynb", '{"cells": [', "is damaged", "executed"),
        ("build/chapters/more/p.svg", None, "", "chapters"),
    ],
)
def test_what_is_lost_or_damaged_is_made_again(
    built, capsys, path, content, words, gone
):
    Path(path).unlink()
    if content is not None:
        Path(path).write_text(content)
    lost.main("build")
    left = {p.parent.parent.name for p in built.glob("build/*/more/1_x.[ti]*")}
    assert left == {"executed", "chapters", "made"} - {gone}
    assert words in capsys.readouterr().err
    Path("build/made/more/1_x.ipynb").unlink()  # without it nothing is known
    lost.main("build")


LOOKS = 600  # a minute of them: a worker looks at its parent every second
WORKER = """
import os, sys, time
from helpers.backstage.parallel import perform_jobs
def job(number):
    print(os.getpid(), flush=True)
    time.sleep(600)
list(perform_jobs(job, [(0,), (1,)], 2))
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_whom_they_work_for(way):
    whole = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, **whole) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(way)
        looks = 0
        while any(map(is_alive, workers)) and looks < LOOKS:
            time.sleep(0.1)
            looks += 1
    left = [worker for worker in workers if is_alive(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def is_alive(process):
    """Return whether a process runs."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
