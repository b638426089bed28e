"""Programs: a function of a state and samples, recorded once, performed many times.

Each replica of a stack goes through by itself, so that all it needs stays in the cache.
What cannot be performed as NumPy does it is done by NumPy, here or at the caller's.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import numpy as np

import engine
from engine import kernels, plan, processor, traces, trial
from engine.array import UnknownError
from engine.tape import FLOAT, LANES, Tape

SLACK = 1 << 10  # numbers behind the memory, that may be read in vain
ATTEMPTS = 20  # at a moment when no other thread draws random numbers


class DrawnError(UnknownError):
    """A global generator has moved: by the function, or by another thread."""


class Record:
    """What a function of vectors of these sizes and of m samples asks of NumPy."""

    def __init__(self, function, sizes, rows, m):
        """Call it once. Raises UnknownError."""
        self.tape = tape = Tape()
        self.state = [tape.array((n,)) for n in sizes]
        self.samples = tape.array((sum(rows), m))
        with np.errstate(all="ignore"):
            values = function(*self.state, *np.split(self.samples, rows[:1]))
        self.values = [tape.put(x, tape.array(())) for x in values]
        if tape.refused:
            raise UnknownError(tape.refused)

    def starts(self, arrays):
        """Return where arrays begin on the tape."""
        return [self.tape.buffer(self.tape.place(x)) for x in arrays]

    def content(self):
        """Return all that tells one record from another."""
        numbers = {k: (x.shape, x.tobytes()) for k, x in self.tape.numbers.items()}
        return self.tape.notes, numbers, self.starts(self.values)


class Program:
    """A record, compiled for m samples at a time."""

    def __init__(self, record, rows, m):
        """Compile what the state and the values need."""
        tape, self.m, self.numbers = record.tape, m, len(record.values)
        state, values = record.starts(record.state), record.starts(record.values)
        samples = record.starts([record.samples])
        given = [*state, *samples]
        calls, lain, top, self.listing = plan.program(tape, [*state, *values], given)
        self.state, totals = [lain[x] for x in state], [lain[x] for x in values]
        self.size, self.rooms = top + SLACK, []
        constants = [*tape.numbers.items()]
        self.constants = [(lain[at], x.ravel()) for at, x in constants if at in lain]
        gather = kernels.kernel(kernels.gather, 5, m, rows)
        add = kernels.kernel(kernels.add, 2 * self.numbers, self.numbers)
        begin = gather, [0, 0, 0, lain[samples[0]], 0]
        self.address, self.given = kernels.ready(
            [begin, *calls, (add, totals + totals)]
        )

    def room(self):
        """Return a memory with the constants, and the arguments: for one thread."""
        room = np.zeros(self.size + LANES, FLOAT)
        room = room[-room.ctypes.data // room.itemsize % LANES :]
        for start, numbers in self.constants:
            room[start : start + numbers.size] = numbers
        return room, self.given.copy()

    def run(self, state, X, C, order):
        """Perform it for the samples in `order`; change the state, return totals."""
        M, given = room = self.rooms.pop() if self.rooms else self.room()
        totals = np.zeros(self.numbers)
        given[(begin := given[1]) : begin + 3] = [x.ctypes.data for x in (X, C, order)]
        given[begin + 4] = X.shape[1]
        where = totals.ctypes.data + totals.itemsize * np.arange(self.numbers)
        given[len(given) - self.numbers :] = where
        for start, x in zip(self.state, state, strict=True):
            M[start : start + x.size] = x
        run = processor.RUN(self.address)
        run(M.ctypes.data, given.ctypes.data, len(order) // self.m)
        for start, x in zip(self.state, state, strict=True):
            changed = M[start : start + x.size]
            if x.tobytes() != changed.tobytes():  # what is only read may be read-only
                x[:] = changed
        self.rooms.append(room)
        return totals


class Programs:
    """function(*state, X, C), with a program for each size of a batch.

    The state is a list of vectors, which may be changed in place; X (features, m) and
    C (classes, m) are samples. What it returns are numbers, which are added up.
    """

    def __init__(self, function, state, X, C, batch):
        """Record it for replicas like those of `state`, a list of (..., n).

        X is (..., features, m), C (..., classes, m). Raises UnknownError, also if a
        call changes anything else than the state: what the function can see, or the
        global generators of random numbers.
        """
        for x in (*state, X, C):
            if x.dtype != FLOAT:
                raise UnknownError(f"numbers of the type {x.dtype}")
        if max(X.ndim, C.ndim) > 1 + state[0].ndim:
            raise UnknownError("samples of more replicas than there are states")
        self.sizes = [x.shape[-1] for x in state], (X.shape[-2], C.shape[-2])
        self.function, self.batch = function, batch
        self.programs, self.sound, self.numbers = {}, True, None
        for m in dict.fromkeys([batch, X.shape[-1] % batch or batch]):
            self.programs[m] = self.program(m, state, X, C)
        self.numbers = self.programs[batch].numbers
        trial.require_apart(function, state, X[..., :batch], C[..., :batch])

    def __reduce__(self):
        """Leave no copy: what is compiled is of this process, and made anew."""
        return type(None), ()

    def program(self, m, state, X, C):
        """Return a program for m samples, which does on these what NumPy does.

        Raises UnknownError if there is none.
        """
        states = traces.generators()
        try:
            for _ in range(ATTEMPTS):
                with suppress(DrawnError):
                    return self.tried(m, state, X, C)
            return self.tried(m, state, X, C)
        finally:
            traces.restore(states)

    @np.errstate(all="ignore")
    def tried(self, m, state, X, C):
        """Return a program that was recorded twice, and tried on several samples."""
        before = traces.seen(self.function)
        records = []
        for _ in range(2):
            records.append(Record(self.function, *self.sizes, m))
            self.require_no_trace(before)
        if records[0].content() != records[1].content():
            raise UnknownError("functions that do otherwise the second time")
        program = Program(records[0], self.sizes[1], m)
        for vectors, x, c in trial.examples(m, state, X, C):
            trial.require_same(self.function, program, vectors, x, c)
        self.require_no_trace(before)
        return program

    def require_no_trace(self, before):
        """Raise UnknownError if anything is not what it was before the function ran."""
        after = traces.seen(self.function)
        for way in sorted(before.keys() | after.keys()):
            if way not in before or way not in after or before[way] != after[way]:
                name = way.rpartition("/")[2]
                kind = DrawnError if name == traces.GENERATOR else UnknownError
                raise kind(f"functions that change something: {name}")

    def __call__(self, state, X, C, order):
        """Go through the samples in `order` (..., m), change the state in place.

        Returns the totals (numbers, ...). NumPy does it if the engine cannot.
        """
        shape, m = state[0].shape[:-1], order.shape[-1]
        stops = [*range(0, m, self.batch), m]
        sizes = {b - a for a, b in pairwise(stops)}
        run = self.run if self.ready(sizes, state, X, C, order) else self.run_plainly
        lead = np.broadcast_shapes(shape, X.shape[:-2], C.shape[:-2])
        order = np.broadcast_to(order, (*lead, m))
        X, C = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (X, C))

        def one(r):
            own = [x[r[len(lead) - len(shape) :]] for x in state]
            return run(own, X[r], C[r], order[r])

        replicas = [*np.ndindex(lead)]
        if run == self.run and (cores := min(workers(), len(replicas))) > 1:
            with ThreadPoolExecutor(cores) as pool:  # the engine lets others work
                totals = [*pool.map(one, replicas)]
        else:
            totals = [*map(one, replicas)]
        return np.moveaxis(np.reshape(totals, (*lead, self.numbers)), -1, 0)

    def run(self, state, X, C, order):
        """Return the totals of one replica, whose state changes."""
        order, m = np.ascontiguousarray(order, np.int64), len(order)
        X, C = map(np.ascontiguousarray, (X, C))
        totals = np.zeros(self.numbers)
        for part in filter(len, np.split(order, [m - m % self.batch])):
            totals += self.programs[min(self.batch, len(part))].run(state, X, C, part)
        return totals

    def run_plainly(self, state, X, C, order):
        """Do the same by NumPy."""
        totals = np.zeros(self.numbers)
        for part in np.split(order, range(self.batch, len(order), self.batch)):
            totals += self.function(*state, X.take(part, 1), C.take(part, 1))
        return totals

    def ready(self, sizes, state, X, C, order):
        """Return whether there is a sound program for all of this."""
        given = [x.shape[-1] for x in state], (X.shape[-2], C.shape[-2])
        types = {x.dtype for x in (*state, X, C)}
        fits = given == self.sizes and types == {FLOAT}
        fits = fits and max(X.ndim, C.ndim) <= 1 + state[0].ndim
        fits = fits and not {"raise", "call"} & {*np.geterr().values()}
        inside = order.size == 0 or 0 <= order.min() <= order.max() < X.shape[-1]
        if not (self.sound and fits and inside):
            return False
        try:
            for m in sizes:
                if m not in self.programs:
                    self.programs[m] = self.program(m, state, X, C)
        except Exception as error:  # whatever is wrong with the function
            self.sound = False
            engine.say(engine.reason(error))
        return self.sound


def workers():
    """Return how many replicas may be performed at a time: no number hangs on it."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
