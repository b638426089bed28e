"""`python -m typeset.strip` clears the notebooks of what a session leaves in them.

Outputs, execution counts, and metadata that differ from one computer to the next go;
source code, captions, tags and authors stay.
"""

from pathlib import Path

import nbformat

from playground.lab import KERNEL
from report.files import ROOT, write

KEPT = ("jupyter", "tags")  # of a cell's metadata


def strip(nb):
    """Strip a notebook in place, and return it."""
    nb.metadata["kernelspec"] = {**KERNEL, "name": "python3"}
    nb.metadata["language_info"] = {"name": "python"}
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in KEPT}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nb


def main(folder):
    """Strip all notebooks below a folder."""
    for path in sorted(Path(folder).rglob("[!.]*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            write(
                path, nbformat.writes(strip(nbformat.read(path, as_version=4))) + "\n"
            )


if __name__ == "__main__":
    main(ROOT / "notebooks")
