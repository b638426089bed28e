"""What a function asks of NumPy, written down as a program for `engine.machine`.

The function is called once, on arrays that behave like any others, so that nothing in
it need know. What it computes lies in one memory, where the program finds it again; a
view is only another place there, and needs no instruction.
"""

from functools import reduce
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.machine import INSTRUCTIONS, WIDTH

SIZE = 1 << 22  # numbers that the memory can hold
COMBINE, INNER, COPY, *_ = range(len(INSTRUCTIONS))
NAMES = [*INSTRUCTIONS]
LINE = 16  # numbers in a line of the cache: arrays start at one
LARGEST = 64 * 64  # the two smaller sizes of a product: beyond, NumPy is as fast
REWRITTEN = {
    np.negative: lambda x: x * -1,
    np.square: lambda x: x * x,
    np.minimum: lambda x, y: -np.maximum(-x, -y),
    np.less: lambda x, y: y > x,
    np.less_equal: lambda x, y: y >= x,
    np.greater_equal: lambda x, y: (x > y) + (x == y),
    np.not_equal: lambda x, y: 1 - (x == y),
}


class UnknownError(TypeError):
    """The machine cannot do this: NumPy itself must."""


class Recorded(np.ndarray):
    """An array in the memory of a tape, which notes what is computed with it."""

    tape = owned = None

    def __array_finalize__(self, parent):
        """Belong to the tape of the array that this one is a view of."""
        self.tape = getattr(parent, "tape", None)

    def __del__(self):
        """Give the memory back as soon as nobody needs it, while it is in the cache."""
        if self.owned:
            self.tape.free.setdefault(self.owned[1], []).append(self.owned[0])

    def __array_ufunc__(self, ufunc, method, *inputs, out=(None,), **settings):
        """Compute as always, and have it noted."""
        tape = next(x.tape for x in (*inputs, *out) if isinstance(x, Recorded))
        inputs = [x if isinstance(x, Recorded) else tape.constant(x) for x in inputs]
        if (
            method not in {"__call__", "reduce"}
            or settings.get("where", True) is not True
        ):
            raise UnknownError(f"np.{ufunc.__name__} used in this way")
        do = tape.call if method == "__call__" else tape.reduce
        result = do(ufunc, *inputs, **settings)
        return result if out[0] is None else tape.put(result, out[0])

    def __array_function__(self, function, types, inputs, settings):
        """Join arrays; let pass functions that are made of noted ones."""
        if function is np.concatenate:
            return self.tape.join(*inputs, **settings)
        result = super().__array_function__(function, types, inputs, settings)
        for x in result if isinstance(result, (list, tuple)) else [result]:
            if not isinstance(x, Recorded) or not self.tape.holds(x):
                raise UnknownError(f"np.{function.__name__}")
        return result

    def __getitem__(self, index):
        """Return a view, even of a single entry: no number escapes."""
        index = index if isinstance(index, tuple) else (index,)
        rest = () if any(i is ... for i in index) else (...,)
        return super().__getitem__(index + rest)

    def __setitem__(self, index, value):
        """Assign, and have it noted."""
        self.tape.put(value, self[index])

    def refuse(self, *_, **__):
        """Refuse what would be decided for all numbers by those of the record."""
        raise UnknownError("a decision that depends on values")

    __bool__ = __int__ = __float__ = __index__ = item = tolist = refuse
    argmax = argmin = refuse


def plain(x):
    """Return the same numbers as an ordinary array."""
    return x.view(np.ndarray)


class Tape:
    """A memory M, and notes (what, result, operands) of how it was filled.

    Results and operands are places in M: (start, shape, strides).
    """

    def __init__(self):
        """Start with an empty memory."""
        self.M, self.top, self.free = np.zeros(SIZE, np.float32), 0, {}
        self.notes, self.constants, self.product = [], {}, (None,)

    def empty(self, shape, *, fresh=False):
        """Return a new array, in memory that is free again unless it is to be fresh."""
        count = prod(shape)
        length = -(-max(count, 1) // LINE) * LINE
        if fresh or not self.free.get(length):
            start, self.top = self.top, self.top + length
        else:
            start = self.free[length].pop()
        if self.top > SIZE:
            raise UnknownError(f"more than {SIZE} numbers at a time")
        array = self.M[start : start + count].reshape(shape).view(Recorded)
        array.tape, array.owned = self, None if fresh else (start, length)
        return array

    def memory(self):
        """Return a copy of the memory that was used; it begins at a line, too."""
        room = np.empty(self.top + LINE, np.float32)
        start = -room.ctypes.data // room.itemsize % LINE
        room[start : start + self.top] = self.M[: self.top]
        return room[start : start + self.top]

    def argument(self, value):
        """Return an array of these numbers, for which others may be put in."""
        array = self.empty(np.shape(value), fresh=True)
        plain(array)[...] = value
        return array

    def constant(self, value):
        """Return an array that keeps its memory, and is there once."""
        value = np.asarray(value)
        if value.dtype.kind not in "fiub":
            raise UnknownError(f"numbers of the type {value.dtype}")
        key = value.shape, value.astype(np.float32).tobytes()
        if key not in self.constants:
            self.constants[key] = plain(self.argument(value))
        array = self.constants[key].view(Recorded)
        array.tape = self
        return array

    def holds(self, x):
        """Return whether an array lies in the memory."""
        return 0 <= x.ctypes.data - self.M.ctypes.data < self.M.nbytes

    def place(self, x):
        """Return where an array lies: (start, shape, strides), in numbers."""
        if not self.holds(x):
            raise UnknownError("copies made by other means than a function of NumPy")
        start = (x.ctypes.data - self.M.ctypes.data) // x.itemsize
        return start, x.shape, tuple(s // x.itemsize for s in x.strides)

    def note(self, what, value, *operands, target=None):
        """Note how a value is computed, and return it, in a new array or the target."""
        target = self.empty(np.shape(value)) if target is None else target
        plain(target)[...] = value
        self.notes.append((what, self.place(target), [*map(self.place, operands)]))
        return target

    def put(self, x, target):
        """Copy into an array that there is."""
        x, self.product = x if isinstance(x, Recorded) else self.constant(x), (None,)
        return self.note(COPY, plain(x), x, target=target)

    def call(self, ufunc, *inputs, **_):
        """Note a product or a function of matching entries."""
        if ufunc in REWRITTEN:
            return REWRITTEN[ufunc](*inputs)
        if ufunc is not np.matmul and ufunc.__name__ not in INSTRUCTIONS:
            raise UnknownError(f"np.{ufunc.__name__}")
        value = ufunc(*map(plain, inputs))
        if value.ndim > 2:
            raise UnknownError("arrays of more than two axes")
        if ufunc is np.matmul:
            return self.multiply(value, *inputs, self.constant(0))
        for x, c in (inputs, inputs[::-1]) if ufunc is np.add else ():
            if x is self.product[0] and c.shape in {(len(x), 1), (1, 1), ()}:
                return self.multiply(value, *self.product[1:], c)  # A B + c in one
        return self.note(NAMES.index(ufunc.__name__), value, *inputs)

    def multiply(self, value, X, Y, c):
        """Note a product with a column added, in the form that fits its order."""
        sizes = sorted((*X.shape, *Y.shape[1:]))
        if X.ndim != 2 or Y.ndim != 2:
            raise UnknownError(f"products of the shapes {X.shape} and {Y.shape}")
        if prod(sizes[:2]) > LARGEST:
            raise UnknownError  # NumPy is faster at products as large as these
        (_, of_X), (down, across) = self.place(X)[2], self.place(Y)[2]
        column = Y.shape[1] == 1
        if (of_X == 1 or X.shape[1] == 1) and down == 1 and (across != 1 or column):
            what = INNER
        else:
            what = COMBINE
            Y = Y if across == 1 or column else self.note(COPY, plain(Y), Y)
        result = self.note(what, value, X, Y, c)
        self.product = result, X, Y
        return result

    def reduce(self, ufunc, x, axis=0, keepdims=False, initial=None, **_):
        """Note a sum as a product with ones, a maximum as those of pairs."""
        if x.ndim == 1:
            return self.reduce(ufunc, x[None], (0, 1), initial=initial)
        if x.ndim != 2 or ufunc not in (np.add, np.maximum) or initial is not None:
            raise UnknownError(f"np.{ufunc.__name__}.reduce")
        axes = {0, 1} if axis is None else {n % 2 for n in np.atleast_1d(axis).tolist()}
        for n in axes:
            if ufunc is np.maximum:
                x = reduce(np.maximum, np.split(x, x.shape[n], n))
            else:
                ones = np.ones((1, x.shape[n]))
                x = x @ self.constant(ones).mT if n else self.constant(ones) @ x
        where = tuple(0 if n in axes else slice(None) for n in (0, 1))
        return x if keepdims else x[(*where, ...)]

    def join(self, blocks, axis=0, **_):
        """Return the blocks as one array."""
        blocks = [x if isinstance(x, Recorded) else self.constant(x) for x in blocks]
        whole = self.empty(np.concatenate([*map(plain, blocks)], axis).shape)
        stops = np.cumsum([x.shape[axis] for x in blocks])[:-1]
        for x, target in zip(blocks, np.split(whole, stops, axis), strict=True):
            self.put(x, target)
        return whole

    def program(self, *wanted):
        """Return the instructions on which the wanted arrays depend, as a table."""
        self.product = (None,)  # an array that keeps its tape would keep itself
        needed, table = np.zeros(self.top, bool), []

        def at(start, shape, strides):
            return as_strided(needed[start:], shape, strides)

        for x in wanted:
            at(*self.place(x))[...] = True
        for what, result, operands in reversed(self.notes):
            if at(*result).any():
                at(*result)[...] = False
                for x in operands:
                    at(*x)[...] = True
                table.append(line(what, result, operands))
        return np.array(table[::-1], np.int64).reshape(-1, WIDTH)


def line(what, result, operands):
    """Return the row of the table for an instruction."""
    rows, columns = ((1, 1) + result[1])[-2:]
    depth, ends = 0, []
    if what in (COMBINE, INNER):
        *factors, c = operands
        depth, ends = factors[0][1][1], seen(c, (rows, 1))[:2]
        places = [seen(x, x[1]) for x in (result, *factors)]
    else:
        places = [seen(x, result[1]) for x in (result, *operands)]
        if all(x[1:] in ((columns, 1), (0, 0)) for x in places):
            rows, columns = 1, rows * columns  # all in one go
    numbers = [what, rows, columns, depth, *(n for x in places for n in x), *ends]
    return numbers + [0] * (WIDTH - len(numbers))


def seen(place, shape):
    """Return start and distances down and across of a place repeated to this shape.

    A single row, which has no next one, goes down as if all were in one go.
    """
    start, own, strides = place
    rows, columns = (1, 1, *shape)[-2:]
    down, across = (
        stride * (size > 1)
        for stride, size in zip((0, 0, *strides)[-2:], (1, 1, *own)[-2:], strict=True)
    )
    across = 1 if columns == 1 else across
    return start, down if rows > 1 else columns * (across != 0), across
