"""Execute a notebook under nbconvert: show how far it is, say which cell failed."""

import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.exporters import NotebookExporter
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat.reader import NotJSONError, ValidationError
from traitlets import default

from report.files import BUILD
from typeset.lost import note


class Readable:
    """An exporter whom a file that holds no notebook ends with one line."""

    def from_file(self, file_stream, resources=None, **kwargs):
        """Read and convert a notebook (nbconvert's contract)."""
        try:
            nb = nbformat.read(file_stream, as_version=4)
            nbformat.validate(nb)
        except (NotJSONError, ValidationError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:400]
            sys.exit(f"{file_stream.name} cannot be read as a notebook: {reason}")
        return self.from_notebook_node(nb, resources, **kwargs)


class Executed(Readable, NotebookExporter):
    """A notebook, executed."""

    @default("preprocessors")
    def _execute(self):
        return [Execute]


class Manager(AsyncKernelManager):
    """A kernel that is asked to end, and not interrupted first."""

    async def _async_interrupt_kernel(self):
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


class Execute(ExecutePreprocessor):
    """nbconvert's own execution; a failing cell ends it with one closing line.

    The kernel is this environment's own, whatever the notebook asks for.
    """

    enabled = True
    timeout = None
    kernel_name = "python3"
    kernel_manager_class = Manager

    def preprocess(self, nb, resources=None, km=None):
        """Execute all cells, and say how far it is."""
        # Bars of the notebook as text are noise in its outputs; the exporter drops
        # those that are widgets.
        os.environ["TQDM_DISABLE"] = "1"
        os.environ["KEEP_FIGURES"] = "1"  # see report/files.py
        name, folder = resources["metadata"]["name"], resources["metadata"]["path"]
        path = Path(folder, f"{name}.ipynb")
        self.pace = Pace(path, nb.cells)
        with NamedTemporaryFile("r", encoding="utf-8") as written:
            os.environ["WRITTEN"] = written.name  # see report/files.py
            nb, resources = super().preprocess(nb, resources, km)
            note(BUILD / "made" / inside(path), written.read().splitlines())
        self.pace.end()
        return nb, resources

    def preprocess_cell(self, cell, resources, index):
        """Execute one cell; exit naming notebook, cell and error if it fails."""
        self.pace.say(index)
        try:
            return super().preprocess_cell(cell, resources, index)
        except CellExecutionError as error:
            print(error.traceback, file=sys.stderr)
            self.end(resources, index, f"{error.ename}: {error.evalue}")
        except DeadKernelError:
            self.end(resources, index, "the kernel died: is there too little memory?")

    def end(self, resources, index, reason):
        """Exit with one line that names the notebook and the cell."""
        path = Path(resources["metadata"]["path"], resources["metadata"]["name"])
        sys.exit(f"{path}.ipynb, cell {index + 1}: {reason}")


class Pace:
    """How far a notebook is, in lines that `watch` reads.

    What is left is what the remaining cells took when they were last executed, or,
    where that is unknown, as long for each as the cells so far took on average.
    """

    def __init__(self, path, cells):
        """Say that a notebook begins."""
        self.path, self.cells, self.start = path, cells, time.monotonic()
        self.took = durations(BUILD / "executed" / inside(path))
        self.watched = "WATCHED" in os.environ
        if not self.watched:
            print(f"executing {path}", flush=True)

    def say(self, done):
        """Say how many cells are done, and what is left."""
        if self.watched:
            left = self.left(done)
            left = "" if left is None else f", {left:.0f} s left"
            print(
                f"executing {self.path}: {done} of {len(self.cells)} cells{left}",
                flush=True,
            )

    def left(self, done):
        """Return the seconds left, or None if nothing tells."""
        if self.took:
            return sum(self.took.get(cell.get("id"), 0) for cell in self.cells[done:])
        spent = time.monotonic() - self.start
        return spent * (len(self.cells) - done) / done if done else None

    def end(self):
        """Say that all cells are done, and how long they took."""
        spent = time.monotonic() - self.start
        print(
            f"executed {self.path}: {len(self.cells)} cells, {spent:.0f} s", flush=True
        )


def inside(path):
    """Return the path of a notebook from the folder of all notebooks."""
    return Path(f"{path}".removeprefix("notebooks/"))


def durations(path):
    """Return {id of a cell: seconds} of an executed notebook, {} if there is none."""
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return {}
    found = {}
    for cell in cells:
        times = cell["metadata"].get("execution", {}).values()
        times = sorted(map(datetime.fromisoformat, times))
        found[cell.get("id")] = (times[-1] - times[0]).total_seconds() if times else 0
    return found
