"""The yardstick: networks as a book explains them, one object per layer, in float64.

Every layer keeps its own W and b, and remembers what its forward pass saw; a minibatch
is `X[:, indices]`; the evaluation takes all samples at once.
"""

import numpy as np

from benchmarks import BATCH, RATE
from helpers.network import Network


class Affine:
    """y = W x + b."""

    def __init__(self, W, b):
        self.W, self.b, self.parts = W.copy(), b.copy(), [self]

    def forward(self, x):
        self.x = x
        return self.W @ x + self.b

    def backward(self, dy):
        """Keep the gradients of W and b, return that of x."""
        self.dW, self.db = dy @ self.x.T, dy.sum(axis=1, keepdims=True)
        return self.W.T @ dy


class Hidden(Affine):
    """y = tanh(W x + b)."""

    def forward(self, x):
        self.y = np.tanh(super().forward(x))
        return self.y

    def backward(self, dy):
        return super().backward((1 - self.y**2) * dy)


class Residual:
    """y = tanh(x + W2 tanh(W1 x + b1) + b2)."""

    def __init__(self, W1, b1, W2, b2):
        self.parts = self.inner, self.outer = Hidden(W1, b1), Affine(W2, b2)

    def forward(self, x):
        self.y = np.tanh(x + self.outer.forward(self.inner.forward(x)))
        return self.y

    def backward(self, dy):
        ds = (1 - self.y**2) * dy
        return ds + self.inner.backward(self.outer.backward(ds))


KINDS = {"OutputLayer": Affine, "HiddenLayer": Hidden, "ResNetLayer": Residual}


class Plain:
    """One network of plain layers."""

    def __init__(self, layers, parameters, data):
        blocks = Network(layers).split(parameters[0].astype(float))
        kinds = [KINDS[type(layer).__name__] for layer in layers]
        self.layers = [kind(*own) for kind, own in zip(kinds, blocks, strict=True)]
        self.parts = [part for layer in self.layers for part in layer.parts]
        self.train = data.Yt.astype(float), data.Ct.astype(float)
        self.validation = data.Yv.astype(float), data.Cv.astype(float)

    def forward(self, X):
        """Return the probabilities (classes, m)."""
        for layer in self.layers:
            X = layer.forward(X)
        E = np.exp(X - X.max(axis=0))
        return E / E.sum(axis=0)

    def step(self, X, C):
        """Train on one minibatch."""
        gradient = (self.forward(X) - C) / X.shape[1]
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        for part in self.parts:
            part.W -= RATE * part.dW
            part.b -= RATE * part.db

    def evaluate(self, X, C):
        """Return loss and accuracy."""
        P = self.forward(X)
        loss = -np.mean(np.log(np.sum(C * P, axis=0)))
        return loss, np.mean(P.argmax(axis=0) == C.argmax(axis=0))

    def epoch(self, rngs):
        X, C = self.train
        order = rngs[0].permutation(X.shape[1])
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            self.step(X[:, batch], C[:, batch])
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    def flat(self):
        return np.concatenate([a.ravel() for p in self.parts for a in (p.W, p.b)])[None]
