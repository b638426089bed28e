"""Layers: values against plain loops, derivatives against helpers.checks."""

import numpy as np
import pytest

from helpers import checks
from helpers.layers import HiddenLayer, Identity, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.mistakes import chain

SMOOTH = {
    "output": OutputLayer(3, 5),
    "hidden": HiddenLayer(3, 5),
    "residual": ResNetLayer(3),
    "residual, wide inside": ResNetLayer(3, 7),
    "residual, narrow inside, no outer activation": ResNetLayer(5, 2, outer=False),
}
KINKED = {
    "hidden ReLU": HiddenLayer(3, 5, ReLU()),
    "residual ReLU": ResNetLayer(3, 7, ReLU()),
    "residual ReLU, no outer activation": ResNetLayer(3, 7, ReLU(), outer=False),
}
ALL = SMOOTH | KINKED
every_layer = pytest.mark.parametrize("layer", ALL.values(), ids=ALL.keys())


def blocks(layer, replicas=(), dtype=float):
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=(*replicas, *s)) for s in layer.shapes.values()]
    return [block.astype(dtype) for block in drawn]


def plain_forward(layer, x, *blocks):
    """Return one sample's output, entry by entry: an independent reference."""
    sigma = {Tanh: np.tanh, ReLU: lambda z: z if z > 0 else 0.0, Identity: lambda z: z}

    def affine(W, x, b):
        rows = range(len(W))
        return [sum(W[i, j] * x[j] for j in range(len(x))) + b[i, 0] for i in rows]

    z = affine(blocks[0], x, blocks[1])
    if isinstance(layer, OutputLayer):
        return z
    h = [sigma[type(layer.activation)](one) for one in z]
    if isinstance(layer, HiddenLayer):
        return h
    s = zip(x, affine(blocks[2], h, blocks[3]), strict=True)
    return [sigma[type(layer.outer)](sum(pair)) for pair in s]


@every_layer
def test_forward_is_the_formula_sample_by_sample(draw, layer):
    x, _ = draw(features=layer.inputs, m=6)
    theta = blocks(layer)
    y, _ = layer.forward(x, *theta)
    assert y.shape == (layer.outputs, 6)
    for i in range(6):
        np.testing.assert_allclose(y[:, i], plain_forward(layer, x[:, i], *theta))


@every_layer
@pytest.mark.parametrize(
    ("m", "replicas", "seed"), [(1, (), 0), (2, (), 1), (64, (), 2), (5, (3,), 3)]
)
def test_every_block_and_x_pass_the_checks(draw, layer, m, replicas, seed):
    x, _ = draw(features=layer.inputs, m=m, replicas=replicas, seed=seed)
    rng, analytic = np.random.default_rng(seed), layer in SMOOTH.values()
    tests = checks.layer_tests("layer", layer, x, rng, analytic)
    assert [str(test) for test in tests if not test.passed] == []


@every_layer
@pytest.mark.parametrize("own", [(), (3,)], ids=["one x", "an x each"])
def test_a_stack_equals_its_replicas(draw, layer, own):
    x, _ = draw(features=layer.inputs, replicas=own)
    theta = blocks(layer, (3,))

    def run(x, *theta):
        y, kept = layer.forward(x, *theta)
        dx, gradients = layer.backward(kept, y)
        return [y, dx, *gradients, layer.jvp(kept, x, *theta)]

    for r in range(3):
        single = run(x[r] if own else x, *(t[r] for t in theta))
        for many, one in zip(run(x, *theta), single, strict=True):
            np.testing.assert_allclose(many[r], one, rtol=1e-12, atol=1e-12)


@every_layer
def test_float32_stays_float32(draw, layer):
    x, _ = draw(features=layer.inputs, dtype=np.float32)
    theta = blocks(layer, dtype=np.float32)
    y, kept = layer.forward(x, *theta)
    dx, gradients = layer.backward(kept, y)
    dtypes = {a.dtype for a in (y, dx, *gradients, layer.jvp(kept, x, *theta))}
    assert dtypes == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("layer", "shapes", "gains"),
    [
        (OutputLayer(400, 300), {"W": (300, 400), "b": (300, 1)}, {"W": 1}),
        (HiddenLayer(400, 300), {"W": (300, 400), "b": (300, 1)}, {"W": 1}),
        (
            ResNetLayer(300, 400),
            {"W1": (400, 300), "b1": (400, 1), "W2": (300, 400), "b2": (300, 1)},
            {"W1": 1, "W2": 0.5},
        ),
    ],
)
def test_weights_start_at_their_gain_over_root_fan_in_and_biases_at_zero(
    layer, shapes, gains
):
    drawn = layer.initial(np.random.default_rng(0))
    assert [*layer.shapes.items()] == [*shapes.items()]
    for (name, shape), block in zip(shapes.items(), drawn, strict=True):
        assert block.shape == shape
        scale = gains.get(name, 0) / np.sqrt(shape[1])
        assert block.std() == pytest.approx(scale, rel=0.02)
        assert block.mean() == pytest.approx(0, abs=0.001)


def test_activations_are_tanh_and_relu_and_tanh_is_the_default():
    z = np.linspace(-3, 3, 7)
    z.setflags(write=False)
    np.testing.assert_array_equal(Tanh()(z), np.tanh(z))
    np.testing.assert_allclose(Tanh().derivative(np.tanh(z)), np.cosh(z) ** -2.0)
    np.testing.assert_array_equal(ReLU()(z), [0, 0, 0, 0, 1, 2, 3])
    assert ReLU().derivative(ReLU()(z)).tolist() == [0, 0, 0, 0, 1, 1, 1]
    layers = HiddenLayer(2, 3), ResNetLayer(2)
    assert {type(layer.activation) for layer in layers} == {Tanh}


def described(layers):
    return [
        (type(layer), layer.shapes, type(getattr(layer, "outer", None)))
        for layer in layers
    ]


CHAINS = {
    "standard": [HiddenLayer(3, 6), HiddenLayer(6, 7), HiddenLayer(7, 8)],
    "residual": [ResNetLayer(3, 4), ResNetLayer(3, 4, outer=False), ResNetLayer(3, 4)],
    "mixed": [
        *(HiddenLayer(3, 6), ResNetLayer(6, 4)),
        *(HiddenLayer(6, 8), ResNetLayer(8, 4, outer=False)),
    ],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_has_layers_of_its_kind_and_then_the_scores(kind):
    for hidden in (CHAINS[kind], []):
        inputs = hidden[-1].outputs if hidden else 3
        expected = described([*hidden, OutputLayer(inputs, 5)])
        assert described(chain(kind, len(hidden) + 1, 3, 5)) == expected


def test_widths_and_activation_of_a_chain_can_be_chosen():
    relu = ReLU()
    first, second, last = chain("mixed", 3, 3, 5, width=8, inner=2, activation=relu)
    assert first.shapes["W"] == (8, 3)
    assert second.shapes["W1"] == (2, 8)
    assert last.shapes["W"] == (5, 8)
    assert first.activation is second.activation is relu
