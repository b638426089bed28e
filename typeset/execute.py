"""Execute a notebook under nbconvert: show how far it is, say which cell failed."""

import os
import sys
from pathlib import Path

from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.exporters import NotebookExporter
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat.reader import NotJSONError, ValidationError
from tqdm import tqdm
from traitlets import default


class Executed(NotebookExporter):
    """A notebook, executed; a file that holds none ends it with one line."""

    @default("preprocessors")
    def _execute(self):
        return [Execute]

    def from_file(self, file_stream, resources=None, **kwargs):
        """Read and execute a notebook (nbconvert's contract)."""
        try:
            return super().from_file(file_stream, resources, **kwargs)
        except (NotJSONError, ValidationError) as error:
            reason = " ".join(str(error).split())
            sys.exit(f"{file_stream.name} cannot be read as a notebook: {reason}")


class Execute(ExecutePreprocessor):
    """nbconvert's own execution; a failing cell ends it with one closing line.

    The kernel is this environment's own, whatever the notebook asks for.
    """

    enabled = True
    timeout = None
    kernel_name = "python3"

    def preprocess(self, nb, resources=None, km=None):
        """Execute all cells under one bar, which is shown in terminals only."""
        # Bars of the notebook as text are noise in its outputs; the exporter drops
        # those that are widgets.
        os.environ["TQDM_DISABLE"] = "1"
        os.environ["KEEP_FIGURES"] = "1"  # see report/files.py
        name, folder = resources["metadata"]["name"], resources["metadata"]["path"]
        nb.metadata["folder"] = folder  # pictures are named by their path from there
        look = {"unit": "cell", "leave": False, "disable": None}
        with tqdm(total=len(nb.cells), desc=name, **look) as self.bar:
            return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        """Execute one cell; exit naming notebook, cell and error if it fails."""
        try:
            return super().preprocess_cell(cell, resources, index)
        except CellExecutionError as error:
            print(error.traceback, file=sys.stderr)
            self.end(resources, index, f"{error.ename}: {error.evalue}")
        except DeadKernelError:
            self.end(resources, index, "the kernel died: is there too little memory?")
        finally:
            self.bar.update()

    def end(self, resources, index, reason):
        """Exit with one line that names the notebook and the cell."""
        path = Path(resources["metadata"]["path"], resources["metadata"]["name"])
        sys.exit(f"{path}.ipynb, cell {index + 1}: {reason}")
