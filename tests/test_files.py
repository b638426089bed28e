"""Files are written whole or not at all, and a quick trial's apart from the others."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from report import files

ROOT = Path(__file__).parent.parent


def visible(folder):
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("kind", [Path, str])
def test_a_file_is_replaced_and_nothing_else_is_left(old, kind):
    files.write(kind(old), b"new\r\n")
    assert old.read_bytes() == b"new\r\n"
    assert list(old.parent.iterdir()) == [old]


def test_text_is_written_as_utf_8_and_its_lines_as_they_are(old):
    files.write(old, "ℓ(θ) ≥ 0\nÉmile\r\n")
    assert (
        old.read_bytes() == b"\xe2\x84\x93(\xce\xb8) \xe2\x89\xa5 0\n\xc3\x89mile\r\n"
    )


def test_folders_are_made(tmp_path):
    files.write(tmp_path / "a" / "b" / "x", "text")
    assert (tmp_path / "a" / "b" / "x").read_text() == "text"


def half_written(self, content):
    with open(self, "wb") as file:
        file.write(content[:2])
    raise OSError("disk full")


def stopped(*paths):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "name", "fails"),
    [(Path, "write_bytes", half_written), (os, "replace", stopped)],
)
@pytest.mark.parametrize("before", [b"old", None])
def test_an_error_while_writing_leaves_what_was_there(
    tmp_path, monkeypatch, where, name, fails, before
):
    path = tmp_path / "x.csv"
    if before:
        path.write_bytes(before)
    monkeypatch.setattr(where, name, fails)
    with pytest.raises((OSError, KeyboardInterrupt)):
        files.write(path, "new content")
    assert visible(tmp_path) == (["x.csv"] if before else [])
    assert not before or path.read_bytes() == before


def test_text_that_has_no_utf_8_touches_nothing(old):
    with pytest.raises(UnicodeEncodeError):
        files.write(old, "\ud800")
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_what_another_process_has_not_finished_is_left_alone(old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            files.write(old, b"of another")
    (part,) = set(old.parent.iterdir()) - {old}
    files.write(old, b"new")
    assert old.read_bytes() == b"new"
    assert part.read_bytes() == b"of another"


def module(monkeypatch, quick):
    """Return the names of report/files.py as they are with QUICK=`quick`."""
    monkeypatch.delenv("QUICK", raising=False)
    if quick is not None:
        monkeypatch.setenv("QUICK", quick)
    return runpy.run_path(files.__file__)


@pytest.mark.parametrize("quick", [None, "", "0"])
def test_a_full_run_writes_to_the_projects_own_folders(monkeypatch, quick):
    full = module(monkeypatch, quick)
    assert full["QUICK"] is False
    assert full["ROOT"] == ROOT
    assert full["BUILD"] == ROOT / "build"
    assert full["FIGURES"] == ROOT / "figures"


@pytest.mark.parametrize("quick", ["1", "yes"])
def test_a_quick_trial_writes_to_a_folder_of_its_own(monkeypatch, quick):
    trial = module(monkeypatch, quick)
    assert trial["QUICK"] is True
    assert trial["BUILD"] == ROOT / "build" / "quick"
    assert trial["FIGURES"] == ROOT / "build" / "quick" / "figures"


def test_tables_follow_the_quick_trial():
    code = "from report import results; print(results.FIGURES)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "QUICK": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == [str(ROOT / "build" / "quick" / "figures")]
