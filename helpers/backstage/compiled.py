"""The same by the engine: functions of a network, compiled where `engine` can.

The lesson's formulas are called once, on arrays that note what is computed with them
(see `engine`), and performed from then on by a small compiled machine. Where it cannot,
NumPy does the same. Layers, loss and optimiser are taken as they are when this begins.
"""

import copy
import math

import cloudpickle
import numpy as np

import engine

CHUNK = 512  # samples that a compiled network judges at a time
COLUMNS = 8192  # samples of all replicas together that NumPy judges at a time
NUMBERS = (int, float, np.number, np.ndarray)


def recorded(network, X, C):
    """Return the same network, with `judge` compiled for samples like these.

    In float64 it is NumPy that judges: who asks for these digits wants them.
    """
    own = copied(network)

    def judge(theta, X, C):
        return own.with_parameters(theta).judge(X, C)

    other, theta = copy.copy(network), network.parameters
    found = (
        own
        and theta.dtype == np.float32
        and engine.programs(judge, [theta], X, C, min(CHUNK, X.shape[-1]))
    )
    other.programs = found or False
    return other


def copied(network):
    """Return a copy to record with, whose layers may keep anything, or None."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever an attribute of a layer is
        engine.say(f"the network cannot be copied ({type(error).__name__}: {error})")
        return None


def judge_all(network, X, C):
    """Return the sums of `judge` over all samples, in chunks that fit a cache."""
    theta, m = network.parameters, X.shape[-1]
    if network.programs is None:
        network = recorded(network, X, C)
    if network.programs:
        return network.programs([theta], X, C, np.arange(m))
    n = max(1, COLUMNS // math.prod(theta.shape[:-1]))
    parts = [slice(k, k + n) for k in range(0, m, n)]
    return np.sum([network.judge(X[..., k], C[..., k]) for k in parts], axis=0)


def gradient_squares(network, X, C):
    """Return for every layer the squared norm of its gradient, one per replica."""
    own, state = copied(network) or network, [network.parameters]

    def squares(theta, X, C):
        gradients = own.split(own.with_parameters(theta).gradient(X, C))
        return [sum((g**2).sum(axis=(-2, -1)) for g in blocks) for blocks in gradients]

    programs = engine.programs(squares, state, X, C, X.shape[-1])
    order = np.arange(X.shape[-1])
    return programs(state, X, C, order) if programs else squares(*state, X, C)


def prepare_epoch(network, optimizer, X, C, batch_size):
    """Return epoch(X, C, order, factor), or None.

    It takes a step on every minibatch of the samples in `order`. The state of a replica
    is θ, the schedule's factor, and whatever numbers the optimiser has.
    """
    theta, own = network.parameters, copied(network)
    numbers = vectors_of(optimizer, theta)
    if own is None or numbers is None:
        return None
    factors = np.ones((*theta.shape[:-1], 1), theta.dtype)
    state = [theta, factors, *numbers.values()]

    def step(theta, factor, *rest):
        *vectors, X, C = rest
        one = copy.deepcopy(plain)
        vars(one).update(zip(numbers, vectors, strict=True))
        one.update(theta, own.with_parameters(theta).gradient(X, C), factor)
        for name, vector in zip(numbers, vectors, strict=True):
            if (value := getattr(one, name)) is not vector:
                vector[...] = value
        return ()

    def epoch(X, C, order, factor):
        factors[...] = factor
        programs(state, X, C, order)

    plain = copy.deepcopy(optimizer)
    programs = engine.programs(step, state, X, C, batch_size)
    return epoch if programs else None


def vectors_of(optimizer, theta):
    """Return what numbers an optimiser has, {name: (..., P) or (..., 1)}, or None.

    What has the shape of the parameters after an update has one number for each of
    them, whatever it was before.
    """
    tried, found = copy.deepcopy(optimizer), {}
    tried.update(theta.copy(), np.zeros_like(theta), 1.0)
    for name, after in vars(tried).items():
        before = getattr(optimizer, name, None)
        n = theta.shape[-1] if np.shape(after) == theta.shape else 1
        if isinstance(before, NUMBERS) and not isinstance(before, bool):
            found[name] = np.empty((*theta.shape[:-1], n), theta.dtype)
            found[name][...] = before
        elif cloudpickle.dumps(before) != cloudpickle.dumps(after):
            kind = type(optimizer).__name__
            engine.say(f"{name} of {kind} changes, and is no number or array at first")
            return None
    return found
