"""JAX at its best: a whole epoch in one jitted scan, replicas by vmap.

The order of the samples comes from NumPy, whose permutations are much faster, and
samples are evaluated in chunks that fit a cache.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import BATCH, RATE
from helpers.layers import OutputLayer, ResNetLayer
from helpers.network import Network

CHUNK = 1250  # samples that are evaluated at a time


def scores(layers, parameters, x):
    """Return the scores (classes, m) of x (features, m)."""
    for layer, (W, b, *rest) in zip(layers, parameters, strict=True):
        z = W @ x + b
        if isinstance(layer, ResNetLayer):
            x = jnp.tanh(x + rest[0] @ jnp.tanh(z) + rest[1])
        else:
            x = z if isinstance(layer, OutputLayer) else jnp.tanh(z)
    return x


def chunks(Y):
    """Return the samples Y (features, m) in equal chunks (chunks, features, n)."""
    m = Y.shape[1]
    n = next(n for n in range(min(CHUNK, m), 0, -1) if m % n == 0)
    return jnp.asarray(Y.reshape(len(Y), -1, n).swapaxes(0, 1))


def trained(layers, batch):
    """Return a function that trains one network for an epoch and evaluates it."""

    def loss(parameters, X, C):
        Z = scores(layers, parameters, X)
        return -(C * jax.nn.log_softmax(Z, axis=0)).sum() / X.shape[1]

    def step(parameters, samples):
        gradient = jax.grad(loss)(parameters, *samples)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient), None

    def evaluate(parameters, samples):
        def judge(chunk):
            X, C = chunk
            Z = scores(layers, parameters, X)
            right = (C * Z).sum(axis=0)
            loss = (jax.nn.logsumexp(Z, axis=0) - right).sum()
            return loss, (right >= Z.max(axis=0)).sum()

        return [x.sum() / samples[1].sum() for x in jax.lax.map(judge, samples)]

    def epoch(parameters, order, samples):
        rows, *parts = samples
        m = len(order)
        full = m - m % batch

        def batches(Y):  # (batches, rows, batch)
            return Y[order[:full]].reshape(-1, batch, Y.shape[1]).swapaxes(1, 2)

        parameters, _ = jax.lax.scan(step, parameters, [batches(Y) for Y in rows])
        if full < m:
            rest = [Y[order[full:]].T for Y in rows]
            parameters, _ = step(parameters, rest)
        return parameters, [evaluate(parameters, part) for part in parts]

    return epoch


class Vmap:
    """R replicas, vmap over parameters and orders."""

    def __init__(self, layers, parameters, data, batch=BATCH):
        """Start from `parameters`, and compile with the first epoch."""
        split = Network(layers).split
        rows = [split(jnp.asarray(row, jnp.float32)) for row in parameters]
        self.parameters = self.joined(rows)
        train, validation = (data.Yt, data.Ct), (data.Yv, data.Cv)
        rows = [jnp.asarray(np.ascontiguousarray(Y.T)) for Y in train]
        parts = ([chunks(Y) for Y in part] for part in (train, validation))
        self.samples = rows, *parts
        self.run = jax.jit(self.mapped(trained(layers, batch)), donate_argnums=0)

    def joined(self, replicas):
        """Return one tree of stacked blocks."""
        return jax.tree.map(lambda *same: jnp.stack(same), *replicas)

    def mapped(self, epoch):
        """Return the epoch of all replicas."""
        return jax.vmap(epoch, in_axes=(0, 0, None))

    def orders(self, rngs):
        """Return the orders (R, m)."""
        m = len(self.samples[0][0])
        return np.stack([rng.permutation(m).astype(np.int32) for rng in rngs])

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        orders = self.orders(rngs)
        self.parameters, rows = self.run(self.parameters, orders, self.samples)
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
