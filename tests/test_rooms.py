"""Imports lead one way: data, engine ← helpers ← report ← benchmarks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "data": {"data"},
    "engine": {"engine"},
    "helpers": {"data", "engine", "helpers"},
    "report": {"data", "engine", "helpers", "report"},
    "benchmarks": {"data", "engine", "helpers", "report", "benchmarks"},
}


def imported(code):
    """Return the first part of the name of each module that Python code imports."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_imports_are_found():
    code = "import a.b, c\ndef f():\n    from d.e import g"
    assert imported(code) == {"a", "c", "d"}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_none_above(room):
    paths = list((ROOT / room).glob("*.py"))
    assert paths
    rooms = set().union(*(imported(path.read_text("utf-8")) for path in paths))
    assert rooms & {*BELOW} <= BELOW[room]
