"""A step as one list of NumPy calls, their outputs laid out in advance.

It knows tanh, cross-entropy and plain gradient descent only. A = [W b] is one matrix
(..., rows, columns + 1), and a signal x (..., columns + 1, m) ends in a row of ones, so
that A x = W x + b. What the engine of `helpers` takes longer is the price of layers,
losses and optimisers that can be read and exchanged.
"""

from functools import partial

import numpy as np

from benchmarks import BATCH, RATE
from helpers.layers import ResNetLayer
from helpers.network import Network, is_correct, join
from helpers.sgd import gather

CHUNK = 8192  # columns, of all replicas, that are evaluated at a time


class Straight:
    """R replicas in float32; a single one has no leading axis."""

    def __init__(self, layers, parameters, data):
        """Lay out the matrices, their gradients, and the calls of an epoch."""
        self.data, self.replicas, self.arrays = data, len(parameters), {}
        self.lead = (self.replicas,) if self.replicas > 1 else ()
        self.product = np.matmul if self.lead else np.dot  # faster for two matrices
        self.skips = []  # does matrix i add the signal that matrix i − 1 was given?
        for layer in layers:
            self.skips += [False, True] if isinstance(layer, ResNetLayer) else [False]
        self.skips.append(False)
        flat = parameters.reshape(*self.lead, -1).astype(np.float32)
        self.lay_out([b for blocks in Network(layers).split(flat) for b in blocks])
        m = data.Yt.shape[1]
        self.batches = [
            (self.ones(len(data.Yt) + 1, size), self.ones(len(data.Ct), size))
            for size in (min(BATCH, m - first) for first in range(0, m, BATCH))
        ]
        self.calls = [call for batch in self.batches for call in self.step(*batch)]
        parts = (data.Yt, data.Ct), (data.Yv, data.Cv)
        self.chunks = [self.evaluation(*part) for part in parts]

    def lay_out(self, blocks):
        """Copy the blocks W, b, … into `weights`, with views A; so too `gradient`."""
        pairs = list(zip(blocks[::2], blocks[1::2], strict=True))
        shapes = [(W.shape[-2], W.shape[-1] + 1) for W, _ in pairs]
        stops = np.cumsum([rows * columns for rows, columns in shapes])
        self.weights, self.gradient = np.empty((2, *self.lead, stops[-1]), np.float32)
        self.A, self.dA = (
            [
                part.reshape(*self.lead, *shape)
                for part, shape in zip(
                    np.split(flat, stops[:-1], axis=-1), shapes, strict=True
                )
            ]
            for flat in (self.weights, self.gradient)
        )
        for A, (W, b) in zip(self.A, pairs, strict=True):
            A[..., :-1], A[..., -1:] = W, b

    def ones(self, rows, m):
        """Return a new array (..., rows, m)."""
        return np.ones((*self.lead, rows, m), np.float32)

    def shared(self, name, rows, m):
        """Return the array (..., rows, m) of that name, the same for every batch."""
        if (name, m) not in self.arrays:
            self.arrays[name, m] = self.ones(rows, m)
        return self.arrays[name, m]

    def signals(self, name, m):
        """Return an array (..., rows + 1, m) for every matrix but the last."""
        rows = [A.shape[-2] + 1 for A in self.A[:-1]]
        return [self.shared((name, i), row, m) for i, row in enumerate(rows)]

    def forward(self, X):
        """Return the calls of y = [tanh(A x); 1] for each matrix, Z = A x for the last.

        Beside them, all signals from X on, and the scores Z (..., classes, m).
        """
        m, calls, product = X.shape[-1], [], self.product
        signals = [X, *self.signals("y", m)]
        Z = self.shared("Z", self.A[-1].shape[-2], m)
        for i, A in enumerate(self.A[:-1]):
            x, y = signals[i : i + 2]
            calls.append(partial(product, A, x, y[..., :-1, :]))
            if self.skips[i]:
                calls.append(partial(np.add, y, signals[i - 1], y))
            calls += [partial(np.tanh, y, y), partial(y[..., -1, :].fill, 1)]
        return [*calls, partial(product, self.A[-1], signals[-1], Z)], signals, Z

    def step(self, X, C):
        """Return the calls of A ← A − η dA on a minibatch.

        From dz = softmax(Z) − C on, dA = dz xᵀ, dx = Aᵀ dz, and below a tanh
        dz = (1 − y²) ⊙ dy. The mean over the samples is taken with the rate, η/m.
        """
        (calls, signals, Z), m, product = self.forward(X), X.shape[-1], self.product
        largest, total = self.shared("largest", 1, m), self.shared("total", 1, m)
        row, one = np.ones((1, Z.shape[-2]), np.float32), np.float32(1)
        calls += [
            partial(np.maximum.reduce, Z, axis=-2, keepdims=True, out=largest),
            partial(np.subtract, Z, largest, Z),
            partial(np.exp, Z, Z),
            partial(np.matmul, row, Z, total),
            partial(np.divide, Z, total, Z),
            partial(np.subtract, Z, C, Z),
        ]
        back, work, dz = [None, *self.signals("dy", m)], self.signals("work", m), Z
        for i in reversed(range(len(self.A))):
            calls.append(partial(product, dz, signals[i].mT, self.dA[i]))
            if i == 0:
                break
            dy, y, w = back[i], signals[i], work[i - 1]
            calls.append(partial(product, self.A[i].mT, dz, dy))
            if self.skips[i + 1]:
                calls.append(partial(np.add, dy, back[i + 2], dy))
            calls += [
                partial(np.multiply, y, y, w),
                partial(np.subtract, one, w, w),
                partial(np.multiply, w, dy, dy),
            ]
            dz = dy[..., :-1, :]
        A, dA, rate = self.weights, self.gradient, np.float32(RATE / m)
        calls += [partial(np.multiply, dA, rate, dA)]
        return [*calls, partial(np.subtract, A, dA, A)]

    def evaluation(self, X, C):
        """Return (calls, scores, classes) of every chunk."""
        X, size = np.vstack([X, np.ones_like(X[:1])]), CHUNK // self.replicas
        chunks = []
        for part in (slice(k, k + size) for k in range(0, X.shape[1], size)):
            calls, _, Z = self.forward(X[:, part])
            chunks.append((calls, Z, C[:, part]))
        return chunks

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        order = [rng.permutation(self.data.Yt.shape[1]) for rng in rngs]
        order = np.stack(order) if self.lead else order[0]
        Y, C = gather(self.data.Yt, order), gather(self.data.Ct, order)
        for number, (x, c) in enumerate(self.batches):
            part = slice(BATCH * number, BATCH * (number + 1))
            x[..., :-1, :], c[...] = Y[..., part], C[..., part]
        for call in self.calls:
            call()
        return [self.evaluate(chunks) for chunks in self.chunks]

    def evaluate(self, chunks):
        """Return loss and accuracy."""
        loss = correct = m = 0
        for calls, Z, C in chunks:
            for call in calls:
                call()
            correct = correct + np.count_nonzero(is_correct(Z, C), axis=-1)
            np.subtract(Z, Z.max(axis=-2, keepdims=True), Z)
            right = (C * Z).sum(axis=(-2, -1))
            total = np.exp(Z, Z).sum(axis=-2)
            loss = loss + np.log(total, total).sum(axis=-1) - right
            m += C.shape[-1]
        return loss / m, correct / m

    def flat(self):
        """Return the parameters (R, P)."""
        blocks = [b for A in self.A for b in (A[..., :-1], A[..., -1:])]
        return np.atleast_2d(join(blocks))
