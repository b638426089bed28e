"""What a function asks of NumPy, written down as operations on one memory.

A note is (operation, result, operands); results and operands are places: (start,
(rows, columns), (down, across)), with distances in numbers, 0 where an entry repeats.
An operand that is the same number everywhere is that number.
"""

from bisect import bisect_right
from functools import cache, reduce
from math import prod

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from engine.array import Recorded, UnknownError
from engine.kernels import LANES

SIZE = 1 << 27  # numbers that a record may have
WAYS = 8  # parts that are added, or compared, in one go
FLOAT, TRUTH = np.dtype(np.float32), np.dtype(bool)
EXACT = 1 << 24  # whole numbers below are exact in float32
COMPARISONS = ["greater", "greater_equal", "less", "less_equal", "equal", "not_equal"]
POWERS = {
    -1: lambda x: 1 / x,
    0.5: np.sqrt,
    1: np.positive,
    2: lambda x: x * x,
    3: lambda x: x * x * x,
}


def power(tape, x, n):
    """Return the product of n factors x, or what else is known."""
    if kind(n) not in (int, float) or n not in POWERS:
        tape.refuse("np.power of other exponents than -1, 0.5, 1, 2, 3")
    return POWERS[n](x)


FUNCTIONS = {  # of numbers in float32: the operation, or what else is done
    "negative": lambda tape, x: x * -1,
    "positive": lambda tape, x: tape.note("copy", x),
    "square": lambda tape, x: x * x,
    "reciprocal": lambda tape, x: 1 / x,
    "power": power,
    "matmul": lambda tape, x, y: tape.multiply(tape.recorded(x), tape.recorded(y)),
    "fabs": "absolute",
} | {
    name: name
    for name in (
        *COMPARISONS,
        *("absolute", "add", "copysign", "divide", "exp", "log", "maximum", "minimum"),
        *("multiply", "sqrt", "subtract", "tanh"),
    )
}
LOGIC = {  # of booleans, which are the numbers 0 and 1
    **dict.fromkeys(("add", "logical_or", "bitwise_or", "maximum"), "maximum"),
    **dict.fromkeys(("multiply", "logical_and", "bitwise_and", "minimum"), "minimum"),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "not_equal"),
    **dict.fromkeys(
        ("logical_not", "invert"),
        lambda tape, x: tape.note("subtract", 1, x, dtype=TRUTH),
    ),
    **{name: name for name in COMPARISONS},
}


@cache
def room():
    """Return the memory whose views say where arrays lie; nobody reads or writes it."""
    return np.zeros(SIZE, FLOAT)


@cache
def base():
    """Return the address of the room."""
    return room().ctypes.data


@cache
def types(ufunc, *kinds):
    """Return NumPy's types of the operands and of the result."""
    return ufunc.resolve_dtypes((*kinds, None))


@cache
def type_of_where(*kinds):
    """Return NumPy's type of a choice between two arrays, or Python's numbers."""
    pair = (
        np.zeros(1, kind) if isinstance(kind, np.dtype) else kind(0) for kind in kinds
    )
    return np.where([True], *pair).dtype


def kind(x):
    """Return NumPy's type, or Python's whose numbers take that of an array."""
    weak = type(x) in (int, float)
    return type(x) if weak else x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


class Tape:
    """Notes of what was computed, and the constants that it took."""

    def __init__(self):
        """Start without a note."""
        self.starts, self.sizes, self.top = [], {}, 0  # of the arrays
        self.notes, self.refused = [], None
        self.constants, self.numbers, self.same = {}, {}, {}

    def refuse(self, reason):
        """Raise UnknownError; the record does not count, even if that is caught."""
        self.refused = self.refused or reason
        raise UnknownError(reason)

    def array(self, shape, dtype=FLOAT):
        """Return a new array, whose rows are whole."""
        count, start = max(prod(shape), 1), self.top
        self.top += -(-count // LANES) * LANES
        if self.top > SIZE:
            self.refuse(f"more than {SIZE} numbers")
        self.starts.append(start)
        self.sizes[start] = prod(shape)
        layout = room()[start : start + prod(shape)].reshape(shape)
        return Recorded(self, layout, dtype)

    def recorded(self, value):
        """Return an array as it is, or a constant."""
        if isinstance(value, Recorded):
            if value.tape is not self:
                self.refuse("arrays of another record")
            return value
        value = np.asarray(value)
        if value.dtype.kind not in "fiub" or not value.flags.c_contiguous:
            self.refuse(f"constants of the type {value.dtype}, or with parted rows")
        with np.errstate(all="ignore"):
            numbers = value.astype(FLOAT)
        key = value.shape, numbers.tobytes()
        if key not in self.constants:
            self.constants[key] = array = self.array(value.shape)
            start, *_ = self.place(array)
            self.numbers[start] = numbers
            if len({x.tobytes() for x in numbers.flat}) == 1:
                self.same[start] = float(numbers.flat[0])
        return self.constants[key]

    def place(self, x, shape=None):
        """Return where an array lies that is repeated to a shape."""
        layout = x.layout
        start = (layout.__array_interface__["data"][0] - base()) // 4
        sizes, strides = (1, 1, *layout.shape)[-2:], (0, 0, *layout.strides)[-2:]
        steps = tuple(s // 4 * (n > 1) for n, s in zip(sizes, strides, strict=True))
        shape = layout.shape if shape is None else shape
        return start, (1, 1, *shape)[-2:], steps

    def fresh(self, shape, dtype, operands):
        """Return a new array, with whole rows or whole columns as NumPy has it."""
        array, layouts = self.array(shape, dtype), [x.layout for x in operands]
        if len(shape) == 2 and not all(x.flags.c_contiguous for x in layouts):
            flags = [["readonly"]] * len(layouts) + [["writeonly", "allocate"]]
            new = np.nditer([*layouts, None], ["zerosize_ok"], flags).operands[-1]
            if not new.flags.c_contiguous:
                array.layout = array.layout.reshape(shape[::-1]).T
        return array

    def note(self, name, *operands, dtype=FLOAT, target=None):
        """Note an operation on matching entries; return the result."""
        if {"raise", "call"} & {*np.geterr().values()}:
            self.refuse("errors of arithmetic that raise")
        operands = [*map(self.recorded, operands)]
        if target is None:
            shape = np.broadcast_shapes(*(x.shape for x in operands))
            target = self.fresh(shape, dtype, operands)
        if target.ndim > 2:
            self.refuse("arrays of more than two axes")
        if target.size:
            out, *places = (self.place(x, target.shape) for x in (target, *operands))
            if out[2][0] == 1 and out[2][1] > 1:  # the same, with columns as rows
                out, *places = ((a, b[::-1], c[::-1]) for a, b, c in (out, *places))
            self.notes.append((name, out, tuple(places)))
        return target

    def put(self, x, target):
        """Copy into an array that there is, as NumPy assigns."""
        if not isinstance(target, Recorded):
            self.refuse("arrays of another kind that are written into")
        given = np.dtype(kind(x))
        if target.dtype not in (FLOAT, given) or given.kind not in "fiub":
            self.refuse(f"{target.dtype} made of {given}")
        x = self.recorded(x)
        np.broadcast_to(x.layout, target.shape)  # or NumPy's own words
        if not target.layout.flags.writeable:
            raise ValueError("assignment destination is read-only")
        if self.buffer(self.place(x)) == self.buffer(self.place(target)):
            x = self.note("copy", x, dtype=x.dtype)  # they may overlap
        self.note("copy", x, target=target)
        return target

    def buffer(self, place):
        """Return the start of the array in whose memory a place lies."""
        return self.starts[bisect_right(self.starts, place[0]) - 1]

    def call(self, ufunc, *inputs):
        """Note a product or a function of matching entries, of NumPy's types."""
        name, do = ufunc.__name__, None
        *given, dtype = types(ufunc, *map(kind, inputs))
        if {*given} == {FLOAT}:
            do = FUNCTIONS.get(name)
        elif {*given} == {TRUTH}:
            do = LOGIC.get(name)
        elif name in COMPARISONS and all(one.kind in "iu" for one in given):
            constants = (x for x in inputs if not isinstance(x, Recorded))
            do = name if all((np.abs(x) < EXACT).all() for x in constants) else None
        if do is None or dtype not in (FLOAT, TRUTH):
            told = sorted({str(one) for one in (*given, dtype)} - {"float32"})
            rest = f" of the types {', '.join(told)}" if told else ""
            self.refuse(f"np.{name}{rest}")
        return (
            do(self, *inputs) if callable(do) else self.note(do, *inputs, dtype=dtype)
        )

    def where(self, condition, x, y):
        """Note a choice."""
        dtype = type_of_where(kind(x), kind(y))
        if kind(condition) != TRUTH or dtype not in (FLOAT, TRUTH):
            self.refuse(f"np.where of the type {dtype}")
        return self.note("where", condition, x, y, dtype=dtype)

    def concatenate(self, blocks, axis=0):
        """Note the copies that make one array of blocks."""
        dtype = np.result_type(*map(kind, blocks))
        if dtype not in (FLOAT, TRUTH):
            self.refuse(f"np.concatenate of the type {dtype}")
        blocks = [*map(self.recorded, blocks)]
        if not all(x.layout.flags.c_contiguous or x.ndim == 1 for x in blocks):
            self.refuse("np.concatenate of views whose rows are not whole")
        shape, stops = [*blocks[0].shape], np.cumsum([x.shape[axis] for x in blocks])
        shape[axis] = int(stops[-1])
        whole = self.array(tuple(shape), dtype)
        parts = np.split(whole.layout, stops[:-1], axis)
        for x, layout in zip(blocks, parts, strict=True):
            if x.shape != layout.shape:
                raise ValueError("all the input array dimensions must match")
            self.put(x, whole.like(layout))
        return whole

    def multiply(self, X, Y):
        """Note a product; a second factor whose columns are apart is copied before."""
        if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != len(Y) or not X.size * Y.size:
            self.refuse(f"products of the shapes {X.shape} and {Y.shape}")
        (rows, depth), columns = X.shape, Y.shape[1]
        if columns == 1:
            ones = self.same.get(self.place(Y)[0]) == 1
            return (X if ones else X * Y.mT).sum(axis=1, keepdims=True)
        if self.place(Y)[2][1] != 1:
            room = self.array((depth, -(-columns // LANES) * LANES))
            copy = room[:, :columns]
            if self.place(Y.mT)[2][1] == 1:
                note = "transpose", self.place(room), (self.place(Y.mT),)
                self.notes.append(note)
            else:
                self.put(Y, copy)
            Y = copy
        result, places = self.array((rows, columns)), [self.place(X), self.place(Y)]
        if places[1][2][0] % 256 == 0 and rows > LANES:  # rows in the same lines
            places.append(self.place(self.array((depth, 3 * LANES))))
        self.notes.append(("matmul", self.place(result), (*places,)))
        return result

    def reduce(self, ufunc, x, axis=0, dtype=None, keepdims=False, **others):
        """Note a sum or a maximum as those of a few parts, until there is one."""
        name = {np.add: "add", np.maximum: "maximum", np.minimum: "minimum"}.get(ufunc)
        others = {k: v for k, v in others.items() if v is not None and v is not True}
        if name is None or others or x.ndim not in (1, 2) or not x.size:
            self.refuse(f"np.{ufunc.__name__}.reduce")
        kinds = x.dtype, None if dtype is None else np.dtype(dtype)
        if kinds == (FLOAT, None):
            dtype = FLOAT
        elif x.dtype == TRUTH and name == "add" and x.size < EXACT:
            dtype = kinds[1] or np.dtype(int)
        if dtype != FLOAT and (dtype.kind not in "iu" or np.iinfo(dtype).max < x.size):
            self.refuse(f"np.{ufunc.__name__}.reduce of the types {kinds}")
        axes = range(x.ndim) if axis is None else axis
        axes = normalize_axis_tuple(axes, x.ndim)
        y = x if x.ndim == 2 else x[None]
        for n in sorted((n + 2 - x.ndim for n in axes), reverse=True):
            y = self.shorten(name, y, n)
        if y.layout.base is x.layout.base and y.size == x.size:
            y = self.note("copy", y)
        y = Recorded(self, y.layout, dtype)
        kept = [1 if n in axes else size for n, size in enumerate(x.shape)]
        left = [size for n, size in enumerate(x.shape) if n not in axes]
        return y.reshape(*(kept if keepdims else left or [()]))

    def shorten(self, name, x, n):
        """Return what is left of an axis when its entries are added, or compared."""
        while (length := x.shape[n]) > 1:
            size = -(-length // WAYS)
            parts = np.split(x, range(size, length, size), n)
            x = reduce(lambda a, b: self.note(name, a, b), parts[: length // size])
            if rest := length % size:
                some, _ = np.split(x, [rest], n)
                self.put(self.note(name, some, parts[-1]), some)
        return x
