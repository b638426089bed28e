"""The bar: it counts the epochs of all runs, and leaves nothing in a notebook."""

import sys
import time
from types import SimpleNamespace

import IPython.display
import numpy as np
import pytest
from tqdm import tqdm

from helpers.backstage import progress
from helpers.experiments import Run, perform_all


@pytest.fixture
def shown(monkeypatch):
    """Return the texts that a notebook shows in one place."""
    texts = []
    handle = SimpleNamespace(update=lambda html: texts.append(html.data))
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: handle)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress, "PAUSE", 0.05)
    return texts


def test_a_bar_in_a_notebook_is_text_that_goes(shown):
    with progress.bar(4) as bar:
        watch = progress.Watch(bar)
        row = {"train_loss": np.array(0.5), "train_accuracy": np.array(0.25)}
        for epoch in range(1, 5):
            time.sleep(0.12)  # tqdm shows ten states a second at most
            watch(epoch, 4, row, None)
    assert "4/4" in shown[-2]
    assert "loss 0.500, accuracy 25.0%" in shown[-2]
    assert shown[-1] == ""


def test_the_epochs_of_all_workers_are_counted(shown, blobs):
    runs = [Run("blobs", "softmax", (0, 1), epochs=n) for n in (3, 4)]
    found = dict(perform_all(runs, {"blobs": blobs()}, n_jobs=2))
    assert len(found) == 2
    assert any("2 of 2 healthy" in text for text in shown)
    assert "/7" in shown[0]
    assert shown[-1] == ""


def test_a_bar_ticks_while_no_epoch_ends(shown):
    with progress.follow(3):
        time.sleep(0.4)
    assert len(shown) > 3


def test_a_file_of_another_machine_is_not_asked_for(tmp_path):
    progress.Watch(path=tmp_path / "gone" / "epochs")(1, 2, {"loss": 1.0}, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"loss": np.array([1.0, np.nan, 2])}, "loss 1.500, 2 of 3 healthy"),
        ({"loss": np.array([np.nan, np.nan])}, "no finite loss, 0 of 2 healthy"),
        ({"distance": 0.25}, "distance 0.250"),
    ],
)
def test_a_status_is_of_what_is_healthy(row, said):
    assert progress.status(row) == said


def test_an_interrupt_of_runs_is_one_line():
    with pytest.raises(progress.Stopped) as stopped, progress.follow(1):
        raise KeyboardInterrupt
    (line,) = stopped.value._render_traceback_()
    assert line == "KeyboardInterrupt: the runs were stopped"


def test_a_terminal_has_a_bar_of_its_own(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with progress.bar(1) as bar:
        assert type(bar) is tqdm
