"""The live view and the playground, without a display."""

import asyncio
import io
from pathlib import Path

import IPython.display
import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers import sgd
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, OutputLayer, ReLU
from helpers.network import Network
from playground import live

ROOT = Path(__file__).parent.parent


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("stack", [False, True])
def test_a_view_shows_a_training_as_it_goes(blobs, stack):
    shown, data = [], blobs()
    seeds = [np.random.default_rng(s) for s in (0, 1)]
    rng = seeds if stack else seeds[0]
    network = Network([HiddenLayer(2, 5), OutputLayer(5, 3)], rng)
    view = live.Live(data, shown.append, share=np.inf, pause=0)
    sgd.train(
        network, data, sgd.SGD(0.1), rng=rng, epochs=4, progress=False, watch=view
    )
    assert view.frames == len(shown) == 4
    assert view.history["epoch"] == [1, 2, 3, 4]
    first, last = pixels(shown[0]), pixels(shown[-1])
    assert first.shape == last.shape
    third = first.shape[1] // 3
    for part in (slice(0, third), slice(third, 2 * third), slice(2 * third, None)):
        assert (first[:, part] != last[:, part]).any()


def test_a_view_takes_a_small_share_of_the_time_and_shows_the_end(blobs, monkeypatch):
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(live, "perf_counter", lambda: next(clock))
    view = live.Live(blobs(), show=lambda png: None)
    monkeypatch.setattr(view, "draw", lambda *_: None)
    row = dict.fromkeys(live.CURVES, np.array(1.0))
    for epoch in range(1, 101):
        view(epoch, 100, row, None)
    assert view.last > 0
    share = view.spent / (next(clock) - 0.5)
    assert 0.05 < share < 0.15


def test_a_view_of_more_features_has_no_regions(draw):
    X, C = draw(features=5, m=20, dtype=np.float32)
    data = Dataset("many", X, C, X, C)
    view = live.Live(data, show=lambda png: None)
    rng = np.random.default_rng(0)
    network = Network([OutputLayer(5, 4)], rng)
    sgd.train(
        network, data, sgd.SGD(0.1), rng=rng, epochs=1, progress=False, watch=view
    )
    assert view.frames == 1
    assert not view.plane


@pytest.fixture(scope="module")
def playground():
    """The names of the playground, its cells run."""
    nb = nbformat.read(ROOT / "notebooks" / "playground.ipynb", as_version=4)
    shown, scope = [], {}
    patch = pytest.MonkeyPatch()
    patch.setattr(IPython.display, "display", lambda *found: shown.extend(found))
    for cell in nb.cells:
        if cell.cell_type == "code":
            exec(cell.source, scope)
    patch.undo()
    assert len(shown) == 3
    return scope


def press(playground, name):
    playground["buttons"][name].click()
    return playground["message"].value


def turn(playground, **values):
    for name, value in values.items():
        playground["CONTROLS"][name].value = value


def test_every_button_and_every_control_works(playground):
    turn(playground, dataset="Peaks", samples=300, seed=1)
    press(playground, "Step")
    assert playground["page"].now.epoch == 1
    assert pixels(playground["board"].picture.value).shape[1] == 798
    for name, value in {"kind": "residual", "layers": 3, "width": 7}.items():
        turn(playground, **{name: value})
        press(playground, "Step")
    assert [type(one).__name__ for one in playground["page"].now.network.layers] == [
        "HiddenLayer",
        "ResNetLayer",
        "ResNetLayer",
        "OutputLayer",
    ]
    turn(playground, rate=0.5, momentum=0.5, decay=0.001, batch=16)
    assert playground["page"].now.epoch == 1  # these go on
    press(playground, "Reset")
    assert playground["page"].now.epoch == 0


@pytest.mark.parametrize("dataset", ["SwissRoll", "GMM", "own points"])
def test_it_trains_until_paused(playground, dataset):
    turn(playground, dataset=dataset, samples=200, mistake=False)

    async def a_while():
        press(playground, "Train")
        await asyncio.sleep(0.3)
        press(playground, "Pause")
        await playground["page"].now.task

    asyncio.run(a_while())
    assert playground["page"].now.epoch > 0
    assert not playground["page"].now.playing


def test_a_certificate_passes_unless_a_mistake_is_injected(playground):
    turn(playground, dataset="Peaks", kind="residual", layers=3, mistake=False)
    assert "<b>pass</b>" in press(playground, "Certificate")
    for name, wrong in playground["WRONG"].items():
        turn(playground, mistake=wrong)
        assert "<b>FAIL</b>" in press(playground, "Certificate"), name
    turn(playground, mistake=False)
    assert "<b>pass</b>" in press(playground, "Certificate")


def test_what_is_not_possible_is_said(playground):
    turn(playground, layers=0, mistake=False)
    turn(playground, mistake=playground["WRONG"]["skip connection forgotten"])
    assert "No layer of this network" in playground["message"].value
    turn(playground, mistake=False, dataset="own points")
    playground["points"].value = "one two"
    assert "Not possible: " in playground["message"].value
    playground["points"].value = "0 0 1\n1 1 2"
    assert playground["message"].value == ""


def test_a_divergence_pauses_and_says_so(playground):
    turn(playground, dataset="Peaks", layers=2, kind="plain", samples=500, seed=0)
    turn(playground, activation=ReLU, rate=10.0, momentum=0.99, batch=16)
    for _ in range(60):
        press(playground, "Step")
    assert "no longer finite" in playground["message"].value
    assert not playground["page"].now.playing


def test_a_view_outlives_a_stack_that_fails(blobs):
    data, seeds = blobs(), [np.random.default_rng(s) for s in (0, 1)]
    network, shown = Network([OutputLayer(2, 3)], seeds), []
    view = live.Live(data, shown.append, share=np.inf, pause=0)
    row = dict.fromkeys(live.CURVES, np.array([np.nan, np.nan]))
    view(1, 2, row, network)
    view(2, 2, row, network)
    assert view.frames == 2
