"""Layers: a forward pass, and its derivative both ways.

A layer is a formula y = f(x; θ). It owns no numbers: parameters come in as arguments,
so one object serves a single network, a stack of replicas, float32, float64 or complex
numbers alike, and nothing is ever written into an input.

Shapes: x (..., inputs, m), y (..., outputs, m); weights (..., rows, columns), biases
(..., rows, 1). Leading axes are replicas and broadcast.
"""

import numpy as np


def sum_samples(dz):
    """Return dz 1 (..., rows, 1): as a product, faster than dz.sum(axis=-1)."""
    return dz @ np.ones((dz.shape[-1], 1), dz.dtype)


class Tanh:
    """σ(z) = tanh z, with σ′ written in the output: σ′ = 1 − y²."""

    def __call__(self, z):
        """Return y = σ(z)."""
        return np.tanh(z)

    def derivative(self, y):
        """Return σ′(z) from y = σ(z)."""
        return 1 - y * y


class ReLU:
    """σ(z) = max(z, 0), with σ′ = 1 where y > 0 and 0 elsewhere, the kink included."""

    def __call__(self, z):
        """Return y = σ(z)."""
        return np.maximum(z, 0)

    def derivative(self, y):
        """Return σ′(z) from y = σ(z)."""
        return y > 0


class Identity:
    """σ(z) = z: the residual layer without its outer activation."""

    def __call__(self, z):
        """Return y = z."""
        return z

    def derivative(self, y):
        """Return σ′ = 1."""
        return np.ones((), y.dtype)


class Layer:
    """The contract of every layer.

    - `inputs`, `outputs`: the widths;
    - `shapes`: the parameter blocks by name, in order, as {"W": (rows, columns), …};
    - `forward(x, *θ)` returns y and what the backward pass needs, `kept`;
    - `backward(kept, dy)` returns Jᵀ dy: dx, then a tuple with one dθ per block;
    - `jvp(kept, dx, *dθ)` returns J (dx, dθ), the change of y to first order.

    Every sample, a column, is treated by itself.
    """

    gains = {}

    def initial(self, rng):
        """Draw the blocks: weights N(0, gain² / fan-in), biases zero."""
        return [
            self.gains.get(name, 1) * rng.standard_normal(shape) / np.sqrt(shape[1])
            if name.startswith("W")
            else np.zeros(shape)
            for name, shape in self.shapes.items()
        ]


class OutputLayer(Layer):
    """y = W x + b: the scores of the classes, whose softmax is part of the loss."""

    def __init__(self, inputs, classes):
        """Declare W (classes × inputs) and b (classes × 1)."""
        self.inputs, self.outputs = inputs, classes
        self.shapes = {"W": (classes, inputs), "b": (classes, 1)}

    def forward(self, x, W, b):
        """Return y = W x + b."""
        return W @ x + b, (x, W)

    def backward(self, kept, dy):
        """Return dx = Wᵀ dy, dW = dy xᵀ, db = dy 1."""
        x, W = kept
        return W.mT @ dy, (dy @ x.mT, sum_samples(dy))

    def jvp(self, kept, dx, dW, db):
        """Return dy = W dx + dW x + db."""
        x, W = kept
        return W @ dx + dW @ x + db


class HiddenLayer(Layer):
    """y = σ(W x + b)."""

    def __init__(self, inputs, outputs, activation=None):
        """Declare W (outputs × inputs) and b (outputs × 1); tanh by default."""
        self.inputs, self.outputs = inputs, outputs
        self.activation = Tanh() if activation is None else activation
        self.shapes = {"W": (outputs, inputs), "b": (outputs, 1)}

    def forward(self, x, W, b):
        """Return y = σ(z), z = W x + b."""
        y = self.activation(W @ x + b)
        return y, (x, W, y)

    def backward(self, kept, dy):
        """Return dx = Wᵀ dz, dW = dz xᵀ, db = dz 1, with dz = σ′(z) ⊙ dy."""
        x, W, y = kept
        dz = self.activation.derivative(y) * dy
        return W.mT @ dz, (dz @ x.mT, sum_samples(dz))

    def jvp(self, kept, dx, dW, db):
        """Return dy = σ′(z) ⊙ (W dx + dW x + db)."""
        x, W, y = kept
        return self.activation.derivative(y) * (W @ dx + dW @ x + db)


class ResNetLayer(Layer):
    """y = τ(x + W₂ h + b₂), h = σ(W₁ x + b₁), where τ is σ or, if dropped, nothing."""

    gains = {"W2": 0.5}  # a residual branch starts as a small correction of x

    def __init__(self, width, inner=None, activation=None, outer=True):
        """Declare W1 (inner × width), b1, W2 (width × inner), b2; tanh by default."""
        inner = inner or width
        self.inputs = self.outputs = width
        self.activation = Tanh() if activation is None else activation
        self.outer = self.activation if outer else Identity()
        self.shapes = {"W1": (inner, width), "b1": (inner, 1)}
        self.shapes |= {"W2": (width, inner), "b2": (width, 1)}

    def forward(self, x, W1, b1, W2, b2):
        """Return y = τ(s), s = x + W₂ h + b₂, h = σ(z), z = W₁ x + b₁."""
        h = self.activation(W1 @ x + b1)
        y = self.outer(x + W2 @ h + b2)
        return y, (x, W1, W2, h, y)

    def backward(self, kept, dy):
        """Return dx = ds + W₁ᵀ dz and dW₁ = dz xᵀ, db₁ = dz 1, dW₂ = ds hᵀ, db₂ = ds 1.

        Here ds = τ′(s) ⊙ dy and dz = σ′(z) ⊙ W₂ᵀ ds.
        """
        x, W1, W2, h, y = kept
        ds = self.outer.derivative(y) * dy
        dW2, db2 = ds @ h.mT, sum_samples(ds)
        dz = self.activation.derivative(h) * (W2.mT @ ds)
        dW1, db1 = dz @ x.mT, sum_samples(dz)
        return ds + W1.mT @ dz, (dW1, db1, dW2, db2)

    def jvp(self, kept, dx, dW1, db1, dW2, db2):
        """Return dy = τ′(s) ⊙ (dx + dW₂ h + W₂ dh + db₂), dh = σ′(z) ⊙ dz.

        Here dz = dW₁ x + W₁ dx + db₁.
        """
        x, W1, W2, h, y = kept
        dh = self.activation.derivative(h) * (dW1 @ x + W1 @ dx + db1)
        return self.outer.derivative(y) * (dx + dW2 @ h + W2 @ dh + db2)
