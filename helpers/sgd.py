"""Stochastic gradient descent: minibatches, momentum, rate schedules, training loop.

Everything here asks of a network only `parameters`, a flat array (..., P) that may be
changed in place, and `gradient(X, C)`; the default record also asks for `evaluate`.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from helpers.backstage import compiled
from helpers.backstage.contracts import (
    divergence,
    generator,
    one_or_column,
    real_numbers,
    require_counts,
    require_functions,
    require_parts,
    require_record,
    require_replicas,
    schedule_factor,
)
from helpers.backstage.progress import interruptible
from helpers.backstage.rehearsal import rehearse
from helpers.network import Network


class DivergenceError(ArithmeticError):
    """The loss of a single network stopped being finite."""


def constant(progress):
    """Return the factor 1: the learning rate stays as it is."""
    return 1.0


def step(progress):
    """Return 1, 0.1 and 0.01 over the first half, the third and the last quarter."""
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def inverse(progress):
    """Return 1 / (1 + 100·progress), which falls like one over the time."""
    return 1 / (1 + 100 * progress)


def cosine(progress):
    """Return (1 + cos π·progress) / 2, which falls smoothly from 1 to 0."""
    return (1 + math.cos(math.pi * progress)) / 2


def shuffled(m, rng):
    """Return m numbers in random order, (replicas, m) for a list of generators."""
    if isinstance(rng, list):
        return np.stack([one.permutation(m) for one in rng])
    return rng.permutation(m)


def minibatches(X, C, batch_size, rng):
    """Yield (X, C) in minibatches that hold every sample exactly once, shuffled.

    The last batch may be short. One generator shuffles for all replicas alike; a list
    of generators gives each replica an order of its own and a leading axis.
    """
    order = shuffled(X.shape[-1], rng)
    X, C = gather(X, order), gather(C, order)
    for start in range(0, X.shape[-1], batch_size):
        batch = slice(start, start + batch_size)
        yield X[..., batch], C[..., batch]


def gather(X, order):
    """Return the columns of X (..., features, m) in `order`, (m,) or (replicas, m)."""
    if X.ndim == 2:
        return np.moveaxis(np.take(X, order, axis=1), 0, -2)  # contiguous samples
    return np.take_along_axis(X, np.atleast_2d(order)[:, None], axis=-1)


@dataclass
class SGD:
    """v ← μ v + g + λ θ,  θ ← θ − η v.

    η is the learning rate, μ the momentum, λ the weight decay: each a number, or one
    for each replica of a stack. An optimiser of your own is a class with such an
    `update`, and numbers or arrays of its own as its state.
    """

    learning_rate: float | np.ndarray
    momentum: float | np.ndarray = 0.0
    weight_decay: float | np.ndarray = 0.0
    velocity: float | np.ndarray = field(default=0.0, repr=False)

    def __post_init__(self):
        """Make columns (replicas, 1) of settings that differ among replicas."""
        for name in ("learning_rate", "momentum", "weight_decay"):
            setattr(self, name, one_or_column(name, getattr(self, name)))

    def update(self, parameters, gradient, factor=1.0):
        """Change `parameters` (..., P) in place; `factor` is the schedule's."""
        gradient = gradient + self.weight_decay * parameters
        self.velocity = self.momentum * self.velocity + gradient
        parameters -= (self.learning_rate * factor) * self.velocity


def prepare_epoch(network, optimizer, X, C, batch_size):
    """Return epoch(X, C, rng, factor), which takes a step on every minibatch.

    `engine` performs the very step of `SGD` and `Network`, if it knows its functions.
    """

    def epoch(X, C, rng, factor):
        for x, c in minibatches(X, C, batch_size, rng):
            optimizer.update(network.parameters, network.gradient(x, c), factor)

    def fast_epoch(X, C, rng, factor):
        fast(X, C, shuffled(X.shape[-1], rng), factor)

    fast = isinstance(network, Network) and compiled.prepare_epoch(
        network, optimizer, X, C, batch_size
    )
    return fast_epoch if fast else epoch


def evaluation(network, data):
    """Return loss and accuracy on the training and the validation samples."""
    found, parts = {}, (("train", data.Yt, data.Ct), ("validation", data.Yv, data.Cv))
    for part, X, C in parts:
        found[f"{part}_loss"], found[f"{part}_accuracy"] = network.evaluate(X, C)
    return found


def train(
    network,
    data,
    optimizer=None,
    *,
    rng,
    epochs=200,
    batch_size=64,
    schedule=constant,
    record=evaluation,
    every=1,
    progress=True,
    watch=None,
):
    """Train `network` in place on data.Yt, data.Ct and return its history.

    The optimiser, by default SGD(0.1), starts as it is given, and is left so;
    `schedule` maps the part of the training that is over, 0 ≤ t < 1, to a factor of
    its rate. `rng` shuffles: a generator or a seed, or a list with one for each
    replica.

    The history has an array (records, ...) for every name that `record(network, data)`
    returns, and "epoch" (records,): 0, the network as it came, every k-th one with
    `every` = k, and the last. A replica of a stack whose records stop being finite is
    frozen: NaN from then on, with the parameters of its last finite record. After every
    epoch `watch(epoch, epochs, row, network)` is called with the last record, if given;
    an interrupt ends the training, and the network is that of the last record.

    Raises DivergenceError when that happens to a single network, and ValueError for
    settings that are none, samples that do not fit the network, or a layer whose
    gradients do not fit its blocks.
    """
    require_counts(epochs=epochs, batch_size=batch_size, every=every)
    require_functions(schedule=schedule, record=record, watch=watch or record)
    rng = [*map(generator, rng)] if isinstance(rng, list) else generator(rng)
    optimizer = SGD(0.1) if optimizer is None else optimizer
    X, C = data.Yt, data.Ct  # some data are drawn anew whenever they are asked for
    if isinstance(network, Network):
        require_parts(network, data, X, C)
        require_replicas(network, rng)
        rehearse(network, optimizer, X, C)
        network = compiled.recorded(network, X, C)
    take_steps = prepare_epoch(network, deepcopy(optimizer), X, C, batch_size)
    row, healthy = record(network, data), network.parameters.copy()
    frozen = np.zeros(healthy.shape[:-1], bool)
    require_record(row, frozen.shape)
    rows = [{"epoch": 0} | row]
    with interruptible(network, healthy, epochs, progress, watch) as watches:
        for epoch in range(1, epochs + 1):
            factor = schedule_factor(schedule, (epoch - 1) / epochs)
            samples = data.Yt, data.Ct
            if samples[0] is not X:  # drawn anew
                real_numbers("Yt", samples[0])
            # Overflow is not hidden: `freeze` finds every loss that is not finite.
            with np.errstate(over="ignore", invalid="ignore"):
                take_steps(*samples, rng, factor)
                if epoch % every == 0 or epoch == epochs:
                    row = record(network, data)
                    require_record(row, frozen.shape, rows[0])
                    row = freeze(network, row, frozen, healthy, epoch, optimizer)
                    rows.append({"epoch": epoch} | row)
            for one in watches:
                one(epoch, epochs, row, network)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def freeze(network, row, frozen, healthy, epoch, optimizer):
    """Return a record with NaN for all replicas that have ever not been finite.

    They are noted in `frozen` and keep the parameters of their last finite record, in
    `healthy`; both change in place. Raises DivergenceError for a single network.
    """
    frozen |= ~np.isfinite(sum(row.values()))
    if frozen.ndim == 0 and frozen:
        raise DivergenceError(divergence(row, epoch, optimizer, network.parameters))
    network.parameters[frozen] = healthy[frozen]
    healthy[...] = network.parameters
    return {name: np.where(frozen, np.nan, value) for name, value in row.items()}
