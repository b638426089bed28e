"""The yardstick: networks as a book explains them, one object per layer, in float64.

Every layer keeps its own W and b, remembers what its forward pass saw, and updates
itself; a minibatch is `X[:, indices]`; the evaluation takes all samples at once.
"""

import numpy as np

from benchmarks import BATCH, RATE
from helpers.network import Network


class Affine:
    """y = W x + b."""

    def __init__(self, W, b):
        """Keep the parameters."""
        self.W, self.b = W.copy(), b.copy()

    def forward(self, x):
        """Return y."""
        self.x = x
        return self.W @ x + self.b

    def backward(self, dy):
        """Keep the gradients of W and b, return that of x."""
        self.dW, self.db = dy @ self.x.T, dy.sum(axis=1, keepdims=True)
        return self.W.T @ dy

    def update(self):
        """Take a step of gradient descent."""
        self.W -= RATE * self.dW
        self.b -= RATE * self.db

    def parameters(self):
        """Return W and b."""
        return [self.W, self.b]


class Hidden(Affine):
    """y = tanh(W x + b)."""

    def forward(self, x):
        """Return y."""
        self.y = np.tanh(super().forward(x))
        return self.y

    def backward(self, dy):
        """Keep the gradients of W and b, return that of x."""
        return super().backward((1 - self.y**2) * dy)


class Residual:
    """y = tanh(x + W2 tanh(W1 x + b1) + b2)."""

    def __init__(self, W1, b1, W2, b2):
        """Make it of a hidden and an affine part."""
        self.inner, self.outer = Hidden(W1, b1), Affine(W2, b2)

    def forward(self, x):
        """Return y."""
        self.y = np.tanh(x + self.outer.forward(self.inner.forward(x)))
        return self.y

    def backward(self, dy):
        """Keep the gradients, return that of x."""
        ds = (1 - self.y**2) * dy
        return ds + self.inner.backward(self.outer.backward(ds))

    def update(self):
        """Take a step of gradient descent."""
        self.inner.update()
        self.outer.update()

    def parameters(self):
        """Return W1, b1, W2 and b2."""
        return self.inner.parameters() + self.outer.parameters()


def softmax(Z):
    """Return the probabilities (classes, m)."""
    E = np.exp(Z - Z.max(axis=0))
    return E / E.sum(axis=0)


PARTS = {"OutputLayer": Affine, "HiddenLayer": Hidden, "ResNetLayer": Residual}


class Plain:
    """One network of plain layers."""

    def __init__(self, layers, parameters, data):
        """Take the single row of `parameters`."""
        blocks = Network(layers).split(parameters[0].astype(float))
        kinds = [PARTS[type(layer).__name__] for layer in layers]
        self.parts = [kind(*own) for kind, own in zip(kinds, blocks, strict=True)]
        self.train = data.Yt.astype(float), data.Ct.astype(float)
        self.validation = data.Yv.astype(float), data.Cv.astype(float)

    def forward(self, X):
        """Return the probabilities."""
        for part in self.parts:
            X = part.forward(X)
        return softmax(X)

    def step(self, X, C):
        """Train on one minibatch."""
        gradient = (self.forward(X) - C) / X.shape[1]
        for part in reversed(self.parts):
            gradient = part.backward(gradient)
        for part in self.parts:
            part.update()

    def evaluate(self, X, C):
        """Return loss and accuracy."""
        P = self.forward(X)
        loss = -np.mean(np.log(np.sum(C * P, axis=0)))
        return loss, np.mean(P.argmax(axis=0) == C.argmax(axis=0))

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        X, C = self.train
        order = rngs[0].permutation(X.shape[1])
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            self.step(X[:, batch], C[:, batch])
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    def flat(self):
        """Return the parameters (1, P)."""
        blocks = [p.ravel() for part in self.parts for p in part.parameters()]
        return np.concatenate(blocks)[None]
