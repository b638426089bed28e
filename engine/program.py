"""Programs: a function of a state and samples, recorded once, performed many times.

Each replica of a stack goes through by itself, so that all it needs stays in the cache.
"""

import numpy as np

from engine import machine
from engine.record import COPY, NAMES, Tape, UnknownError

ONE_OPERAND = ("copy", "absolute", "exp", "log", "sqrt", "tanh")


class Program:
    """function(*state, X, C) for one replica and m samples.

    The state is a list of vectors, which may be changed in place; X (features, m) and
    C (classes, m) are samples. What it returns are numbers, which are added up.
    """

    def __init__(self, function, sizes, rows, m):
        """Record it for vectors of these `sizes`, and `rows` of X and of C.

        It is recorded with random numbers, and tried with others. Raises UnknownError
        if the machine cannot do it, or does not do the same with these.
        """
        rng, tape, self.m = np.random.default_rng(0), Tape(), m

        def some():
            vectors = [rng.standard_normal(n, np.float32) / 4 for n in sizes]
            return vectors, rng.random((sum(rows), m), np.float32)

        vectors, samples = some()
        state, Y = [tape.argument(x) for x in vectors], tape.argument(samples)
        with np.errstate(all="ignore"):
            values = function(*state, *np.split(Y, rows[:1]))
            values = [tape.put(x, tape.empty(())) for x in values]
        self.table, self.M = tape.program(*state, *values), tape.memory()
        self.state, self.places = (
            np.array([tape.place(x)[0] for x in arrays])
            for arrays in (state, [Y, *values])
        )
        self.require_same(function, *some(), rows)

    def require_same(self, function, vectors, samples, rows):
        """Raise UnknownError unless the function does with these what is recorded."""
        X, C = np.split(samples, rows[:1])
        found, totals = [x.copy() for x in vectors], np.zeros(len(self.places) - 1)
        self.run(found, X, C, np.arange(self.m), totals)
        again = [x.copy() for x in vectors]
        with np.errstate(all="ignore"):
            once, twice = (
                [*state, np.array(function(*state, X.copy(), C.copy()))]
                for state in (vectors, again)
            )
        if [x.tobytes() for x in once] != [x.tobytes() for x in twice]:
            raise UnknownError("functions that do otherwise the second time")
        pairs = zip([*found, totals], once, strict=True)
        if not all(np.allclose(*pair, 1e-3, 1e-4, equal_nan=True) for pair in pairs):
            raise UnknownError("functions that do otherwise on other numbers")

    def run(self, vectors, X, C, order, totals):
        """Perform the program for m samples after m of `order`; change the vectors."""
        for start, x in zip(self.state, vectors, strict=True):
            self.M[start : start + x.size] = x
        places = self.places
        machine.compiled()(self.table, self.M, X, C, order, self.m, places, totals)
        for start, x in zip(self.state, vectors, strict=True):
            changed = self.M[start : start + x.size]
            if x.tobytes() != changed.tobytes():  # what is only read may be read-only
                x[:] = changed

    def listing(self):
        """Return for each instruction (name, sizes, place written, places read)."""
        lines = []
        for what, *sizes, out, _, _, a, _, _, b, _, _, c, _ in self.table.tolist():
            name = NAMES[what]
            read = [a] if name in ONE_OPERAND else [a, b]
            lines.append((name, sizes, out, read + [c] * (what < COPY)))
        return lines


class Programs:
    """A function of a state and samples, with a program for each size of a batch."""

    def __init__(self, function, state, X, C, batch):
        """Record it for replicas like those of `state`, a list of (..., n).

        X is (..., features, m), C (..., classes, m). Raises UnknownError.
        """
        for x in (*state, X, C):
            if x.dtype != np.float32:
                raise UnknownError(f"numbers of the type {x.dtype}")
        if max(X.ndim, C.ndim) > 1 + state[0].ndim:
            raise UnknownError("samples of more replicas than there are states")
        sizes, rows = [x.shape[-1] for x in state], (X.shape[-2], C.shape[-2])
        self.recipe, self.batch, self.programs = (function, sizes, rows), batch, {}
        self.numbers = len(self.program(batch).places) - 1
        if rest := X.shape[-1] % batch:
            self.program(rest)

    def program(self, m):
        """Return the program for m samples."""
        if m not in self.programs:
            self.programs[m] = Program(*self.recipe, m)
        return self.programs[m]

    def __call__(self, state, X, C, order):
        """Go through the samples in `order` (..., m), change the state in place.

        Returns the totals (numbers, ...).
        """
        _, sizes, rows = self.recipe
        given = [x.shape[-1] for x in state], (X.shape[-2], C.shape[-2])
        if given != (sizes, rows):
            raise ValueError(f"recorded for the sizes {sizes} and {rows}, not {given}")
        shape, m = state[0].shape[:-1], order.shape[-1]
        order, whole = np.broadcast_to(order, (*shape, m)), m - m % self.batch
        totals = np.zeros((*shape, self.numbers))
        X, C = (
            np.broadcast_to(x.astype(np.float32, copy=False), shape + x.shape[-2:])
            for x in (X, C)
        )
        for r in np.ndindex(shape):
            own = np.ascontiguousarray(order[r], np.int64)
            for part in filter(len, np.split(own, [whole])):
                program = self.program(min(self.batch, len(part)))
                program.run([x[r] for x in state], X[r], C[r], part, totals[r])
        return np.moveaxis(totals, -1, 0)
