"""Files are written whole or not at all, and a quick trial's apart from the others."""

import os
import runpy
from pathlib import Path

import pytest

from report import files

ROOT = Path(__file__).parent.parent


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"old")
    return path


def test_a_file_is_replaced_as_it_is_told_and_nothing_else_is_left(old):
    files.write(old, b"new\r\n")
    assert old.read_bytes() == b"new\r\n"
    files.write(str(old), "ℓ(θ) ≥ 0\nÉmile\r\n")
    assert old.read_bytes() == "ℓ(θ) ≥ 0\nÉmile\r\n".encode()
    assert list(old.parent.iterdir()) == [old]
    files.write(old.parent / "a" / "b" / "x", "text")
    assert (old.parent / "a" / "b" / "x").read_text() == "text"


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
def test_an_error_while_writing_leaves_what_was_there(
    old, monkeypatch, where, name, fails
):
    with monkeypatch.context() as patch:
        patch.setattr(where, name, fails)
        patch.setattr(os, "getpid", lambda: -1)
        for path in (old, old.with_name("new.csv")):
            with pytest.raises((OSError, KeyboardInterrupt)):
                files.write(path, "new content")
    with pytest.raises(UnicodeEncodeError):
        files.write(old, "\ud800")
    assert old.read_bytes() == b"old"
    parts = set(old.parent.iterdir()) - {old}
    assert all(path.name.startswith(".") for path in parts)
    before = [path.read_bytes() for path in parts]
    files.write(old, b"new")  # what another process has not finished is left alone
    assert old.read_bytes() == b"new"
    assert [path.read_bytes() for path in parts] == before


@pytest.mark.parametrize("quick", ["", "0", None, "1", "yes"])
def test_a_quick_trial_writes_to_a_folder_of_its_own(monkeypatch, quick):
    monkeypatch.delenv("QUICK", raising=False)
    if quick is not None:
        monkeypatch.setenv("QUICK", quick)
    found, is_quick = runpy.run_path(files.__file__), quick in ("1", "yes")
    build = ROOT / "build" / "quick" if is_quick else ROOT / "build"
    assert (found["QUICK"], found["ROOT"], found["BUILD"]) == (is_quick, ROOT, build)
    assert found["FIGURES"] == build / "figures"
    monkeypatch.setenv("KEEP_FIGURES", "1")
    found = runpy.run_path(files.__file__)
    assert found["FIGURES"] == (build if is_quick else ROOT) / "figures"
