"""How far training is: one line that counts epochs, in a terminal or in a notebook.

Workers write a line per epoch to a file, which the parent reads twice a second. In a
notebook the line is HTML that is empty when training ends, so that a saved notebook
shows nothing of it. TQDM_DISABLE=1 silences all.
"""

import io
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from threading import Event, Thread

import numpy as np
from tqdm import tqdm

PAUSE = 0.5  # seconds from one look at the workers to the next


class Stopped(KeyboardInterrupt):
    """Training was interrupted; in a notebook it reads as one line."""

    def _render_traceback_(self):
        return [f"KeyboardInterrupt: {self}"]


def bar(epochs):
    """Return a bar that counts epochs and leaves nothing behind."""
    look = {"total": epochs, "unit": "epoch", "leave": False}
    if "ipykernel" not in sys.modules:
        return tqdm(**look)

    class HtmlBar(
        tqdm
    ):  # here, as workers are sent this module, but no class with locks
        status_printer = staticmethod(html_printer)

    return HtmlBar(file=io.StringIO(), ncols=100, **look)


def html_printer(file):
    """Return a function that shows a text in place of the last one, in a cell."""
    from IPython.display import HTML, display  # noqa: PLC0415 - only in notebooks

    handle = display(HTML(""), display_id=True)
    return lambda text: handle.update(
        HTML(f"<pre>{escape(text)}</pre>" if text.strip() else "")
    )


def status(row):
    """Say mean loss and accuracy of the healthy replicas, and how many there are."""
    name, loss = next(iter(row.items()))
    name, loss = name.removeprefix("train_"), np.atleast_1d(loss)
    good = np.isfinite(loss)
    said = f"{name} {loss[good].mean():.3f}" if good.any() else f"no finite {name}"
    if "train_accuracy" in row and good.any():
        said += f", accuracy {np.atleast_1d(row['train_accuracy'])[good].mean():.1%}"
    return said + (f", {good.sum()} of {good.size} healthy" if good.size > 1 else "")


class Watch:
    """Called after every epoch: moves a bar, or writes a line to a file."""

    def __init__(self, shown=None, path=None):
        """Take a bar to move, or the path of a file of the parent's machine."""
        self.shown, self.path = shown, path

    def __call__(self, epoch, epochs, row, network):
        """Note one more epoch with what was recorded last."""
        if self.shown is not None:
            self.shown.set_postfix_str(status(row), refresh=False)
            self.shown.update()
        elif self.path.parent.exists():  # not on another machine of a cluster
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{status(row)}\n")


@contextmanager
def interruptible(network, healthy, epochs, progress, watch):
    """Yield what to call after every epoch; end the training where it is interrupted.

    One line says so. Where nobody looks on but a file, as in a worker, it goes on.
    """
    with ExitStack() as stack:
        own = [Watch(stack.enter_context(bar(epochs)))] if progress else []
        watches = own + ([watch] if watch else [])
        try:
            yield watches
        except KeyboardInterrupt:
            if all(getattr(one, "path", None) for one in watches):
                raise
            network.parameters[...] = healthy  # those of the last record
            tqdm.write("training was stopped: network and history are those so far")


@contextmanager
def follow(epochs):
    """Show a bar for so many epochs; yield the Watch that workers are to call."""
    with tempfile.TemporaryDirectory() as folder, bar(epochs) as shown:
        path, done = Path(folder, "epochs"), Event()
        path.touch()
        thread = Thread(target=read, args=(path, shown, done), daemon=True)
        thread.start()
        try:
            yield Watch(path=path)
        except KeyboardInterrupt as error:
            raise Stopped("the runs were stopped") from error
        finally:
            done.set()
            thread.join()


def read(path, shown, done):
    """Move a bar by the lines that workers write, until done; the clock ticks."""
    with path.open(encoding="utf-8") as file:
        over = False
        while not over:
            over = done.wait(PAUSE)
            if lines := file.read().splitlines():
                shown.set_postfix_str(lines[-1], refresh=False)
                shown.update(len(lines))
            shown.refresh()
