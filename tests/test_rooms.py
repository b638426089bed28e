"""Imports lead one way: data, engine ← helpers ← report ← playground, benchmarks.

The room `typeset` knows nothing of networks, and the lesson is read in one order.
"""

import ast
import json
import re
from pathlib import Path

import pytest

import helpers

ROOT = Path(__file__).parent.parent
BELOW = {
    "data": ["data"],
    "engine": ["engine"],
    "helpers": ["data", "engine", "helpers"],
    "report": ["data", "engine", "helpers", "report"],
    "benchmarks": ["data", "engine", "helpers", "report", "benchmarks"],
    "playground": ["data", "engine", "helpers", "report", "playground"],
    "typeset": ["typeset", "report.files", "playground.lab"],
    "notebooks": ["data", "engine", "helpers", "report", "playground"],
}
FORMULAS = ["losses", "layers", "network", "sgd"]
LESSON = re.findall(r"`(\w+)`[,.]", helpers.__doc__.split("order of the lessons")[1])
LESSON = LESSON[: LESSON.index("experiments") + 1]


def imports(code):
    """Return the modules that Python code imports, also those taken from a package."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def source(path):
    """Return the Python code of a module or of a notebook, its commands left out."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return text
    cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    lines = "\n".join("".join(cell) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def within(module, places):
    return any(f"{module}.".startswith(f"{place}.") for place in places)


def lines(*paths):
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


def test_imports_are_found():
    code = "import a.b, c\ndef f():\n    from d.e import g"
    assert imports(code) == ["a.b", "c", "d.e.g"]
    assert within("d.e.g", ["d.e"])
    assert not within("de.g", ["d"])


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_none_above(room):
    paths = [*(ROOT / room).rglob("*.py"), *(ROOT / room).rglob("*.ipynb")]
    assert paths
    found = {module for path in paths for module in imports(source(path))}
    ours = {module for module in found if within(module, BELOW)}
    assert {module for module in ours if not within(module, BELOW[room])} == set()


def test_the_lesson_has_all_modules_and_each_imports_from_those_before_it():
    folder = ROOT / "helpers"
    assert {*LESSON} == {path.stem for path in folder.glob("[!_]*.py")}
    for number, name in enumerate(LESSON):
        found = imports(source(folder / f"{name}.py"))
        allowed = [f"helpers.{one}" for one in ("backstage", *LESSON[:number])]
        later = [m for m in found if within(m, ["helpers"]) and not within(m, allowed)]
        assert later == [], name


def test_formulas_know_no_engine_and_leave_refusals_to_the_contracts():
    texts = {name: source(ROOT / f"helpers/{name}.py") for name in FORMULAS}
    modules = [m for text in texts.values() for m in imports(text)]
    assert not any(within(module, ["engine"]) for module in modules)
    raised = re.findall(r"\braise \w+", "\n".join(texts.values()))
    assert raised == ["raise DivergenceError"]


def test_readme_states_the_sizes_of_the_lesson_and_of_what_it_leans_on():
    readme = (ROOT / "README.md").read_text("utf-8")
    (stated,) = re.findall(r"(\d+) lines .* `backstage/`, (\d+) lines", readme)
    lesson = {*(ROOT / "helpers").glob("*.py")} - {ROOT / "helpers/mistakes.py"}
    sizes = lines(*lesson), lines(*(ROOT / "helpers/backstage").glob("*.py"))
    assert [*map(int, stated)] == [round(size, -2) for size in sizes]
