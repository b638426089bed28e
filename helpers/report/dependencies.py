"""`python -m helpers.report.dependencies NOTEBOOK TARGET FILE`: a rule for make.

Writes to FILE that TARGET depends on every file of `helpers/` that the notebook
imports, directly or through another, and on the data if it loads them.
"""

import ast
import os
import sys
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager


def imports(code):
    """Return the names of the modules of `helpers` that Python code imports."""
    nodes = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ImportFrom)]
    names = {n.module.split(".")[-1] for n in nodes if n.module.startswith("helpers.")}
    whole = [n.names for n in nodes if n.module == "helpers"]
    return names | {alias.name for aliases in whole for alias in aliases}


def files(names, seen=()):
    """Return the files of the named modules and of all that those import."""
    found = set(seen)
    for path in [p for name in names for p in Path("helpers").glob(f"{name}.*")]:
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
    if Path("helpers/datasets.py") in needed:
        needed |= {p for p in Path("data").iterdir() if p.suffix in {".mat", ".csv"}}
    listed = " ".join(sorted(map(str, needed)))
    return f"{target}: {listed}\n\n{listed}:\n"


if __name__ == "__main__":
    notebook, target, name = sys.argv[1:]
    text = rule(notebook, target)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
