"""What a build shows while it works: a line per notebook in a terminal."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import nbformat.v4 as nbf
import pytest

from typeset import execute
from typeset.watch import Board, clock

ROOT = Path(__file__).parent.parent
WATCH = [sys.executable, ROOT / "typeset" / "watch.py", sys.executable, "-c"]
BUILD = """
import os, sys
if "WATCHED" in os.environ:
    print("executing a.ipynb: 1 of 2 cells, 65 s left", flush=True)
print("a warning", flush=True)
print("executed a.ipynb: 2 cells, 9 s", flush=True)
sys.exit(3)
"""


def test_a_line_per_notebook_takes_the_place_of_the_last():
    board = Board(60)
    assert board.take("executing a.ipynb: 0 of 9 cells\n", 100) == ""
    assert board.draw("", 103).endswith("a.ipynb: 0 of 9 cells, 0:03\n")
    board.take("executing b.ipynb: 1 of 3 cells, 90 s left\n", 110)
    board.take("executing a.ipynb: 4 of 9 cells, 20 s left\n", 110)
    drawn = board.draw(board.take("a warning\n", 115), 115)
    assert drawn == (
        "\x1b[1A\r\x1b[Ja warning\n"
        "a.ipynb: 4 of 9 cells, 0:15, about 0:15 left\n"
        "b.ipynb: 1 of 3 cells, 0:05, about 1:25 left\n"
    )
    said = "executed a.ipynb: 9 cells, 31 s\n"
    assert board.draw(board.take(said, 131), 131).count("a.ipynb") == 1


def test_a_line_is_never_wider_than_the_terminal():
    board = Board(10)
    board.take("executing notebooks/a.ipynb: 0 of 9 cells\n", 0)
    assert board.draw("", 0).splitlines()[-1].endswith("notebooks/")


def test_times_are_minutes_and_seconds():
    assert [clock(s) for s in (0.9, 61, 3600)] == ["0:00", "1:01", "60:00"]


def test_elsewhere_than_in_a_terminal_lines_are_plain():
    run = subprocess.run([*WATCH, BUILD], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert run.stdout == "a warning\nexecuted a.ipynb: 2 cells, 9 s\n"


def test_in_a_terminal_lines_move_and_the_status_is_that_of_the_build():
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*WATCH, BUILD], stdout=theirs, stderr=theirs)
    assert process.wait() == 3
    shown = os.read(ours, 10000).decode()
    assert "a.ipynb: 1 of 2 cells, 0:00, about 1:04 left" in shown
    assert shown.split("\n")[-2].endswith("executed a.ipynb: 2 cells, 9 s\r")
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def pace(tmp_path, monkeypatch):
    """Return a function: the pace of three cells, with what they took before."""

    def pace(*took):
        monkeypatch.setattr(execute, "BUILD", tmp_path)
        cells = [nbf.new_code_cell(str(n), id=f"c{n}") for n in range(3)]
        before = nbf.new_notebook(cells=[nbf.new_code_cell(**cell) for cell in cells])
        for cell, seconds in zip(before.cells, took, strict=False):
            ends = "2030-01-01T00:00:00Z", f"2030-01-01T00:00:{seconds:02}Z"
            cell.metadata["execution"] = dict(zip("ab", ends, strict=True))
        (tmp_path / "executed").mkdir(exist_ok=True)
        if took:
            nbformat.write(before, tmp_path / "executed" / "x.ipynb")
        return execute.Pace(Path("notebooks/x.ipynb"), cells)

    return pace


def test_what_is_left_is_what_the_cells_took_before(pace):
    assert [pace(10, 20, 30).left(done) for done in range(4)] == [60, 50, 30, 0]


def test_without_a_run_before_what_is_left_is_as_slow_as_what_is_done(pace):
    unknown = pace()
    assert unknown.left(0) is None
    unknown.start = time.monotonic() - 10
    assert unknown.left(2) == pytest.approx(5, abs=0.1)


def test_what_was_cut_off_tells_nothing(pace, tmp_path):
    pace(1, 2, 3)
    path = tmp_path / "executed" / "x.ipynb"
    path.write_text(path.read_text("utf-8")[:100], "utf-8")
    assert execute.durations(path) == {}


def test_help_has_a_line_and_a_time_for_every_target():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z]+):  ##", makefile, re.MULTILINE)
    told = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in told.stdout.splitlines() if line.startswith("  make ")]
    assert [line.split()[1] for line in lines] == targets
    timed = [line for line in lines if re.search(r"\((?:\d|at once)", line)]
    assert [line for line in lines if line not in timed] == [
        "  make help        this list (the default)"
    ]
