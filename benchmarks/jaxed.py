"""JAX at its best: a whole epoch in one jitted scan, replicas by vmap.

The order of the samples comes from NumPy, whose permutations are much faster, and
samples are evaluated in chunks that fit a cache.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import BATCH, RATE, scores
from helpers.network import Network

CHUNK = 1250  # samples that are evaluated at a time


def chunks(Y):
    """Return the samples Y (features, m) in equal chunks (chunks, features, n)."""
    m = Y.shape[1]
    n = next(n for n in range(min(CHUNK, m), 0, -1) if m % n == 0)
    return jnp.asarray(Y.reshape(len(Y), -1, n).swapaxes(0, 1))


def trained(batch):
    """Return a function that trains one network for an epoch and evaluates it."""

    def loss(parameters, X, C):
        Z = scores(jnp.tanh, parameters, X)
        return -(C * jax.nn.log_softmax(Z, axis=0)).sum() / X.shape[1]

    def step(parameters, samples):
        gradient = jax.grad(loss)(parameters, *samples)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient), None

    def evaluate(parameters, samples):
        def judge(chunk):
            X, C = chunk
            Z = scores(jnp.tanh, parameters, X)
            right = (C * Z).sum(axis=0)
            loss = (jax.nn.logsumexp(Z, axis=0) - right).sum()
            return loss, (right >= Z.max(axis=0)).sum()

        return [x.sum() / samples[1].sum() for x in jax.lax.map(judge, samples)]

    def epoch(parameters, order, samples):
        rows, *parts = samples
        full = len(order) - len(order) % batch

        def batches(Y):  # (batches, rows, batch)
            return Y[order[:full]].reshape(-1, batch, Y.shape[1]).swapaxes(1, 2)

        parameters, _ = jax.lax.scan(step, parameters, [batches(Y) for Y in rows])
        if full < len(order):
            parameters, _ = step(parameters, [Y[order[full:]].T for Y in rows])
        return parameters, [evaluate(parameters, part) for part in parts]

    return epoch


class Vmap:
    """R replicas, vmap over parameters and orders."""

    def __init__(self, layers, parameters, data, batch=BATCH):
        split = Network(layers).split
        replicas = [split(jnp.asarray(row, jnp.float32)) for row in parameters]
        self.parameters = jax.tree.map(lambda *same: jnp.stack(same), *replicas)
        train, validation = (data.Yt, data.Ct), (data.Yv, data.Cv)
        rows = [jnp.asarray(np.ascontiguousarray(Y.T)) for Y in train]
        parts = ([chunks(Y) for Y in part] for part in (train, validation))
        self.samples = rows, *parts
        self.run = jax.jit(self.mapped(trained(batch)), donate_argnums=0)

    def mapped(self, epoch):
        """Return the epoch of all replicas."""
        return jax.vmap(epoch, in_axes=(0, 0, None))

    def epoch(self, rngs):
        m = len(self.samples[0][0])
        orders = np.stack([rng.permutation(m).astype(np.int32) for rng in rngs])
        self.parameters, rows = self.run(self.parameters, orders, self.samples)
        return jax.block_until_ready(rows)

    def flat(self):
        leaves = jax.tree.leaves(self.parameters)
        return np.concatenate([np.reshape(a, (len(a), -1)) for a in leaves], axis=1)


class Single(Vmap):
    """One network, no vmap."""

    def mapped(self, epoch):
        """Return the epoch of the only replica."""

        def single(parameters, orders, samples):
            only = jax.tree.map(lambda p: p[0], parameters)
            parameters, rows = epoch(only, orders[0], samples)
            return jax.tree.map(lambda p: p[None], parameters), rows

        return single
