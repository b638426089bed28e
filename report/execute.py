"""Execute a notebook under nbconvert: show how far it is, say which cell failed."""

import os
import sys
from pathlib import Path

from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor
from tqdm import tqdm


class Execute(ExecutePreprocessor):
    """nbconvert's own execution; a failing cell ends it with one closing line."""

    enabled = True
    timeout = None

    def preprocess(self, nb, resources=None, km=None):
        """Execute all cells under one bar, which is shown in terminals only."""
        # Bars of the notebook as text are noise in its outputs; the exporter drops
        # those that are widgets.
        os.environ["TQDM_DISABLE"] = "1"
        name = resources["metadata"]["name"]
        look = {"unit": "cell", "leave": False, "disable": None}
        with tqdm(total=len(nb.cells), desc=name, **look) as self.bar:
            return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        """Execute one cell; exit naming notebook, cell and error if it fails."""
        try:
            return super().preprocess_cell(cell, resources, index)
        except CellExecutionError as error:
            path = Path(resources["metadata"]["path"], resources["metadata"]["name"])
            print(error.traceback, file=sys.stderr)
            sys.exit(f"{path}.ipynb, cell {index + 1}: {error.ename}: {error.evalue}")
        finally:
            self.bar.update()
