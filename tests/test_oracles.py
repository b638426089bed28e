"""Gradients against an oracle that shares no line with helpers/.

The forward passes are written once more, with samples in ROWS, and differentiated by
autograd.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad

from helpers.layers import HiddenLayer, Identity, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.losses import CrossEntropy, LeastSquares
from helpers.mistakes import chain
from helpers.network import Network

KINDS = ["standard", "residual", "mixed"]
losses = pytest.mark.parametrize("loss", [CrossEntropy(), LeastSquares()])


def build(kind, L, loss, activation=None, replicas=(), seed=0):
    """Return a network for 3 features and 4 classes with random weights and biases."""
    rng = np.random.default_rng(seed)
    network = Network(chain(kind, L, 3, 4, activation=activation), loss=loss)
    flat = 0.4 * rng.standard_normal((*replicas, sum(network.sizes)))
    return network.with_parameters(flat)


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
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@losses
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [Tanh(), ReLU()])
@pytest.mark.parametrize("m", [1, 64])
def test_gradients_of_a_network_are_autograds(draw, kind, activation, loss, m):
    for L in range(1, 7):
        network, (X, C) = build(kind, L, loss, activation, seed=m), draw(m=m, seed=L)
        ours = network.value(X, C), *network.gradients(X, C)
        assert_same(ours, oracle(network, X, C))


@losses
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [(), (3,)], ids=["one X", "an X each"])
def test_gradients_of_each_replica_are_autograds(draw, kind, loss, own):
    network, (X, C) = build(kind, 5, loss, replicas=(3,)), draw(replicas=own)
    stacks = network.value(X, C), *network.gradients(X, C)
    for r, flat in enumerate(network.parameters):
        single = (X[r], C[r]) if own else (X, C)
        theirs = oracle(network.with_parameters(flat), *single)
        assert_same([stack[r] for stack in stacks], theirs)


def test_the_networks_above_hold_every_kind_of_layer():
    layers = [layer for kind in KINDS for layer in chain(kind, 6, 3, 4)]
    blocks = [layer for layer in layers if isinstance(layer, ResNetLayer)]
    assert {type(layer) for layer in layers} == set(FORMULAS)
    assert {type(layer.outer) for layer in blocks} == {Tanh, Identity}
