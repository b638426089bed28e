"""Execute a notebook under nbconvert, and say plainly which cell failed."""

import sys
from pathlib import Path

from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor


class Execute(ExecutePreprocessor):
    """nbconvert's own execution; a failing cell ends it with one closing line."""

    enabled = True
    timeout = None

    def preprocess_cell(self, cell, resources, index):
        """Execute one cell; exit naming notebook, cell and error if it fails."""
        try:
            return super().preprocess_cell(cell, resources, index)
        except CellExecutionError as error:
            path = Path(resources["metadata"]["path"], resources["metadata"]["name"])
            print(error.traceback, file=sys.stderr)
            sys.exit(f"{path}.ipynb, cell {index + 1}: {error.ename}: {error.evalue}")
