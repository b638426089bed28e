"""Networks built to a size: what they are made of, and that they fill a limit."""

from functools import partial

import numpy as np
import pytest

from helpers.architectures import ARCHITECTURES, fill, plain, residual, size
from helpers.layers import Identity, ReLU
from helpers.network import Network

KINDS = [plain, residual, partial(residual, outer=False)]


def names(layers):
    return [type(layer).__name__.removesuffix("Layer") for layer in layers]


def test_plain_and_residual_networks_have_the_widths_asked_for():
    layers = plain(2, 5, [7, 4])
    assert names(layers) == ["Hidden", "Hidden", "Output"]
    assert [layer.outputs for layer in layers] == [7, 4, 5]
    layers = residual(2, 5, [3, 4], ReLU(), outer=False, width=6)
    assert names(layers) == ["Hidden", "ResNet", "ResNet", "Output"]
    assert [layer.outputs for layer in layers] == [6, 6, 6, 5]
    assert [layer.shapes["W1"] for layer in layers[1:3]] == [(3, 6), (4, 6)]
    assert {type(layer.outer) for layer in layers[1:3]} == {Identity}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_takes_sizes_and_an_activation(draw, name):
    layers = ARCHITECTURES[name](11, 7, ReLU())
    assert {type(layer.activation) for layer in layers[:-1]} <= {ReLU}
    X, C = draw(features=11, classes=7)
    network = Network(layers, np.random.default_rng(0))
    assert network.scores(X).shape == C.shape
    assert size(layers) == network.parameters.size


def test_the_five_architectures_have_the_parameters_their_names_say():
    sizes = [size(layers(2, 5)) for layers in ARCHITECTURES.values()]
    assert sizes == [15, 85, 195, 415, 745]


@pytest.mark.parametrize(("n", "c", "length"), [(2, 2, 18), (10, 10, 3)])
def test_filled_networks_differ_by_less_than_two_percent(n, c, length):
    sizes = [size(fill(partial(build, n, c), length, 2000)) for build in KINDS]
    assert max(sizes) <= 2000
    assert min(sizes) > 2000 / 1.02


def test_widths_grow_by_turns_until_none_can():
    layers = fill(partial(plain, 2, 5), 3, 500)
    widths = [layer.outputs for layer in layers[:-1]]
    assert max(widths) - min(widths) <= 2
    for place in range(3):
        wider = [w + (place == i) for i, w in enumerate(widths)]
        assert size(plain(2, 5, wider)) > 500


def test_a_limit_below_the_smallest_network_is_refused():
    said = "^no network of this kind has as few as 10 parameters: 17 at width 1$"
    with pytest.raises(ValueError, match=said):
        fill(partial(plain, 2, 5), 3, 10)
