"""Gradients, optima and steps against oracles that share no line with helpers/.

The forward passes are written once more, with samples in ROWS, and differentiated by
autograd; the optimiser's rule is written number by number. The last section asks what
must hold of any network, whichever way its gradient is computed.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from helpers.layers import (
    HiddenLayer,
    Identity,
    OutputLayer,
    ReLU,
    ResNetLayer,
    Tanh,
    chain,
)
from helpers.losses import CrossEntropy, LeastSquares, linear_gradients, linear_loss
from helpers.network import Network
from helpers.sgd import SGD

KINDS = ["standard", "residual", "mixed"]
ACTIVATIONS = [Tanh(), ReLU()]
LOSSES = [CrossEntropy(), LeastSquares()]


def class_name(value):
    return type(value).__name__


kinds = pytest.mark.parametrize("kind", KINDS)
depths = pytest.mark.parametrize("L", range(1, 7))
activations = pytest.mark.parametrize("activation", ACTIVATIONS, ids=class_name)
losses = pytest.mark.parametrize("loss", LOSSES, ids=class_name)
batch_sizes = pytest.mark.parametrize("m", [1, 2, 64])


def build(kind, L, activation, loss, replicas=(), seed=0, classes=4):
    """Return a network for 3 features with random weights and biases, read-only."""
    rng = np.random.default_rng(seed)
    layers = chain(kind, L, 3, classes, activation=activation)
    network = Network(layers, loss=loss)
    flat = 0.4 * rng.standard_normal((*replicas, sum(network.sizes)))
    flat.setflags(write=False)
    return network.with_parameters(flat)


# The oracle: formulas for autograd ----------------------------------------------------

SIGMA = {Tanh: anp.tanh, ReLU: lambda z: anp.where(z > 0, z, 0.0)}


def output(layer, x, W, b):
    return x @ W.T + b.T


def standard(layer, x, W, b):
    return SIGMA[type(layer.activation)](x @ W.T + b.T)


def residual(layer, x, W1, b1, W2, b2):
    sigma = SIGMA[type(layer.activation)]
    s = x + sigma(x @ W1.T + b1.T) @ W2.T + b2.T
    return s if isinstance(layer.outer, Identity) else sigma(s)


def cross_entropy(z, c):
    return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - anp.sum(c * z, axis=1))


def least_squares(z, c):
    return anp.mean(anp.sum((z - c) ** 2, axis=1)) / 2


FORMULAS = {OutputLayer: output, HiddenLayer: standard, ResNetLayer: residual}
PLAIN = {CrossEntropy: cross_entropy, LeastSquares: least_squares}


def unpack(layer, flat):
    """Return the blocks of a layer, each row by row, and the rest of the vector."""
    blocks = []
    for rows, columns in layer.shapes.values():
        block, flat = flat[: rows * columns], flat[rows * columns :]
        blocks.append(block.reshape(rows, columns))
    return blocks, flat


def plain_loss(network, C):
    """Return the loss of a network as a function of its parameters and x (m, 3)."""

    def loss(flat, x):
        for layer in network.layers:
            blocks, flat = unpack(layer, flat)
            x = FORMULAS[type(layer)](layer, x, *blocks)
        return PLAIN[type(network.loss)](x, C.T)

    return loss


def oracle(network, X, C):
    """Return the loss of a single network, its flat gradient, and that of X."""
    differentiated = value_and_grad(plain_loss(network, C), (0, 1))
    value, (gradient, dx) = differentiated(network.parameters, X.T)
    return value, gradient, dx.T


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15, strict=True)


# Gradients ----------------------------------------------------------------------------


@losses
@batch_sizes
@pytest.mark.parametrize("seed", range(3))
def test_linear_gradients_are_autograds(draw, loss, m, seed):
    network = build("standard", 1, None, loss, seed=seed)
    X, C = draw(m=m, seed=seed)
    (W, b), _ = unpack(network.layers[0], network.parameters)
    value, gradient, dx = oracle(network, X, C)
    dW, db, dX = linear_gradients(loss, W, b, X, C)
    assert linear_loss(loss, W, b, X, C) == pytest.approx(value, rel=1e-12)
    assert_same(np.append(dW, db), gradient)
    assert_same(dX, dx)


@kinds
@depths
@activations
@losses
@batch_sizes
def test_gradients_of_a_network_are_autograds(draw, kind, L, activation, loss, m):
    network = build(kind, L, activation, loss, seed=m)
    X, C = draw(m=m, seed=L)
    value, *gradients = oracle(network, X, C)
    assert network.value(X, C) == pytest.approx(value, rel=1e-12)
    for ours, theirs in zip(network.gradients(X, C), gradients, strict=True):
        assert_same(ours, theirs)


@kinds
@depths
@activations
@losses
@pytest.mark.parametrize("own", [(), (3,)], ids=["one X", "an X each"])
def test_gradients_of_each_replica_are_autograds(draw, kind, L, activation, loss, own):
    network = build(kind, L, activation, loss, replicas=(3,), seed=1)
    X, C = draw(replicas=own, seed=L)
    values, (gradients, dX) = network.value(X, C), network.gradients(X, C)
    for r, flat in enumerate(network.parameters):
        single = (X[r], C[r]) if own else (X, C)
        value, gradient, dx = oracle(network.with_parameters(flat), *single)
        assert values[r] == pytest.approx(value, rel=1e-12)
        assert_same(gradients[r], gradient)
        assert_same(dX[r], dx)


def test_the_networks_above_hold_every_kind_of_layer():
    layers = [layer for kind in KINDS for layer in chain(kind, 6, 3, 4)]
    blocks = [layer for layer in layers if isinstance(layer, ResNetLayer)]
    assert {type(layer) for layer in layers} == set(FORMULAS)
    assert {type(layer.outer) for layer in blocks} == {Tanh, Identity}
    assert {layer.shapes["W1"] for layer in blocks} == {(4, 3), (4, 6), (4, 8)}


# Optimum and steps --------------------------------------------------------------------


def test_gradient_descent_on_cross_entropy_ends_where_scipys_minimiser_does(draw):
    X, C = draw(m=300)
    network = build("standard", 1, None, CrossEntropy()).with_parameters(np.zeros(16))
    found = optimize.minimize(
        value_and_grad(plain_loss(network, C)),
        np.zeros(16),
        args=(X.T,),
        jac=True,
        options={"gtol": 1e-9},
    )
    optimizer = SGD(1.0)
    for _ in range(400):
        optimizer.update(network.parameters, network.gradient(X, C))
    assert network.value(X, C) == pytest.approx(found.fun, rel=1e-12)
    np.testing.assert_allclose(network.parameters, found.x, atol=1e-7)


def pytorch_steps(theta, gradients, rates, momentum, weight_decay):
    """Yield one number after each of its steps, by the documented rule."""
    b = None
    for gradient, rate in zip(gradients, rates, strict=True):
        g = gradient
        if weight_decay != 0:
            g = g + weight_decay * theta
        if momentum != 0:
            b = g if b is None else momentum * b + g
            g = b
        theta = theta - rate * g
        yield theta


SETTINGS = {  # learning rate, momentum, weight decay of each replica
    "all three": [[0.1, 0.9, 0.01]],
    "arrays": [[0.3, 0.9, 0.01], [0.1, 0.5, 0.0], [0.2, 0.0, 0.1], [0.05, 0.0, 0.0]],
    "neither momentum nor decay": [[0.3, 0.0, 0.0], [0.1, 0.0, 0.0]],
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_step_of_a_stack_is_pytorchs_documented_rule_number_by_number(settings):
    rng, R = np.random.default_rng(0), len(settings)
    start, gradients = rng.normal(size=(R, 3)), rng.normal(size=(20, R, 3))
    gradients.setflags(write=False)
    factors = [1 / (1 + t) for t in range(20)]
    optimizer = SGD(*np.array(settings).T[..., None])
    parameters, ours = start.copy(), []
    for gradient, factor in zip(gradients, factors, strict=True):
        optimizer.update(parameters, gradient, factor)
        ours.append(parameters.copy())
    for r, i in np.ndindex(R, 3):
        rate, *others = settings[r]
        numbers = start[r, i].item(), gradients[:, r, i].tolist()
        plain = pytorch_steps(*numbers, [rate * factor for factor in factors], *others)
        np.testing.assert_allclose(np.array(ours)[:, r, i], list(plain), rtol=1e-13)


# What holds of any network ------------------------------------------------------------

DRAWN = {
    "kind": st.sampled_from(KINDS),
    "L": st.integers(1, 6),
    "activation": st.sampled_from(ACTIVATIONS),
    "seed": st.integers(0, 99),
}
NETWORKS = st.builds(build, loss=st.sampled_from(LOSSES), **DRAWN)
CLASSIFIERS = st.builds(build, loss=st.just(CrossEntropy()), **DRAWN)
SIZES = st.integers(1, 5)


def run(network, X, C):
    """Return the loss, its flat gradient and that of X."""
    return network.value(X, C), *network.gradients(X, C)


def assert_equal(ours, theirs, rtol=1e-12, atol=1e-14):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol, atol)


def with_last_bias(network, change):
    """Return the network with its last bias (4, 1) changed."""
    flat = network.parameters.copy()
    flat[-4:] = change(flat[-4:])
    return network.with_parameters(flat)


@given(network=NETWORKS, order=st.permutations(range(8)))
def test_order_of_samples_moves_the_gradient_of_x_and_nothing_else(
    draw, network, order
):
    X, C = draw(m=8)
    value, gradient, dX = run(network, X, C)
    shuffled = run(network, X[:, order], C[:, order])
    assert_equal(shuffled, (value, gradient, dX[:, order]))


@given(network=NETWORKS, order=st.permutations(range(4)))
def test_order_of_classes_moves_the_last_layers_gradient_and_nothing_else(
    draw, network, order
):
    X, C = draw()
    moved = np.arange(network.parameters.size)
    for block in network.split(moved)[-1]:
        block[:] = block[order]
    value, gradient, dX = run(network, X, C)
    shuffled = network.with_parameters(network.parameters[moved])
    assert_equal(run(shuffled, X, C[order]), (value, gradient[moved], dX))


@given(network=NETWORKS, copies=SIZES)
def test_duplicated_samples_change_no_gradient_but_share_that_of_x(
    draw, network, copies
):
    X, C = draw()
    value, gradient, dX = run(network, X, C)
    tiled = run(network, np.tile(X, copies), np.tile(C, copies))
    assert_equal(tiled, (value, gradient, np.tile(dX / copies, copies)))


@given(network=CLASSIFIERS, shift=st.floats(-1e4, 1e4))
def test_a_shift_of_all_scores_changes_nothing(draw, network, shift):
    X, C = draw()
    shifted = with_last_bias(network, lambda b: b + shift)
    assert_equal(run(shifted, X, C), run(network, X, C), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(network=NETWORKS, bias=st.permutations([-1e4, 0, 1e4, 1e4]))
def test_huge_scores_give_finite_losses_and_gradients(draw, dtype, network, bias):
    X, C = draw(dtype=dtype)
    huge = with_last_bias(network, lambda _: bias)
    huge.parameters = huge.parameters.astype(dtype)
    assert all(np.isfinite(found).all() for found in run(huge, X, C))


@given(
    network=st.builds(
        build, loss=st.just(CrossEntropy()), classes=st.integers(2, 12), **DRAWN
    )
)
def test_a_network_of_zeros_costs_the_log_of_the_number_of_classes(draw, network):
    classes = network.layers[-1].outputs
    X, C = draw(classes=classes)
    zeros = network.with_parameters(0 * network.parameters)
    assert zeros.value(X, C) == pytest.approx(np.log(classes), rel=1e-14)


@given(
    network=st.builds(
        build, loss=st.sampled_from(LOSSES), replicas=st.tuples(SIZES), **DRAWN
    ),
    m=SIZES,
)
def test_a_stack_equals_its_single_networks(draw, network, m):
    X, C = draw(m=m, replicas=network.parameters.shape[:1])
    stacks = run(network, X, C)
    for r, flat in enumerate(network.parameters):
        single = run(network.with_parameters(flat), X[r], C[r])
        assert_equal([stack[r] for stack in stacks], single)
