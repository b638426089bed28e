"""The array that a function is called with while it is recorded.

It has a shape and a type, and no numbers: whatever is computed with it is noted by its
tape, and what would need a number is refused. What is not named here is refused, too.
"""

from functools import partialmethod

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

VIEWS = {  # functions of NumPy's that only look at the same numbers in another way
    np.array_split,
    np.atleast_1d,
    np.atleast_2d,
    np.broadcast_to,
    np.expand_dims,
    np.flip,
    np.matrix_transpose,
    np.moveaxis,
    np.split,
    np.squeeze,
    np.swapaxes,
    np.transpose,
}
METHODS = ("clip", "max", "mean", "min", "ravel", "reshape", "sum")
METHODS = {"amax": "max", "amin": "min"} | {name: name for name in METHODS}
COPIES = {np.copy: None, np.zeros_like: 0, np.ones_like: 1, np.empty_like: 0}
SIZES, LOOKS = ("shape", "ndim", "size"), ("T", "mT")  # attributes of the layout
VIEWERS = ("swapaxes", "squeeze", "transpose")  # and its methods


class UnknownError(TypeError):
    """The engine cannot do this: NumPy itself must."""


class Recorded(NDArrayOperatorsMixin):
    """An array of a tape: `layout`, a view of memory, says where its numbers will be.

    The layout is never read: NumPy's own views of it say where those of this one are.
    """

    __slots__ = ("dtype", "layout", "tape")

    def __init__(self, tape, layout, dtype):
        """Lie there; a boolean or a count is a number of the machine's, too."""
        self.tape, self.layout, self.dtype = tape, layout, np.dtype(dtype)

    def like(self, layout):
        """Return the array that lies there, with the same type."""
        return Recorded(self.tape, layout, self.dtype)

    # What is asked of NumPy ---------------------------------------------------------

    def __array_ufunc__(self, ufunc, method, *inputs, out=(None,), **settings):
        """Note a function of matching entries, a product, or a sum or maximum."""
        if method == "reduce" and len(inputs) == 1:
            result = self.tape.reduce(ufunc, *inputs, **settings)
        elif method == "__call__" and not settings and len(out) == 1:
            result = self.tape.call(ufunc, *inputs)
        else:
            self.tape.refuse(f"np.{ufunc.__name__} used in this way")
        return result if out[0] is None else self.tape.put(result, out[0])

    def __array_function__(self, function, types, inputs, settings):
        """Look in another way, join, or do what is noted as a method."""
        name = function.__name__
        if function in (np.shape, np.ndim, np.size) and not settings:
            return getattr(inputs[0], name)
        if function in (np.concatenate, np.where):
            return getattr(self.tape, name)(*inputs, **settings)
        if function in VIEWS and isinstance(inputs[0], Recorded):
            found = function(inputs[0].layout, *inputs[1:], **settings)
            many = isinstance(found, (list, tuple))
            return [*map(inputs[0].like, found)] if many else inputs[0].like(found)
        if name in METHODS and isinstance(inputs[0], Recorded):
            return getattr(inputs[0], METHODS[name])(*inputs[1:], **settings)
        if function in COPIES and not settings and len(inputs) == 1:
            new, fill = self.astype(self.dtype), COPIES[function]
            return new if fill is None else self.tape.put(new.dtype.type(fill), new)
        return self.tape.refuse(f"np.{name}")

    # What an array has --------------------------------------------------------------

    def __len__(self):
        """Return the number of rows."""
        return len(self.layout)

    def __iter__(self):
        """Yield the rows, of which each is an array, even of a single number."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        """Return a view, for whole numbers, slices, None and `...` only."""
        index = index if isinstance(index, tuple) else (index,)
        known = {int, np.int64, slice, type(None), type(...)}
        if not known.issuperset(map(type, index)):
            self.tape.refuse("places that depend on numbers, or lists of places")
        rest = () if ... in index else (...,)
        return self.like(self.layout[index + rest])

    def __setitem__(self, index, value):
        """Assign, and have it noted."""
        self.tape.put(value, self[index])

    def reshape(self, *shape, **settings):
        """Return a view, or a copy where there is none."""
        shape = shape[0] if len(shape) == 1 else shape
        try:
            return self.like(self.layout.reshape(shape, copy=False, **settings))
        except ValueError:
            layout = self.copy().layout
            return self.like(layout.reshape(shape, copy=False, **settings))

    def ravel(self):
        """Return all numbers in a row."""
        return self.reshape(-1)

    def flatten(self):
        """Return a copy of all numbers in a row."""
        return self.copy().reshape(-1)

    def copy(self):
        """Return a copy."""
        return self.tape.put(self, self.tape.array(self.shape, self.dtype))

    def astype(self, dtype, copy=True):
        """Return a copy of another type: any as float32, else the same."""
        dtype = np.dtype(dtype)
        if dtype not in (self.dtype, np.float32):
            self.tape.refuse(f"numbers of the type {dtype}")
        if dtype == self.dtype and not copy:
            return self
        return self.tape.note("copy", self, dtype=dtype)

    def reduce(self, ufunc, axis=None, **settings):
        """Return the sum, or how many are true, or the maximum over axes."""
        return self.tape.reduce(ufunc, self, axis, **settings)

    sum = partialmethod(reduce, np.add)
    max, min = partialmethod(reduce, np.maximum), partialmethod(reduce, np.minimum)

    def mean(self, axis=None, **settings):
        """Return the sum, divided by the number of its terms."""
        if self.dtype != np.float32:
            self.tape.refuse(f"means of the type {self.dtype}")
        total = self.sum(axis, **settings)
        return total / np.float32(self.size / max(total.size, 1))

    def clip(self, low=None, high=None):
        """Return what lies between two bounds."""
        x = self if low is None else np.maximum(self, low)
        return x if high is None else np.minimum(x, high)

    # What would let a number out ----------------------------------------------------

    def refuse(self, *_, **__):
        """Refuse what would be decided for all numbers by those of the record."""
        self.tape.refuse("a decision that depends on values")

    __bool__ = __int__ = __float__ = __complex__ = __index__ = refuse
    __array__ = __buffer__ = __contains__ = __dlpack__ = __reduce_ex__ = refuse
    __repr__ = __str__ = __format__ = __round__ = __copy__ = __deepcopy__ = refuse
    item = tolist = argmax = argmin = view = refuse

    def __getattr__(self, name):
        """Return what the layout says; refuse what else an array has."""
        if name in SIZES:
            return getattr(self.layout, name)
        if name in LOOKS:
            return self.like(getattr(self.layout, name))
        if name in VIEWERS:
            view = getattr(self.layout, name)
            return lambda *axes, **k: self.like(view(*axes, **k))
        if not hasattr(np.ndarray, name):
            raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")
        if name.startswith("__"):
            self.refuse()
        self.tape.refuse(f"array.{name}")
