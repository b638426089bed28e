"""Softmax, and the two losses that a network or a linear classifier minimises.

A loss compares scores Z (the affine output of the last layer) with targets C, and is
the MEAN over the m samples, so that its size does not depend on the minibatch. Each
loss is a value and, below it, the gradient with respect to Z; the gradients with
respect to W, b and X of a linear classifier follow by the chain rule.

Shapes: Z and C (..., classes, m); values (...), one per replica.
"""

import numpy as np


def softmax(Z):
    """Return P = exp(Z) / Σₖ exp(Zₖ), column by column.

    Subtracting the maximum of each SAMPLE leaves P as it is and keeps exp(Z) ≤ 1.
    """
    E = np.exp(Z - Z.max(axis=-2, keepdims=True))
    return E / E.sum(axis=-2, keepdims=True)


def log_softmax(Z):
    """Return log P = Z − log Σₖ exp(Zₖ) without ever taking the log of zero."""
    Z = Z - Z.max(axis=-2, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=-2, keepdims=True))


class CrossEntropy:
    """ℓ(Z) = −(1/m) Σᵢ cᵢᵀ log softmax(zᵢ)."""

    def __call__(self, Z, C):
        """Return the loss, one value per replica."""
        return -(C * log_softmax(Z)).sum(axis=(-2, -1)) / Z.shape[-1]

    def gradient(self, Z, C):
        """Return ∂ℓ/∂Z = (softmax(Z) − C) / m, for columns of C that sum to 1."""
        return (softmax(Z) - C) / Z.shape[-1]


class LeastSquares:
    """ℓ(Z) = (1/2m) Σᵢ ‖zᵢ − cᵢ‖²."""

    def __call__(self, Z, C):
        """Return the loss, one value per replica."""
        return ((Z - C) ** 2).sum(axis=(-2, -1)) / (2 * Z.shape[-1])

    def gradient(self, Z, C):
        """Return ∂ℓ/∂Z = (Z − C) / m."""
        return (Z - C) / Z.shape[-1]


def linear_loss(loss, W, b, X, C):
    """Return ℓ(W X + b 1ᵀ) for W (..., classes, features) and b (..., classes, 1)."""
    return loss(W @ X + b, C)


def linear_gradients(loss, W, b, X, C):
    """Return ∂ℓ/∂W = G Xᵀ, ∂ℓ/∂b = G 1 and ∂ℓ/∂X = Wᵀ G, with G = ∂ℓ/∂Z."""
    G = loss.gradient(W @ X + b, C)
    return G @ X.mT, G.sum(axis=-1, keepdims=True), W.mT @ G
