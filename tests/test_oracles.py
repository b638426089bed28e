"""Gradients against an oracle that shares no line with helpers/.

The forward passes are written once more, with samples in ROWS, and differentiated by
autograd.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad

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
