"""Gradients, optima and steps against oracles that share no line with helpers/.

The forward passes are written once more, with samples in ROWS, and differentiated by
autograd; the optimiser's rule is written number by number.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from scipy import optimize

from helpers.layers import HiddenLayer, Identity, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.losses import CrossEntropy, LeastSquares, linear_gradients, linear_loss
from helpers.mistakes import chain
from helpers.network import Network
from helpers.sgd import SGD

KINDS = ["standard", "residual", "mixed"]
losses = pytest.mark.parametrize("loss", [CrossEntropy(), LeastSquares()])


def build(kind, L, loss, activation=None, replicas=(), seed=0):
    """Return a network for 3 features and 4 classes with random weights and biases."""
    rng = np.random.default_rng(seed)
    network = Network(chain(kind, L, 3, 4, activation=activation), loss=loss)
    flat = 0.4 * rng.standard_normal((*replicas, sum(network.sizes)))
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
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


# Gradients ----------------------------------------------------------------------------


@losses
def test_linear_gradients_are_autograds(draw, loss):
    network, (X, C) = build("standard", 1, loss), draw(m=16)
    (W, b), _ = unpack(network.layers[0], network.parameters)
    dW, db, dX = linear_gradients(loss, W, b, X, C)
    ours = linear_loss(loss, W, b, X, C), np.append(dW, db), dX
    assert_same(ours, oracle(network, X, C))


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


# Optimum and steps --------------------------------------------------------------------


def test_gradient_descent_on_cross_entropy_ends_where_scipys_minimiser_does(draw):
    X, C = draw(m=300)
    network = build("standard", 1, CrossEntropy()).with_parameters(np.zeros(16))
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
