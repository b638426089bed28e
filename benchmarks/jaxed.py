"""JAX at its best: a whole epoch in one jitted scan, replicas by vmap.

The order of the samples comes from NumPy, whose permutations are much faster.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import BATCH, RATE
from helpers.layers import OutputLayer, ResNetLayer
from helpers.network import Network


def scores(layers, parameters, x):
    """Return the scores (classes, m) of x (features, m)."""
    for layer, (W, b, *rest) in zip(layers, parameters, strict=True):
        z = W @ x + b
        if isinstance(layer, ResNetLayer):
            x = jnp.tanh(x + rest[0] @ jnp.tanh(z) + rest[1])
        else:
            x = z if isinstance(layer, OutputLayer) else jnp.tanh(z)
    return x


def trained(layers):
    """Return a function that trains one network for an epoch and evaluates it."""

    def loss(parameters, X, C):
        Z = scores(layers, parameters, X)
        return -(C * jax.nn.log_softmax(Z, axis=0)).sum() / X.shape[1]

    def step(parameters, batch):
        gradient = jax.grad(loss)(parameters, *batch)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient), None

    def evaluate(parameters, X, C):
        Z = scores(layers, parameters, X)
        cost = -(C * jax.nn.log_softmax(Z, axis=0)).sum() / X.shape[1]
        return cost, (Z.argmax(axis=0) == C.argmax(axis=0)).mean()

    def epoch(parameters, order, train, validation):
        m = len(order)
        full = m - m % BATCH

        def batches(Y):  # (batches, rows, BATCH)
            return Y[order[:full]].reshape(-1, BATCH, Y.shape[1]).swapaxes(1, 2)

        rows = [Y.T for Y in train]
        parameters, _ = jax.lax.scan(step, parameters, [batches(Y) for Y in rows])
        if full < m:
            rest = [Y[order[full:]].T for Y in rows]
            parameters, _ = step(parameters, rest)
        return parameters, (
            evaluate(parameters, *train),
            evaluate(parameters, *validation),
        )

    return epoch


class Vmap:
    """R replicas, vmap over parameters and orders."""

    def __init__(self, layers, parameters, data):
        """Start from `parameters`, and compile with the first epoch."""
        split = Network(layers).split
        rows = [split(jnp.asarray(row, jnp.float32)) for row in parameters]
        self.parameters = self.joined(rows)
        self.train = jnp.asarray(data.Yt), jnp.asarray(data.Ct)
        self.validation = jnp.asarray(data.Yv), jnp.asarray(data.Cv)
        self.run = jax.jit(self.mapped(trained(layers)))

    def joined(self, replicas):
        """Return one tree of stacked blocks."""
        return jax.tree.map(lambda *same: jnp.stack(same), *replicas)

    def mapped(self, epoch):
        """Return the epoch of all replicas."""
        return jax.vmap(epoch, in_axes=(0, 0, None, None))

    def orders(self, rngs):
        """Return the orders (R, m)."""
        m = self.train[0].shape[1]
        return np.stack([rng.permutation(m).astype(np.int32) for rng in rngs])

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        self.parameters, rows = self.run(
            self.parameters, self.orders(rngs), self.train, self.validation
        )
        return jax.block_until_ready(rows)

    def flat(self):
        """Return the parameters (R, P)."""
        leaves = jax.tree.leaves(self.parameters)
        return np.concatenate([np.reshape(a, (len(a), -1)) for a in leaves], axis=1)


class Single(Vmap):
    """One network, no vmap."""

    def joined(self, replicas):
        """Return the blocks of the only replica."""
        return replicas[0]

    def mapped(self, epoch):
        """Return the epoch itself."""
        return epoch

    def orders(self, rngs):
        """Return the order (m,)."""
        return super().orders(rngs)[0]

    def flat(self):
        """Return the parameters (1, P)."""
        leaves = jax.tree.leaves(self.parameters)
        return np.concatenate([np.ravel(a) for a in leaves])[None]
