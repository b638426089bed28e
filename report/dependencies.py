"""`python -m report.dependencies NOTEBOOK TARGET FILE`: a rule for make.

Writes to FILE that TARGET depends on every file of `helpers/`, `report/` and `data/`
that the notebook imports, itself or through another, and on the data if it loads them.
"""

import ast
import sys
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from report.files import write

ROOMS = ("helpers", "report", "data")
DATA = "build/data.sum"  # changes with the content of data/ (see the Makefile)


def imported(code):
    """Return the names that Python code imports, as lists of their parts."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return [name.split(".") for name in names]


def imports(code):
    """Return the modules of the rooms that Python code imports, as room/name."""
    paths = imported(code)
    return {"/".join(path[:2]) for path in paths if path[0] in ROOMS and path[1:]}


def files(names, seen=()):
    """Return the files of the named modules and of all that those import."""
    found = set(seen)
    for path in [p for name in names for p in Path().glob(f"{name}.*")]:
        if path not in found:
            found.add(path)
            if path.suffix == ".py":
                found |= files(imports(path.read_text("utf-8")), found)
    return found


def rule(notebook, target):
    """Return the make rule; each file is a target too, so that one may vanish."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    needed = files(imports(TransformerManager().transform_cell(code)))
    listed = " ".join(sorted(map(str, needed)))
    data = f" {DATA}" if Path("helpers/datasets.py") in needed else ""
    return f"{target}: {listed}{data}\n\n{listed}:\n"


if __name__ == "__main__":
    notebook, target, name = sys.argv[1:]
    write(name, rule(notebook, target))
