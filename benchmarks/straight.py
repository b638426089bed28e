"""How fast NumPy goes: a step is a list of calls, their outputs all laid out before.

No layers, no functions of our own, no memory asked for: [W b] is one matrix, a signal
ends in a row of ones, and (function, *arguments) follow one another. What the engine of
`helpers` takes longer is the price of code that can be read.
"""

import numpy as np

from benchmarks import BATCH, RATE
from helpers.layers import ResNetLayer
from helpers.network import Network, join
from helpers.sgd import gather

CHUNK = 8192  # columns, of all replicas, that are evaluated at a time


class Straight:
    """R replicas in float32; a single one has no leading axis."""

    def __init__(self, layers, parameters, data):
        """Lay out the matrices A = [W b], their gradients, and the lists of calls."""
        replicas = len(parameters)
        self.lead = (replicas,) if replicas > 1 else ()
        self.skips = []  # whether matrix i adds the signal that matrix i − 1 was given
        for layer in layers:
            self.skips += [False, True] if isinstance(layer, ResNetLayer) else [False]
        start = parameters.reshape(*self.lead, -1).astype(np.float32)
        self.lay_out([b for blocks in Network(layers).split(start) for b in blocks])
        self.data, self.buffers = data, {}
        columns = range(0, data.Yt.shape[1], BATCH)
        ends = [min(BATCH, data.Yt.shape[1] - start) for start in columns]
        self.X = [np.ones((*self.lead, len(data.Yt) + 1, m), "f") for m in ends]
        self.C = [np.empty((*self.lead, len(data.Ct), m), "f") for m in ends]
        batches = zip(self.X, self.C, strict=True)
        self.steps = [call for X, C in batches for call in self.step(X, C)]
        step = CHUNK // replicas
        self.chunks = [
            [
                (C[:, start : start + step], *self.scores(X[:, start : start + step]))
                for start in range(0, X.shape[1], step)
            ]
            for X, C in (
                (np.vstack([Y, np.ones_like(Y[:1])]), C)
                for Y, C in ((data.Yt, data.Ct), (data.Yv, data.Cv))
            )
        ]

    def lay_out(self, blocks):
        """Make `weights` and `gradient` with their views A and dA; copy the blocks."""
        pairs = list(zip(blocks[::2], blocks[1::2], strict=True))
        shapes = [(W.shape[-2], W.shape[-1] + 1) for W, _ in pairs]
        stops = np.cumsum([rows * columns for rows, columns in shapes])
        self.weights, self.gradient = np.zeros((2, *self.lead, stops[-1]), np.float32)
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

    def buffer(self, name, rows, m):
        """Return the array of that name for m columns."""
        if (name, m) not in self.buffers:
            self.buffers[name, m] = np.ones((*self.lead, rows, m), np.float32)
        return self.buffers[name, m]

    def signals(self, kind, m):
        """Return arrays for what all matrices but the last make, with rows of ones."""
        rows = [A.shape[-2] + 1 for A in self.A[:-1]]
        return [self.buffer((kind, i), row, m) for i, row in enumerate(rows)]

    def scores(self, X):
        """Return the calls of a forward pass, every signal, and the scores."""
        m = X.shape[-1]
        signals, calls = [X, *self.signals("y", m)], []
        Z = self.buffer("Z", self.A[-1].shape[-2], m)
        for i, A in enumerate(self.A[:-1]):
            y = signals[i + 1]
            calls.append((np.matmul, A, signals[i], y[..., :-1, :]))
            if self.skips[i]:
                calls.append((np.add, y, signals[i - 1], y))
            calls += [(np.tanh, y, y), (y[..., -1, :].fill, 1)]
        return [*calls, (np.matmul, self.A[-1], signals[-1], Z)], signals, Z

    def step(self, X, C):
        """Return the calls of a step on one minibatch."""
        (calls, signals, Z), m = self.scores(X), X.shape[-1]
        largest, total = self.buffer("max", 1, m), self.buffer("sum", 1, m)
        ones, one = np.ones((1, Z.shape[-2]), np.float32), np.float32(1)
        calls += [
            (np.maximum.reduce, Z, -2, None, largest, True),
            (np.subtract, Z, largest, Z),
            (np.exp, Z, Z),
            (np.matmul, ones, Z, total),
            (np.divide, Z, total, Z),
            (np.subtract, Z, C, Z),
        ]
        back, work, dz = [X, *self.signals("dy", m)], self.signals("work", m), Z
        for i in reversed(range(len(self.A))):
            if dz is not Z:
                y, t, d = signals[i + 1], work[i], back[i + 1]
                calls += [(np.multiply, y, y, t), (np.subtract, one, t, t)]
                calls += [(np.multiply, t, d, d)]
            calls.append((np.matmul, dz, signals[i].mT, self.dA[i]))
            if i > 0:
                calls.append((np.matmul, self.A[i].mT, dz, back[i]))
                if self.skips[i + 1 : i + 2] == [True]:
                    calls.append((np.add, back[i], back[i + 2], back[i]))
            dz = back[i][..., :-1, :]
        w, g, rate = self.weights, self.gradient, np.float32(RATE / m)
        return [*calls, (np.multiply, g, rate, g), (np.subtract, w, g, w)]

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        m = self.data.Yt.shape[1]
        order = [rng.permutation(m) for rng in rngs]
        order = np.stack(order) if self.lead else order[0]
        X, C = gather(self.data.Yt, order), gather(self.data.Ct, order)
        for i, start in enumerate(range(0, m, BATCH)):
            self.X[i][..., :-1, :] = X[..., start : start + BATCH]
            self.C[i][...] = C[..., start : start + BATCH]
        for function, *arguments in self.steps:
            function(*arguments)
        return [self.evaluate(chunks) for chunks in self.chunks]

    def evaluate(self, chunks):
        """Return loss and accuracy."""
        loss = correct = m = 0
        for C, calls, _, Z in chunks:
            for function, *arguments in calls:
                function(*arguments)
            right = np.einsum("...km,km->...m", Z, C)
            good = (right[..., None, :] <= Z).sum(axis=-2, dtype=np.uint8) == 1
            largest = Z.max(axis=-2, keepdims=True)
            sums = np.exp(np.subtract(Z, largest, Z), Z).sum(axis=-2)
            loss = loss + (largest[..., 0, :] + np.log(sums) - right).sum(axis=-1)
            correct = correct + np.count_nonzero(good, axis=-1)
            m += C.shape[-1]
        return loss / m, correct / m

    def flat(self):
        """Return the parameters (R, P)."""
        blocks = [b for A in self.A for b in (A[..., :-1], A[..., -1:])]
        return np.atleast_2d(join(blocks))
