"""The trial of a program: does it do what NumPy does, on what its user has?"""

import numpy as np

from engine.array import UnknownError
from engine.tape import FLOAT

SCALES = (1, 1e-3, 1e3)  # of the samples that a program is tried with
CLOSE = 1e-4, 1e-6, 1e-6  # part of what changes, part of what there is, and a number
SHAKEN, SHAKES = 1e-5, 16  # part by which numbers are changed, and how often


def examples(m, state, X, C):
    """Yield state, X and C of one replica: drawn, and the first samples, scaled."""
    rng, columns = np.random.default_rng(0), np.arange(m) % X.shape[-1]
    sizes, rows = [x.shape[-1] for x in state], (X.shape[-2], C.shape[-2])
    drawn = [rng.standard_normal(n, FLOAT) / 4 for n in sizes]
    yield drawn, *(rng.random((n, m), FLOAT) for n in rows)
    own = [x[(0,) * (x.ndim - 1)] for x in state]
    X, C = (x[(0,) * (x.ndim - 2)].take(columns, axis=1) for x in (X, C))
    for scale in SCALES:
        yield own, X * FLOAT.type(scale), C


def by_numpy(function, state, X, C):
    """Return state and totals after the function, which may not see the others."""
    state = [x.copy() for x in state]
    with np.errstate(all="ignore"):
        totals = function(*state, X.copy(), C.copy())
    numbers = len(totals), *state[0].shape[:-1]
    return [*state, np.reshape(np.array(totals, float), numbers)]


def require_same(function, program, state, X, C):
    """Raise UnknownError unless a program does with these what NumPy does.

    It may differ a little, or where results jump, by what those of NumPy do when
    state and samples change in their last digits.
    """
    found, expected = [x.copy() for x in state], by_numpy(function, state, X, C)
    found.append(program.run(found, X, C, np.arange(X.shape[1])))
    again, starts = by_numpy(function, state, X, C), [*state, np.zeros(program.numbers)]
    if [x.tobytes() for x in again] != [x.tobytes() for x in expected]:
        raise UnknownError("functions that do otherwise the second time")
    far = None
    for n, (x, y, start) in enumerate(zip(found, expected, starts, strict=True)):
        finite = np.isfinite(x).all(), np.isfinite(y).all()
        if finite == (False, False):
            continue
        change, part, least = CLOSE
        error = np.abs(x - y).max(initial=0)
        close = change * np.abs(y - start).max(initial=0) + least
        close += part * np.abs(y).max(initial=0)
        if error > close and far is None:
            far = moved(function, state, X, C, expected)
        if finite != (True, True) or (error > close and error > 2 * far[n]):
            raise UnknownError("functions that do otherwise on other numbers")


def moved(function, state, X, C, expected):
    """Return how far NumPy's changes go when all numbers change a little."""
    rng, far = np.random.default_rng(0), np.zeros(len(expected))
    for _ in range(SHAKES):
        *others, x = (
            a * (1 + FLOAT.type(SHAKEN) * rng.standard_normal(a.shape, FLOAT))
            for a in (*state, X)
        )
        for n, y in enumerate(by_numpy(function, others, x, C)):
            own = expected[n] - y
            own += others[n] - state[n] if n < len(state) else 0
            far[n] = max(far[n], np.abs(own).max(initial=0))
    return far


def require_apart(function, state, X, C):
    """Raise UnknownError if NumPy's results for a stack hang on other replicas."""
    shape = state[0].shape[:-1]
    X, C = (np.broadcast_to(x, shape + x.shape[-2:]) for x in (X, C))
    found = by_numpy(function, state, X, C)
    for r in np.ndindex(shape):
        alone = by_numpy(function, [x[r] for x in state], X[r], C[r])
        own = [*(x[r] for x in found[:-1]), found[-1][(..., *r)]]
        for x, y in zip(own, alone, strict=True):
            if not np.allclose(x, y, 1e-3, 1e-4, equal_nan=True):
                raise UnknownError("functions that mix the replicas of a stack")
