"""Contracts: what layers, networks, samples and settings must be, said in sentences.

The lesson's modules hold formulas. Whatever does not fit is met here, once, before
NumPy meets it: where a network is made, where samples enter it, and, before anything
is trained, in a rehearsal with a few samples through every layer.
"""

import copy
import math
from functools import wraps
from itertools import count, pairwise
from numbers import Real

import numpy as np

from helpers.layers import Layer


def kind(layer):
    """Return the name of the layer's class."""
    return type(layer).__name__


def require_instance(what, given, method, such_as):
    """Raise TypeError for a class, or for what lacks a method, such as a function."""
    if isinstance(given, type) or not callable(given) or not hasattr(given, method):
        name = getattr(given, "__name__", such_as)
        raise TypeError(f"{what} = {given!r}: give an instance, such as {name}()")


def require_layer(name, layer):
    """Raise TypeError for what is no layer."""
    if not isinstance(layer, Layer):
        raise TypeError(
            f"{name} is {layer!r}: give an instance of a class that inherits from "
            "helpers.layers.Layer"
        )
    if hasattr(layer, "activation"):
        require_instance("activation", layer.activation, "derivative", "Tanh")


def require_network(layers, loss):
    """Raise TypeError or ValueError unless there are layers and each fits the next."""
    if not layers:
        raise ValueError("a network needs a layer: the list of layers is empty")
    for number, layer in enumerate(layers, start=1):
        require_layer(f"layer {number}", layer)
    for number, (a, b) in enumerate(pairwise(layers), start=1):
        if a.outputs != b.inputs:
            raise ValueError(
                f"layer {number} ({kind(a)}) has {a.outputs} outputs, but "
                f"layer {number + 1} ({kind(b)}) takes {b.inputs} inputs"
            )
    require_instance("loss", loss, "gradient", "CrossEntropy")


def require_length(flat, size):
    """Raise ValueError unless a vector (..., P) holds as many numbers as the layers."""
    if flat.shape[-1] != size:
        raise ValueError(
            f"a vector of {flat.shape[-1]} numbers does not hold the parameters: "
            f"the layers have {size}"
        )


def require_samples(network, X, C):
    """Raise ValueError when X (..., features, m) or C (..., classes, m) misfits."""
    first, last, m = network.layers[0], network.layers[-1], X.shape[-1]
    if X.shape[-2:-1] != (first.inputs,):
        hint = ": samples belong in columns, give X.T" if m == first.inputs else ""
        raise ValueError(
            f"X of shape {X.shape} is not (..., {first.inputs} features, samples), "
            f"which layer 1 ({kind(first)}) takes{hint}"
        )
    if C.shape[-2:] != (last.outputs, m):
        raise ValueError(
            f"C of shape {C.shape} is not (..., {last.outputs} classes, {m} samples): "
            f"layer {len(network.layers)} ({kind(last)}) has {last.outputs} outputs, "
            f"X has {m} samples"
        )


def takes_samples(method):
    """Have a method (network, X, C) refuse samples that do not fit its layers."""

    @wraps(method)
    def checked(network, X, C):
        require_samples(network, X, C)
        return method(network, X, C)

    return checked


def require_counts(**counts):
    """Raise ValueError for what should be a whole number of at least one."""
    for name, number in counts.items():
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{name} = {number!r}: give a whole number, at least 1")


def require_functions(**functions):
    """Raise ValueError for what cannot be called."""
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{name} = {function!r}: give a function")


def one_or_column(name, value):
    """Return a finite float, or one for each replica as a column (R, 1).

    A float64 scalar of NumPy would turn float32 training into float64. Raises
    ValueError for anything else.
    """
    numbers = np.ravel(np.asarray(value, object)).tolist()
    real = all(isinstance(one, Real) and math.isfinite(one) for one in numbers)
    if not (numbers and real and np.shape(value) in column_shapes(len(numbers))):
        raise ValueError(
            f"{name} = {value!r}: give a finite number, or one for each replica"
        )
    if len(numbers) == 1:
        return float(numbers[0])
    kind = np.result_type(value) if isinstance(value, np.ndarray) else np.float32
    return np.array(numbers, kind if np.issubdtype(kind, np.floating) else np.float32)[
        :, None
    ]


def column_shapes(n):
    """Return the shapes in which n numbers may come, one for each replica."""
    return [(), (1,), (1, 1)] if n == 1 else [(n,), (n, 1)]


# The rehearsal ------------------------------------------------------------------------


class Strict(Layer):
    """A layer that says where it breaks the contract of `Layer`.

    Its passes are given arrays that can only be read.
    """

    def __init__(self, layer, name):
        """Watch over a layer, which is called by this name."""
        self.layer, self.name = layer, name
        self.inputs, self.outputs, self.shapes = (
            layer.inputs,
            layer.outputs,
            layer.shapes,
        )

    def forward(self, x, *blocks):
        """Return y and what is kept; raise ValueError for a y of another shape."""
        self.given = x.shape[-2:], *(block.shape for block in blocks)
        y, kept = self.call(self.layer.forward, *map(read_only, (x, *blocks)))
        lead = np.broadcast_shapes(*(array.shape[:-2] for array in (x, *blocks)))
        expect(f"the output of {self.name}", y, (*lead, self.outputs, x.shape[-1]))
        return y, kept

    def backward(self, kept, dy):
        """Return dx and the gradients; raise ValueError for another shape of one."""
        found = self.arrays(kept, read_only(dy))
        for block, array, shape in zip(
            ("x", *self.shapes), found, self.given, strict=True
        ):
            expect(f"the gradient of {block} of {self.name}", array, shape)
        return found[0], found[1:]

    def arrays(self, kept, dy):
        """Return dx and the gradients in one tuple; raise ValueError unless arrays."""
        dx, found = self.call(self.layer.backward, kept, dy)
        many = isinstance(found, (tuple, list))
        if not many or len(found) != len(self.shapes):
            told = f"{len(found)} gradients" if many else f"one {type(found).__name__}"
            raise ValueError(
                f"{self.name} has the blocks {[*self.shapes]}, but its backward pass "
                f"returns {told}"
            )
        for block, array in zip(("x", *self.shapes), (dx, *found), strict=True):
            expect(f"the gradient of {block} of {self.name}", array)
        return dx, *found

    def call(self, function, *arguments):
        """Call a pass of the layer, which an error of NumPy's then mentions."""
        try:
            first, second = function(*arguments)
        except (ValueError, TypeError) as error:
            shapes = [a.shape for a in arguments if isinstance(a, np.ndarray)]
            which = f"the {function.__name__} pass of {self.name}"
            told = f"{which} fails on arrays of the shapes {shapes}: {error}"
            raise ValueError(told) from error
        return first, second


def rehearse(network, optimizer, X, C):
    """Raise ValueError when X, C, a layer's arrays or the optimiser do not fit.

    A few samples, as many as no block has rows or columns, go forward and backward,
    and the sentence names the layer, its block, and both shapes, or the pass that
    writes into what it is given. It costs less than one epoch.
    """
    require_samples(network, X, C)
    strict, sizes = copy.copy(network), {n for shape in network.shapes for n in shape}
    strict.layers = [
        Strict(layer, f"layer {number} ({kind(layer)})")
        for number, layer in enumerate(network.layers, start=1)
    ]
    few = slice(next(n for n in count(3) if n not in sizes))
    X, C = X[..., few], C[..., few]
    scores, kept = strict.forward(X)
    value, dZ = np.shape(network.loss(scores, C)), network.loss.gradient(scores, C)
    if value != scores.shape[:-2]:
        raise ValueError(
            f"the loss of scores {scores.shape} has the shape {value}, expected "
            f"{scores.shape[:-2]}: one number for each replica"
        )
    expect("the gradient of the loss", dZ, scores.shape)
    strict.backward(kept, dZ)
    require_optimizer(optimizer, network.parameters)


def require_optimizer(optimizer, parameters):
    """Raise TypeError or ValueError unless it updates such parameters in place."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        raise TypeError(
            f"optimizer = {optimizer!r}: give an instance, such as SGD(0.1)"
        )
    tried, theta = copy.deepcopy(optimizer), parameters.copy()
    try:
        tried.update(theta, np.ones_like(theta), 1.0)
    except (ValueError, TypeError) as error:
        told = f"{optimizer} fails on parameters of the shape {theta.shape}: {error}"
        raise ValueError(told) from error
    moves = theta.size and np.any(getattr(optimizer, "learning_rate", 1))
    if moves and np.array_equal(theta, parameters):
        raise ValueError(
            f"{optimizer} leaves the parameters as they are: `update` must change "
            "them in place, as parameters -= ... does"
        )


def read_only(array):
    """Return a view that cannot be written into."""
    view = array.view()
    view.flags.writeable = False
    return view


def expect(what, array, shape=()):
    """Raise ValueError unless this is an array whose last axes have this shape."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} is a {type(array).__name__}, not an array")
    if array.shape[array.ndim - len(shape) :] != tuple(shape):
        raise ValueError(f"{what} has the shape {array.shape}, expected {shape}")
