"""A network: layers one after another over ONE flat parameter vector.

`parameters` is a vector (..., P); the blocks of the layers are views of it, so an
optimiser updates the whole network in one line. A leading axis is a stack of replicas:
the same layers, each replica with parameters of its own.
"""

import copy
import math

import numpy as np

from helpers.backstage import compiled
from helpers.backstage.contracts import (
    generator,
    require_length,
    require_network,
    takes_samples,
)
from helpers.losses import CrossEntropy, softmax


class Network:
    """Layers, their parameters, and the loss that trains them.

    Shapes: X (..., features, m), C (..., classes, m), parameters (..., P). Layers, X or
    C that do not fit are refused in a sentence (ValueError).
    """

    programs = None  # of `judge`, see `compiled.recorded`

    def __init__(self, layers, rng=None, *, dtype=np.float32, loss=None):
        """Draw the parameters from `rng`, a generator or seed; a list makes a stack."""
        self.loss = CrossEntropy() if loss is None else loss
        self.layers = require_network(layers, self.loss, dtype)
        self.shapes = [shape for one in self.layers for shape in one.shapes.values()]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        if rng is not None:
            self.parameters = self.initial(rng).astype(dtype)

    # Parameters -----------------------------------------------------------------------

    def initial(self, rng):
        """Return fresh parameters (P,), or (R, P) for a list of R generators."""
        if isinstance(rng, list) and rng:
            return np.stack([self.initial(one) for one in rng])
        rng = generator(rng)
        return join([block for layer in self.layers for block in layer.initial(rng)])

    @property
    def parameters(self):
        """The flat vector (..., P); it may be changed in place."""
        return self._parameters

    @parameters.setter
    def parameters(self, flat):
        self._parameters, self._blocks = flat, self.split(flat)

    def __setstate__(self, state):
        """Split a copy's parameters anew: copied blocks are views no more."""
        vars(self).update(state)
        if "_parameters" in state:
            self.parameters = state["_parameters"]

    def with_parameters(self, flat):
        """Return the same network with other parameters."""
        other = copy.copy(self)
        other.parameters = flat
        return other

    def split(self, flat):
        """Return views of `flat` (..., P): a tuple of blocks for each layer."""
        require_length(flat, sum(self.sizes))
        stops = np.cumsum(self.sizes)
        blocks = iter(
            flat[..., stop - size : stop].reshape(*flat.shape[:-1], *shape)
            for stop, size, shape in zip(stops, self.sizes, self.shapes, strict=True)
        )
        return [tuple(next(blocks) for _ in layer.shapes) for layer in self.layers]

    # Forward, backward, and a small change --------------------------------------------

    def forward(self, X):
        """Return the scores (..., classes, m) and what each layer kept."""
        kept = []
        for layer, blocks in zip(self.layers, self._blocks, strict=True):
            X, k = layer.forward(X, *blocks)
            kept.append(k)
        return X, kept

    def backward(self, kept, dZ):
        """Return Jᵀ dZ: the flat gradient (..., P), and the gradient of X."""
        gradients = []
        for layer, k in zip(reversed(self.layers), reversed(kept), strict=True):
            dZ, blocks = layer.backward(k, dZ)
            gradients[:0] = blocks
        return join(gradients, self.parameters.shape[:-1]), dZ

    def jvp(self, kept, dX, d):
        """Return J (dX, d): the change of the scores to first order."""
        for layer, k, blocks in zip(self.layers, kept, self.split(d), strict=True):
            dX = layer.jvp(k, dX, *blocks)
        return dX

    # The loss, its gradient, and what the network answers -----------------------------

    @takes_samples
    def value(self, X, C):
        """Return the loss, one per replica."""
        return self.loss(self.scores(X), C)

    @takes_samples
    def gradients(self, X, C):
        """Return the gradients of the loss: flat (..., P), and for X."""
        scores, kept = self.forward(X)
        return self.backward(kept, self.loss.gradient(scores, C))

    def gradient(self, X, C):
        """Return the flat gradient (..., P) of the loss: what an optimiser needs."""
        return self.gradients(X, C)[0]

    def scores(self, X):
        """Return the scores (..., classes, m) alone."""
        return self.forward(X)[0]

    def probabilities(self, X):
        """Return the softmax of the scores (..., classes, m)."""
        return softmax(self.scores(X))

    def judge(self, X, C):
        """Return the sums over the samples of the loss and of the right answers."""
        scores = self.scores(X)
        correct = is_correct(scores, C).sum(axis=-1)
        return self.loss(scores, C) * X.shape[-1], correct

    @takes_samples
    def evaluate(self, X, C):
        """Return loss and accuracy over all samples, one value each per replica."""
        return compiled.judge_all(self, X, C) / X.shape[-1]


def is_correct(scores, C):
    """Return (..., m): is the right class alone the most probable? A tie is wrong."""
    # Many times faster than argmax, where classes are not contiguous.
    right = (C * scores).sum(axis=-2, keepdims=True)
    return (scores >= right).sum(axis=-2, dtype=np.uint16) == 1


def join(blocks, replicas=()):
    """Return the blocks (..., rows, columns) as one flat vector (..., P), P ≥ 0."""
    rows = [block.reshape(*block.shape[:-2], -1) for block in blocks]
    return np.concatenate(rows, axis=-1) if rows else np.zeros((*replicas, 0))
