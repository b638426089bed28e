"""A layer, a loss or an optimiser that breaks its contract is named, in a rehearsal."""

import re

import numpy as np
import pytest

from helpers import checks, sgd
from helpers.backstage.rehearsal import rehearse
from helpers.layers import HiddenLayer, OutputLayer
from helpers.losses import CrossEntropy, LeastSquares
from helpers.mistakes import chain
from helpers.network import Network

RNG = np.random.default_rng(0)
C = np.eye(4)[:, np.arange(16) % 4]


class Columns(LeastSquares):
    """One number for each sample."""

    def __call__(self, Z, C):
        return ((Z - C) ** 2).sum(axis=-2)


class Flat(CrossEntropy):
    def gradient(self, Z, C):
        return super().gradient(Z, C).sum(axis=-1)


class Still(sgd.SGD):
    def update(self, parameters, gradient, factor=1.0):
        parameters = parameters - gradient


class Misfit(HiddenLayer):
    """A layer 5 → 5 whose passes return something made of what they should."""

    def __init__(self, y=None, back=None):
        super().__init__(5, 5)
        self.y, self.back = y or np.asarray, back or (lambda *found: found)

    def forward(self, x, W, b):
        y, kept = super().forward(x, W, b)
        return self.y(y), kept

    def backward(self, kept, dy):
        dx, (dW, db) = super().backward(kept, dy)
        return self.back(dx, (dW, db))


class OnlyY(Misfit):
    def forward(self, x, W, b):
        return super().forward(x, W, b)[0]


class Shifting(Misfit):
    def forward(self, x, W, b):
        x -= 1
        return super().forward(x, W, b)


class Spoiling(Misfit):
    def backward(self, kept, dy):
        dy *= self.activation.derivative(kept[-1])
        return super().backward(kept, dy)


class Adding(Misfit):
    """Right for one network, whose blocks have no leading axis."""

    def forward(self, x, W, b):
        z = x + 0.0
        z += b
        return super().forward(z, W, b)


class OneForward(Misfit):
    def forward(self, x, W, b):
        return super().forward(x, W.T, b)


class OneBackward(Misfit):
    def backward(self, kept, dy):
        x, W, _ = kept
        return W.T @ dy, (dy @ x.T, dy.sum(axis=1, keepdims=True))


BLOCKS = "NAME has the blocks ['W', 'b'], but its backward pass returns"
PAIR = "the backward pass of NAME returns one"
WRITE = "read-only: write z = z + b, not z += b, which changes what the pass was given$"
STACK = "write z = z + b, not z += b: a stack of replicas gives the blocks a leading "
BROKEN = [  # a layer, the sentence; NAME stands for the layer's
    (
        Misfit(lambda y: np.concatenate([y, y], axis=-2)),
        "the output of NAME has the shape (2, 10, 3), expected (2, 5, 3)$",
    ),
    (
        Misfit(lambda y: y[:1]),
        "the output of NAME has the shape (1, 5, 3), expected (2, 5, 3)$",
    ),
    (Misfit(lambda y: y.tolist()), "the output of NAME is a list, not an array$"),
    (
        Misfit(back=lambda dx, g: (dx.mT, g)),
        "the gradient of x of NAME has the shape (2, 3, 5), expected (5, 3)$",
    ),
    (
        Misfit(back=lambda dx, g: (None, g)),
        "the gradient of x of NAME is a NoneType, not an array$",
    ),
    (
        Misfit(back=lambda dx, g: (dx, (g[0], dx))),
        "the gradient of b of NAME has the shape (2, 5, 3), expected (2, 5, 1)$",
    ),
    (
        Misfit(back=lambda dx, g: (dx, [g[0], g[1].tolist()])),
        "the gradient of b of NAME is a list, not an array$",
    ),
    (Misfit(back=lambda dx, g: (dx, ())), f"{BLOCKS} 0 gradients$"),
    (Misfit(back=lambda dx, g: (dx, None)), f"{BLOCKS} one NoneType$"),
    (Misfit(back=lambda dx, g: dx), f"{PAIR} ndarray: give the pair (dx, gradients)$"),
    (Misfit(back=lambda dx, g: (dx, g, g)), f"{PAIR} tuple: give the pair (d"),
    (OnlyY(), "the forward pass of NAME returns one ndarray: give the pair (y, kept)$"),
    (Shifting(), f"the forward pass of NAME fails on arrays …{WRITE}"),
    (Spoiling(), f"the backward pass of NAME fails on arrays …{WRITE}"),
    (Adding(), f"the forward pass of NAME fails on arrays …{STACK}"),
    (
        OneForward(),
        "the forward pass of NAME … shapes [(5, 3), (2, 5, 5), (2, 5, 1)]: ",
    ),
    (OneBackward(), "the backward pass of NAME … shapes [(2, 5, 3)]: "),
]


def pattern(sentence):
    """Return a regular expression for a beginning, or if it ends in $ for the whole."""
    return "(?s)^" + re.escape(sentence).replace("…", ".*").replace(r"\$", "$")


@pytest.mark.parametrize(("layer", "sentence"), BROKEN)
def test_a_layer_that_breaks_the_contract_is_named_with_its_block(layer, sentence):
    """All sizes differ, 2 replicas, 3 samples and 5 units, so that no axis is lost."""
    network, X = Network([layer, OutputLayer(5, 4)], [0, 1]), RNG.normal(size=(5, 16))
    said = sentence.replace("NAME", f"layer 1 ({type(layer).__name__})")
    with pytest.raises(ValueError, match=pattern(said)):
        rehearse(network, sgd.SGD(0.1), X, C)


TOLD = Misfit, OnlyY, Shifting  # also by the checks, which know one network, no shapes
ALONE = [
    row for row in BROKEN if type(row[0]) in TOLD and "has the shape" not in row[1]
]


@pytest.mark.parametrize(("layer", "sentence"), ALONE)
def test_the_checks_name_a_layer_that_breaks_the_contract(layer, sentence):
    said = sentence.replace("NAME", type(layer).__name__)
    with pytest.raises(ValueError, match=pattern(said)):
        checks.layer_tests("layer", layer, RNG.normal(size=(5, 16)), 0)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (
            Columns(),
            "the loss of scores (4, 3) has the shape (3,), expected (): one number ",
        ),
        (Flat(), "the gradient of the loss has the shape (4,), expected (4, 3)$"),
    ],
)
def test_a_loss_that_breaks_the_contract_is_named(loss, sentence):
    def meet(X):
        rehearse(Network([OutputLayer(5, 4)], 0, loss=loss), sgd.SGD(0.1), X, C)

    with pytest.raises(ValueError, match=pattern(sentence)):
        meet(RNG.normal(size=(5, 16)))


@pytest.mark.parametrize("kind", ["standard", "residual", "mixed"])
@pytest.mark.parametrize("replicas", [None, 3])
def test_what_fits_passes_and_is_left_as_it_is(draw, kind, replicas):
    network = Network(chain(kind, 4, 3, 4), [*range(replicas)] if replicas else 0)
    network.parameters.setflags(write=False)
    assert rehearse(network, sgd.SGD(0.1), *draw(m=16)) is None


def test_an_axis_taken_for_another_shows_though_all_sizes_are_equal():
    class Turned(HiddenLayer):
        def backward(self, kept, dy):
            dx, (_, db) = super().backward(kept, dy)
            return dx, (dy @ kept[0].T, db)

    network = Network([Turned(3, 3), OutputLayer(3, 3)], [0, 1, 2])
    samples = np.stack([RNG.normal(size=(3, 16))] * 3), np.stack([C[:3]] * 3)
    with pytest.raises(ValueError, match=r"\(Turned\) fails on arrays"):
        rehearse(network, sgd.SGD(0.1), *samples)


OPTIMIZERS = [
    (sgd.SGD, "optimizer = <class …: give an instance, such as SGD(0.1)$"),
    (0.1, "optimizer = 0.1: give an instance, such as SGD(0.1)$"),
    (sgd.SGD([0.1, 0.2]), "SGD(… fails on parameters of the shape (24,): "),
    (Still(0.1), "Still(… leaves the parameters as they are: `update` must change the"),
]


@pytest.mark.parametrize(("optimizer", "sentence"), OPTIMIZERS)
def test_an_optimizer_that_cannot_work_is_named(optimizer, sentence):
    network = Network([OutputLayer(5, 4)], 0)
    with pytest.raises((TypeError, ValueError), match=pattern(sentence)):
        rehearse(network, optimizer, RNG.normal(size=(5, 16)), C)
