"""The tester tested: wrong derivatives that a check must fail, right ones it must pass.

Each mistake is a small variant of the real code, with the blocks that it spoils: those
must fail and all others pass. `right_tests` draws a right derivative of random shape.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from helpers import checks
from helpers.layers import HiddenLayer, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.losses import (
    CrossEntropy,
    LeastSquares,
    linear_gradients,
    linear_loss,
    softmax,
)
from helpers.network import Network

FEATURES = CLASSES = 4  # equal, so that a wrong transpose still fits
SAMPLES = 7


@dataclass(frozen=True)
class Mistake:
    """A wrong derivative: what is wrong, where, which blocks fail, and its tests."""

    name: str
    place: str
    spoils: tuple
    tests: object  # rng → checks


def failed(tests):
    """Return the blocks that fail at least one test."""
    return {t.block for t in tests if t.verdict == "FAIL"}


# Losses: (W, b, X, C, G, right gradients) → wrong gradients of W, b and X -------------


def in_loss(name, spoils, wrong, loss=CrossEntropy):
    """Return the mistake that `wrong` makes in the gradients of a linear classifier."""
    loss = loss()

    def gradients(W, b, X, C):
        G = loss.gradient(W @ X + b, C)
        return wrong(W, b, X, C, G, linear_gradients(loss, W, b, X, C))

    def tests(rng):
        return loss_tests(name, loss, gradients, FEATURES, CLASSES, SAMPLES, rng)

    place = "softmax loss" if isinstance(loss, CrossEntropy) else "least squares"
    return Mistake(name, place, tuple(spoils.split()), tests)


def loss_tests(name, loss, gradients, features, classes, m, rng):
    """Test gradients(W, b, X, C) of a linear classifier at random arguments."""
    X, C = samples(features, classes, m, rng)
    W = rng.standard_normal((classes, features)) / np.sqrt(features)
    b = rng.standard_normal((classes, 1))
    return checks.gradient_tests(
        name,
        lambda W, b, X: linear_loss(loss, W, b, X, C),
        lambda W, b, X: gradients(W, b, X, C),
        {"W": W, "b": b, "X": X},
        rng,
    )


def samples(features, classes, m, rng):
    """Draw random samples X (features, m) and one-hot C (classes, m)."""
    labels = rng.integers(classes, size=m)
    return rng.standard_normal((features, m)), np.eye(classes)[:, labels]


def times(factor, gradients):
    """Return all gradients multiplied by a factor."""
    return [factor * g for g in gradients]


def through(G, W, X):
    """Return the gradients of W, b and X that follow from a wrong G."""
    return G @ X.T, G.sum(axis=1, keepdims=True), W.T @ G


def softmax_of_rows(Z):
    """Return exp(Z) normalised over the samples instead of over the classes."""
    return softmax(Z.T).T


def one_entry_off(dW):
    """Return dW with its largest entry 0.1 % too large."""
    wrong = dW.copy()
    wrong[np.unravel_index(abs(dW).argmax(), dW.shape)] *= 1.001
    return wrong


IN_LOSSES = [
    in_loss(
        "1/m left out", "W b X", lambda W, b, X, C, G, right: times(SAMPLES, right)
    ),
    in_loss(
        "divided by the features, not the samples",
        "W b X",
        lambda W, b, X, C, G, right: times(SAMPLES / FEATURES, right),
    ),
    in_loss("sign flipped", "W b X", lambda W, b, X, C, G, right: times(-1, right)),
    in_loss(
        "labels not subtracted",
        "W b X",
        lambda W, b, X, C, G, right: through(softmax(W @ X + b) / SAMPLES, W, X),
    ),
    in_loss(
        "rows normalised instead of columns",
        "W b X",
        lambda W, b, X, C, G, right: through(
            (softmax_of_rows(W @ X + b) - C) / SAMPLES, W, X
        ),
    ),
    in_loss(
        "bias gradient not summed over the batch",
        "b",
        lambda W, b, X, C, G, right: (right[0], G, right[2]),
    ),
    in_loss(
        "bias gradient of one sample",
        "b",
        lambda W, b, X, C, G, right: (right[0], G[:, :1], right[2]),
    ),
    in_loss(
        "W not transposed in the gradient of X",
        "X",
        lambda W, b, X, C, G, right: (*right[:2], W @ G),
    ),
    in_loss(
        "gradient of W transposed",
        "W",
        lambda W, b, X, C, G, right: (right[0].T, *right[1:]),
    ),
    in_loss(
        "samples mixed up",
        "X",
        lambda W, b, X, C, G, right: (*right[:2], np.roll(right[2], 1, axis=1)),
    ),
    in_loss(
        "one entry off by 0.1 %",
        "W",
        lambda W, b, X, C, G, right: (one_entry_off(right[0]), *right[1:]),
    ),
    in_loss(
        "rounded to float32",
        "W b X",
        lambda W, b, X, C, G, right: [
            g.astype(np.float32).astype(float) for g in right
        ],
    ),
    in_loss(
        "factor 2 of the square kept",
        "W b X",
        lambda W, b, X, C, G, right: times(2, right),
        LeastSquares,
    ),
]


# Layers: a method overridden ----------------------------------------------------------


def in_layer(name, spoils, layer, analytic=True):
    """Return the mistake of a wrong layer."""

    def tests(rng):
        x = rng.standard_normal((layer.inputs, SAMPLES))
        return checks.layer_tests(name, layer, x, rng, analytic)

    kind = next(c for c in type(layer).mro() if c.__module__.endswith(".layers"))
    return Mistake(name, kind.__name__, tuple(spoils.split()), tests)


class ForgottenSkip(ResNetLayer):
    """A residual layer whose dx lacks the term of the skip connection."""

    def backward(self, kept, dy):
        """Return dx without ds."""
        dx, blocks = super().backward(kept, dy)
        return dx - self.outer.derivative(kept[-1]) * dy, blocks


class ForgottenSkipForwards(ResNetLayer):
    """A residual layer whose J lacks the skip connection, its Jᵀ does not."""

    def jvp(self, kept, dx, *blocks):
        """Return dy without the term of dx past the branch."""
        return super().jvp(kept, dx, *blocks) - self.outer.derivative(kept[-1]) * dx


class SwappedWeights(ResNetLayer):
    """A residual layer that takes dW1 for dW2."""

    def backward(self, kept, dy):
        """Return the two gradients in each other's place."""
        dx, (dW1, db1, dW2, db2) = super().backward(kept, dy)
        return dx, (dW2, db1, dW1, db2)


class ForgottenBias(ResNetLayer):
    """A residual layer that never trains its second bias."""

    def backward(self, kept, dy):
        """Return zero for db2."""
        dx, (dW1, db1, dW2, db2) = super().backward(kept, dy)
        return dx, (dW1, db1, dW2, 0 * db2)


class DerivativeOfOutput(Tanh):
    """A tanh whose derivative is taken at y instead of at z."""

    def derivative(self, y):
        """Return σ′(y)."""
        return 1 - np.tanh(y) ** 2


class NoDerivative(Tanh):
    """A tanh whose derivative is left out."""

    def derivative(self, y):
        """Return 1."""
        return np.ones_like(y)


class InvertedMask(ReLU):
    """A ReLU that lets the gradient through where z is negative."""

    def derivative(self, y):
        """Return 1 where y is 0."""
        return y <= 0


class WritesIntoInput(HiddenLayer):
    """A layer that multiplies σ′ into the gradient it was handed."""

    def backward(self, kept, dy):
        """Return the right gradients, and leave dy spoiled."""
        right = super().backward(kept, dy)
        dy *= self.activation.derivative(kept[-1])
        return right


class LastSampleOnly(HiddenLayer):
    """A layer that overwrites dW sample by sample instead of adding up."""

    def backward(self, kept, dy):
        """Return dW of the last sample."""
        x, W, y = kept
        dx, (_, db) = super().backward(kept, dy)
        last = super().backward((x[:, -1:], W, y[:, -1:]), dy[:, -1:])
        return dx, (last[1][0], db)


class UpdatedTooSoon(HiddenLayer):
    """A layer that passes the gradient on through weights already updated."""

    def backward(self, kept, dy):
        """Return dx = (W − 0.1 dW)ᵀ dz."""
        x, W, y = kept
        _, blocks = super().backward(kept, dy)
        return super().backward((x, W - 0.1 * blocks[0], y), dy)[0], blocks


IN_LAYERS = [
    in_layer("skip connection forgotten", "x", ForgottenSkip(4, 6)),
    in_layer("skip connection forgotten in J", "x", ForgottenSkipForwards(4, 6)),
    in_layer("W1 and W2 swapped", "W1 W2", SwappedWeights(4, 4)),
    in_layer("second bias left out", "b2", ForgottenBias(4, 6, outer=False)),
    in_layer(
        "σ′ at the wrong argument", "x W b", HiddenLayer(4, 5, DerivativeOfOutput())
    ),
    in_layer("σ′ left out, in J and Jᵀ", "x W b", HiddenLayer(4, 5, NoDerivative())),
    in_layer("ReLU mask inverted", "x W b", HiddenLayer(4, 9, InvertedMask()), False),
    in_layer("gradient written into its input", "x W b", WritesIntoInput(4, 5)),
    in_layer("last sample's gradient only", "W stack", LastSampleOnly(4, 5)),
    in_layer("gradient taken after the update", "x", UpdatedTooSoon(4, 5)),
]


# Networks -----------------------------------------------------------------------------


def in_network(name, spoils, layers, kind=Network):
    """Return the mistake of a network that is wrong, or has a wrong layer."""

    def tests(rng):
        network = random_network(kind, layers, rng)
        X, C = samples(layers[0].inputs, layers[-1].outputs, SAMPLES, rng)
        return checks.network_tests(name, network, X, C, rng)

    whole = "all parameters", "all parameters and X"
    return Mistake(name, "network", (*spoils, *whole), tests)


def random_network(kind, layers, rng):
    """Return a network with no bias at zero."""
    network = kind(layers, rng, dtype=float)
    noise = rng.standard_normal(network.parameters.shape)
    network.parameters = network.parameters + 0.3 * noise
    return network


class UntrainedBias(OutputLayer):
    """An output layer that never trains its bias."""

    def backward(self, kept, dy):
        """Return zero for db."""
        dx, (dW, db) = super().backward(kept, dy)
        return dx, (dW, 0 * db)


class ReversedBlocks(Network):
    """A network that stores the gradients of its layers in backward order."""

    def backward(self, kept, dZ):
        """Return the flat gradient with its first two layers exchanged."""
        flat, dX = super().backward(kept, dZ)
        first, second = (sum(map(np.size, blocks)) for blocks in self.split(flat)[:2])
        parts = np.split(flat, [first, first + second])
        return np.concatenate([parts[1], parts[0], parts[2]]), dX


SQUARE = [HiddenLayer(4, 4), HiddenLayer(4, 4), OutputLayer(4, 4)]

IN_NETWORKS = [
    in_network(
        "last layer's bias left out",
        ["b of layer 3"],
        [*SQUARE[:2], UntrainedBias(4, 4)],
    ),
    in_network(
        "gradient taken after layer 2 is updated",
        ["W of layer 1", "b of layer 1", "X"],
        [SQUARE[0], UpdatedTooSoon(4, 4), SQUARE[2]],
    ),
    in_network(
        "gradients stored in backward order",
        [f"{block} of layer {number}" for number in (1, 2) for block in "Wb"],
        SQUARE,
        ReversedBlocks,
    ),
]

MISTAKES = [*IN_LOSSES, *IN_LAYERS, *IN_NETWORKS]


# Right derivatives --------------------------------------------------------------------


def chain(kind, L, inputs, classes, *, width=6, inner=4, activation=None):
    """Return L layers: L − 1 "standard", "residual" or "mixed" ones, then the scores.

    Standard layers widen, from `width` on by one row each. A mixed chain alternates,
    a standard layer first. The residual layers of a chain have an outer activation and
    have none in turn.
    """
    layers, outer = [], True
    for number in range(L - 1):
        if kind == "standard" or (kind == "mixed" and number % 2 == 0):
            layers.append(HiddenLayer(inputs, width + number, activation))
        else:
            layers.append(ResNetLayer(inputs, inner, activation, outer))
            outer = not outer
        inputs = layers[-1].outputs
    return [*layers, OutputLayer(inputs, classes)]


def right_tests(rng):
    """Test a loss, a layer or a network drawn at random, with random widths."""
    features, classes, inner, width = rng.integers(2, 7, size=4)
    m, activation = rng.choice([1, 2, 64]), rng.choice([Tanh, ReLU])()
    analytic = isinstance(activation, Tanh)
    what = rng.choice(["loss", "layer", "network"])
    if what == "loss":
        loss = rng.choice([CrossEntropy, LeastSquares])()
        gradients = partial(linear_gradients, loss)
        return loss_tests("loss", loss, gradients, features, classes, m, rng)
    kind, L = rng.choice(["standard", "residual", "mixed"]), rng.integers(1, 7)
    layers = chain(
        kind, L, features, classes, width=width, inner=inner, activation=activation
    )
    if what == "layer":
        layer = layers[rng.integers(L)]
        x = rng.standard_normal((layer.inputs, m))
        return checks.layer_tests("layer", layer, x, rng, analytic)
    X, C = samples(features, classes, m, rng)
    network = random_network(Network, layers, rng)
    return checks.network_tests("network", network, X, C, rng, analytic)
