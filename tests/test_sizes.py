"""Networks built to a size: what they are made of, and that they fill a limit."""

from functools import partial

import numpy as np
import pytest

from helpers.experiments import ARCHITECTURES, filled, plain, residual, size
from helpers.layers import Identity, ReLU
from helpers.network import Network

KINDS = {
    "plain": plain,
    "residual": residual,
    "no outer activation": partial(residual, outer=False),
}


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
    assert {type(layer.activation) for layer in layers[:3]} == {ReLU}
    assert {type(layer.outer) for layer in layers[1:3]} == {Identity}


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "softmax"])
def test_every_architecture_takes_an_activation(name):
    layers = ARCHITECTURES[name](2, 5, ReLU())[:-1]
    assert {type(layer.activation) for layer in layers} == {ReLU}


@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
def test_size_is_the_length_of_the_parameter_vector(build):
    layers = build(3, 4, [5, 6])
    assert size(layers) == Network(layers, np.random.default_rng(0)).parameters.size


@pytest.mark.parametrize("n", [2, 10])
@pytest.mark.parametrize("c", [2, 10])
@pytest.mark.parametrize("length", [3, 8, 18])
def test_filled_networks_differ_by_less_than_two_percent(n, c, length):
    sizes = [
        size(filled(partial(build, n, c), length, 2000)) for build in KINDS.values()
    ]
    assert max(sizes) <= 2000
    assert min(sizes) > 2000 / 1.02


def test_widths_grow_by_turns_until_none_can():
    layers = filled(partial(plain, 2, 5), 3, 500)
    widths = [layer.outputs for layer in layers[:-1]]
    assert max(widths) - min(widths) <= 2
    for place in range(3):
        wider = [w + (place == i) for i, w in enumerate(widths)]
        assert size(plain(2, 5, wider)) > 500


def test_a_limit_below_the_smallest_network_is_refused():
    with pytest.raises(ValueError, match="as few as 10 parameters: 17 at width 1"):
        filled(partial(plain, 2, 5), 3, 10)
