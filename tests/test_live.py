"""The live view, without a display."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import sgd
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, OutputLayer
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


def test_a_view_outlives_a_stack_that_fails(blobs):
    data, seeds = blobs(), [np.random.default_rng(s) for s in (0, 1)]
    network, shown = Network([OutputLayer(2, 3)], seeds), []
    view = live.Live(data, shown.append, share=np.inf, pause=0)
    row = dict.fromkeys(live.CURVES, np.array([np.nan, np.nan]))
    view(1, 2, row, network)
    view(2, 2, row, network)
    assert view.frames == 2
