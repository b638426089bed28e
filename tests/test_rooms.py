"""Imports lead one way: data, engine ← helpers ← report ← playground, benchmarks.

The room `typeset` knows nothing of networks.
"""

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
    "playground": {"data", "engine", "helpers", "report", "playground"},
    "typeset": {"report", "typeset", "playground"},
}


def first_parts(code):
    """Return the packages that Python code imports from."""
    nodes = list(ast.walk(ast.parse(code)))
    named = [n.names for n in nodes if isinstance(n, ast.Import)]
    names = [alias.name for aliases in named for alias in aliases]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_imports_are_found():
    code = "import a.b, c\ndef f():\n    from d.e import g"
    assert first_parts(code) == {"a", "c", "d"}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_none_above(room):
    paths = list((ROOT / room).rglob("*.py"))
    assert paths
    rooms = set().union(*(first_parts(path.read_text("utf-8")) for path in paths))
    assert rooms & {*BELOW} <= BELOW[room]
