"""Stochastic gradient descent: minibatches, momentum, rate schedules, training loop.

Everything here asks of a network only `parameters`, a flat array (..., P) that may be
changed in place, and `gradient(X, C)`; the default record also asks for `evaluate`.
"""

import copy
import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

import engine
from helpers.backstage.progress import Watch, bar
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

    η is the learning rate, μ the momentum, λ the weight decay: numbers, or arrays
    (replicas, 1) that give each replica of a stack its own.
    """

    learning_rate: float | np.ndarray
    momentum: float | np.ndarray = 0.0
    weight_decay: float | np.ndarray = 0.0
    velocity: float | np.ndarray = 0.0

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

    if not isinstance(network, Network):
        return epoch
    return compile_epoch(network, optimizer, X, C, batch_size) or epoch


def compile_epoch(network, optimizer, X, C, batch_size):
    """Return the same by the engine, or None; a replica's state is θ, v, (η, μ, λ)."""
    theta, own = network.parameters, copy.deepcopy(network)
    settings = np.zeros((*theta.shape[:-1], 3), theta.dtype)
    for n, name in enumerate(("learning_rate", "momentum", "weight_decay")):
        settings[..., n, None] = getattr(optimizer, name)
    state = [theta, np.zeros_like(theta), settings.copy()]

    def step(theta, velocity, settings, X, C):
        sgd = SGD(*(settings[..., n, None] for n in range(3)), velocity)
        sgd.update(theta, own.with_parameters(theta).gradient(X, C))
        velocity[...] = sgd.velocity
        return ()

    def epoch(X, C, rng, factor):
        state[-1][..., 0] = settings[..., 0] * np.float32(factor)
        programs(state, X, C, shuffled(X.shape[-1], rng))

    programs = engine.programs(step, state, X, C, batch_size)
    return epoch if programs else None


def evaluation(network, data):
    """Return loss and accuracy on the training and the validation samples."""
    found, parts = {}, (("train", data.Yt, data.Ct), ("validation", data.Yv, data.Cv))
    for part, X, C in parts:
        found[f"{part}_loss"], found[f"{part}_accuracy"] = network.evaluate(X, C)
    return found


def train(
    network,
    data,
    *,
    rng,
    epochs=200,
    batch_size=64,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    schedule=constant,
    record=evaluation,
    every=1,
    progress=True,
    watch=None,
):
    """Train `network` in place on data.Yt, data.Ct and return its history.

    `rng` shuffles: a generator or a seed, or a list with one for each replica.

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
    require_functions(schedule=schedule, record=record)
    draw = np.random.default_rng  # of a seed; a generator stays what it is
    rng = [*map(draw, rng)] if isinstance(rng, list) else draw(rng)
    X, C = data.Yt, data.Ct  # some data are drawn anew whenever they are asked for
    if isinstance(network, Network):
        network.check_gradients(X, C)
        network = network.recorded(X, C)
    optimizer = SGD(learning_rate, momentum, weight_decay)
    take_steps = prepare_epoch(network, optimizer, X, C, batch_size)
    row, healthy = record(network, data), network.parameters.copy()
    rows, frozen = [{"epoch": 0} | row], np.zeros(healthy.shape[:-1], bool)
    with interruptible(network, healthy, epochs, progress, watch) as watches:
        for epoch in range(1, epochs + 1):
            factor = float(np.float32(schedule((epoch - 1) / epochs)))
            # Overflow is not hidden: `freeze` finds every loss that is not finite.
            with np.errstate(over="ignore", invalid="ignore"):
                take_steps(data.Yt, data.Ct, rng, factor)
                if epoch % every == 0 or epoch == epochs:
                    row = record(network, data)
                    where = epoch, np.max(learning_rate)
                    row = freeze(network, row, frozen, healthy, *where)
                    rows.append({"epoch": epoch} | row)
            for one in watches:
                one(epoch, epochs, row, network)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@contextmanager
def interruptible(network, healthy, epochs, progress, watch):
    """Yield what to call after every epoch; end the training where it is interrupted.

    One line says so. Where nobody looks on but a file, as in a worker, it goes on.
    """
    with ExitStack() as stack:
        own = [Watch(stack.enter_context(bar(epochs)))] if progress else []
        watches = own + ([watch] if watch else [])
        try:
            yield watches
        except KeyboardInterrupt:
            if all(getattr(one, "path", None) for one in watches):
                raise
            network.parameters[...] = healthy  # those of the last record
            tqdm.write("training was stopped: network and history are those so far")


def freeze(network, row, frozen, healthy, epoch, learning_rate):
    """Return a record with NaN for all replicas that have ever not been finite.

    They are noted in `frozen` and keep the parameters of their last finite record, in
    `healthy`; both change in place. Raises DivergenceError for a single network.
    """
    frozen |= ~np.isfinite(sum(row.values()))
    if frozen.ndim == 0 and frozen:
        raise DivergenceError(
            f"the loss stopped being finite in epoch {epoch} at learning rate "
            f"{learning_rate:g}: try a smaller learning rate or a decaying schedule"
        )
    network.parameters[frozen] = healthy[frozen]
    healthy[...] = network.parameters
    return {name: np.where(frozen, np.nan, value) for name, value in row.items()}


def require_counts(**counts):
    """Raise ValueError for what should be a whole number of at least one."""
    for name, count in counts.items():
        if not isinstance(count, (int, np.integer)) or count < 1:
            raise ValueError(f"{name} = {count!r}: give a whole number, at least 1")


def require_functions(**functions):
    """Raise ValueError for what cannot be called."""
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{name} = {function!r}: give a function")
