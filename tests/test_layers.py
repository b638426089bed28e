"""Layers: values against plain loops, derivatives against helpers.checks."""

import numpy as np
import pytest

from helpers import checks
from helpers.layers import HiddenLayer, OutputLayer, ReLU, ResNetLayer, Tanh, chain

SMOOTH = {
    "output": OutputLayer(3, 5),
    "hidden, widening": HiddenLayer(3, 5),
    "hidden, narrowing": HiddenLayer(5, 3),
    "residual": ResNetLayer(3),
    "residual, wide inside": ResNetLayer(3, 7),
    "residual, narrow inside": ResNetLayer(5, 2),
    "residual, no outer activation": ResNetLayer(3, 7, outer=False),
}
KINKED = {
    "hidden ReLU": HiddenLayer(3, 5, ReLU()),
    "residual ReLU": ResNetLayer(3, 7, ReLU()),
    "residual ReLU, no outer activation": ResNetLayer(3, 7, ReLU(), outer=False),
}
ALL = SMOOTH | KINKED
every_layer = pytest.mark.parametrize("layer", ALL.values(), ids=ALL.keys())
batch_sizes = pytest.mark.parametrize("m", [1, 2, 64])


def blocks(layer, rng, replicas=(), dtype=float):
    drawn = [
        rng.normal(size=(*replicas, *s)).astype(dtype) for s in layer.shapes.values()
    ]
    for block in drawn:
        block.setflags(write=False)
    return drawn


def failures(results):
    return [str(result) for result in results if not result.passed]


def plain_forward(layer, x, *blocks):
    """Return one sample's output, entry by entry: an independent reference."""
    sigma = {"Tanh": np.tanh, "ReLU": lambda z: z if z > 0 else 0.0}

    def affine(W, x, b):
        rows = range(len(W))
        return [sum(W[i, j] * x[j] for j in range(len(x))) + b[i, 0] for i in rows]

    if isinstance(layer, OutputLayer):
        return affine(blocks[0], x, blocks[1])
    act = sigma[type(layer.activation).__name__]
    h = [act(z) for z in affine(blocks[0], x, blocks[1])]
    if isinstance(layer, HiddenLayer):
        return h
    s = [a + b for a, b in zip(x, affine(blocks[2], h, blocks[3]), strict=True)]
    dropped = type(layer.outer).__name__ == "Identity"
    return s if dropped else [act(z) for z in s]


@every_layer
def test_forward_is_the_formula_sample_by_sample(draw, layer):
    x, _ = draw(features=layer.inputs, m=6)
    theta = blocks(layer, np.random.default_rng(1))
    y, _ = layer.forward(x, *theta)
    assert y.shape == (layer.outputs, 6)
    for i in range(6):
        np.testing.assert_allclose(y[:, i], plain_forward(layer, x[:, i], *theta))


@pytest.mark.parametrize("layer", SMOOTH.values(), ids=SMOOTH.keys())
@batch_sizes
@pytest.mark.parametrize("seed", range(4))
def test_every_block_and_x_pass_the_checks(draw, layer, m, seed):
    x, _ = draw(features=layer.inputs, m=m, seed=seed)
    results = checks.layer_tests("layer", layer, x, np.random.default_rng(seed))
    assert len(results) == 3 * (1 + len(layer.shapes)) + 1
    assert failures(results) == []


@pytest.mark.parametrize("layer", KINKED.values(), ids=KINKED.keys())
@batch_sizes
@pytest.mark.parametrize("seed", range(4))
def test_relu_passes_away_from_its_kink(draw, layer, m, seed):
    x, _ = draw(features=layer.inputs, m=m, seed=seed)
    results = checks.layer_tests("layer", layer, x, np.random.default_rng(seed), False)
    assert len(results) == 2 * (1 + len(layer.shapes)) + 1
    assert failures(results) == []


@pytest.mark.parametrize("layer", KINKED.values(), ids=KINKED.keys())
def test_at_the_kink_of_relu_the_checks_refuse_to_judge(layer):
    """Zero samples and biases put every z on the kink."""
    x = np.zeros((3, 4))
    theta = [np.zeros(s) for s in layer.shapes.values()]
    _, kept = layer.forward(x, *theta)
    b = theta[1]
    check = checks.central_difference_test(
        lambda b: layer.forward(x, theta[0] + 1, b, *theta[2:])[0],
        b,
        lambda d: layer.jvp(kept, x, theta[0], d, *theta[2:]),
        np.random.default_rng(0),
    )
    if isinstance(layer, HiddenLayer):
        assert check.verdict == "refused"
    else:  # W2 is zero: the kink is that of a branch which does not count
        assert check.error == 0


@every_layer
def test_the_checks_pass_on_a_stack(draw, layer):
    x, _ = draw(features=layer.inputs, replicas=(3,))
    analytic = layer in SMOOTH.values()
    rng = np.random.default_rng(5)
    assert failures(checks.layer_tests("stack", layer, x, rng, analytic)) == []


def test_relu_has_derivative_zero_at_its_kink():
    assert ReLU().derivative(ReLU()(np.array([-1.0, 0, 1]))).tolist() == [0, 0, 1]


@every_layer
@batch_sizes
def test_a_stack_equals_its_replicas(draw, layer, m):
    x, _ = draw(features=layer.inputs, m=m, replicas=(3,))
    dy, _ = draw(features=layer.outputs, m=m, replicas=(3,), seed=1)
    rng = np.random.default_rng(2)
    theta, directions = blocks(layer, rng, (3,)), blocks(layer, rng, (3,))

    def run(x, dy, theta, directions):
        y, kept = layer.forward(x, *theta)
        dx, gradients = layer.backward(kept, dy)
        return [y, dx, *gradients, layer.jvp(kept, x, *directions)]

    stack = run(x, dy, theta, directions)
    for r in range(3):
        one = run(x[r], dy[r], [t[r] for t in theta], [d[r] for d in directions])
        for many, single in zip(stack, one, strict=True):
            np.testing.assert_allclose(many[r], single, rtol=1e-12, atol=1e-12)


@every_layer
def test_one_x_serves_a_stack_of_replicas(draw, layer):
    x, _ = draw(features=layer.inputs)
    theta = blocks(layer, np.random.default_rng(1), (3,))
    stack = layer.forward(x, *theta)[0]
    for r in range(3):
        one = layer.forward(x, *(t[r] for t in theta))[0]
        np.testing.assert_allclose(stack[r], one, rtol=1e-12)


@every_layer
def test_float32_stays_float32(draw, layer):
    x, _ = draw(features=layer.inputs, dtype=np.float32)
    theta = blocks(layer, np.random.default_rng(1), dtype=np.float32)
    y, kept = layer.forward(x, *theta)
    dx, gradients = layer.backward(kept, y)
    dtypes = {a.dtype for a in (y, dx, *gradients, layer.jvp(kept, x, *theta))}
    assert dtypes == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (OutputLayer(3, 5), {"W": (5, 3), "b": (5, 1)}),
        (HiddenLayer(3, 5), {"W": (5, 3), "b": (5, 1)}),
        (
            ResNetLayer(3, 7),
            {"W1": (7, 3), "b1": (7, 1), "W2": (3, 7), "b2": (3, 1)},
        ),
    ],
)
def test_gradients_have_the_shapes_of_their_blocks(draw, layer, shapes):
    x, _ = draw(m=6)
    y, kept = layer.forward(x, *blocks(layer, np.random.default_rng(1)))
    dx, gradients = layer.backward(kept, y)
    assert dx.shape == x.shape
    assert layer.shapes == shapes
    assert [g.shape for g in gradients] == list(shapes.values())


@pytest.mark.parametrize("outer", [True, False])
def test_a_residual_layer_without_its_branch_is_its_skip(draw, outer):
    layer = ResNetLayer(3, 7, outer=outer)
    x, _ = draw()
    W1, b1, W2, b2 = blocks(layer, np.random.default_rng(1))
    y, _ = layer.forward(x, W1, b1, 0 * W2, 0 * b2)
    np.testing.assert_array_equal(y, np.tanh(x) if outer else x)


@pytest.mark.parametrize(
    ("layer", "gains"),
    [
        (OutputLayer(400, 300), {"W": 1}),
        (HiddenLayer(400, 300), {"W": 1}),
        (ResNetLayer(300, 400), {"W1": 1, "W2": 0.5}),
    ],
)
def test_weights_start_at_their_gain_over_root_fan_in_and_biases_at_zero(layer, gains):
    drawn = layer.initial(np.random.default_rng(0))
    for (name, shape), block in zip(layer.shapes.items(), drawn, strict=True):
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
    for layer in (HiddenLayer(2, 3), ResNetLayer(2)):
        assert isinstance(layer.activation, Tanh)
    assert isinstance(ResNetLayer(2).outer, Tanh)


def described(layers):
    return [
        (type(layer), layer.shapes, type(getattr(layer, "outer", None)))
        for layer in layers
    ]


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        ("standard", [HiddenLayer(3, 6), HiddenLayer(6, 7), HiddenLayer(7, 8)]),
        (
            "residual",
            [ResNetLayer(3, 4), ResNetLayer(3, 4, outer=False), ResNetLayer(3, 4)],
        ),
        (
            "mixed",
            [
                *(HiddenLayer(3, 6), ResNetLayer(6, 4)),
                *(HiddenLayer(6, 8), ResNetLayer(8, 4, outer=False)),
            ],
        ),
    ],
)
def test_a_chain_has_layers_of_its_kind_and_then_the_scores(kind, hidden):
    for L in range(1, len(hidden) + 2):
        layers = hidden[: L - 1]
        inputs = layers[-1].outputs if layers else 3
        expected = described([*layers, OutputLayer(inputs, 5)])
        assert described(chain(kind, L, 3, 5)) == expected


def test_widths_and_activation_of_a_chain_can_be_chosen():
    relu = ReLU()
    first, second, last = chain("mixed", 3, 3, 5, width=8, inner=2, activation=relu)
    assert first.shapes["W"] == (8, 3)
    assert second.shapes["W1"] == (2, 8)
    assert last.shapes["W"] == (5, 8)
    assert first.activation is second.activation is relu


@pytest.mark.parametrize("layer", [HiddenLayer, ResNetLayer])
def test_an_activation_given_as_a_class_is_named(layer):
    with pytest.raises(TypeError, match=r"class ReLU: give an instance, ReLU\(\)"):
        layer(3, 4, ReLU)
