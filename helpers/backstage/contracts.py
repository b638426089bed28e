"""Contracts: what layers, networks, samples and settings must be, said in sentences.

The lesson's modules hold formulas. Whatever does not fit is met here, once, before
NumPy meets it: where a network is made, where samples enter it, and where training
begins (see also `rehearsal`).
"""

import math
from functools import wraps
from itertools import pairwise
from numbers import Real

import numpy as np

from helpers.layers import Layer
from helpers.losses import CrossEntropy

RANDOM = np.random.Generator, np.random.BitGenerator, np.random.SeedSequence
LARGEST = float(np.finfo(np.float32).max)
LARGE = 10  # a parameter, from a rate that is: initial ones are about 1
ONE = 1e-3  # what the columns of C may differ from a sum of one, or two losses by


WIDTHS, PASSES = ("inputs", "outputs"), ("forward", "backward")


def kind(layer):
    """Return the name of the layer's class."""
    return type(layer).__name__


def require_instance(what, given, method, such_as):
    """Raise TypeError for a class, or for what lacks a method, such as a function."""
    if isinstance(given, type) or not callable(given) or not hasattr(given, method):
        name = getattr(given, "__name__", such_as)
        raise TypeError(f"{what} = {given!r}: give an instance, such as {name}()")


def require_layer(name, layer, *also):
    """Raise TypeError or ValueError for what is no layer, or is half written.

    `also` names methods that it must have besides, such as those that its tests call.
    """
    if not isinstance(layer, Layer):
        raise TypeError(
            f"{name} is {layer!r}: give an instance of a class that inherits from "
            "helpers.layers.Layer"
        )
    name = f"{name} ({kind(layer)})"
    for part in (*WIDTHS, "shapes", *PASSES, *also):
        found = getattr(layer, part, None)
        if found is None or (part in (*PASSES, *also) and not callable(found)):
            hints = {"shapes": ": give {} if it has no parameters"}
            hints |= dict.fromkeys(also, ", which its tests need")
            raise TypeError(f"{name} has no {part}{hints.get(part, '')}")
    require_counts(**{f"{width} of {name}": getattr(layer, width) for width in WIDTHS})
    if not isinstance(layer.shapes, dict):
        raise TypeError(
            f"shapes of {name} is {layer.shapes!r}: give a dictionary of the blocks, "
            "such as {'W': (rows, columns)}"
        )
    for block, shape in layer.shapes.items():
        if np.ndim(shape) != 1 or len(shape) != 2 or not all(map(is_count, shape)):
            raise ValueError(
                f"block {block} of {name} has the shape {shape}: give (rows, columns), "
                "such as (4, 1) for a bias of 4"
            )
    if hasattr(layer, "activation"):
        require_instance("activation", layer.activation, "derivative", "Tanh")


def require_network(layers, loss, dtype):
    """Return a list of layers; TypeError or ValueError unless each fits the next."""
    if not np.iterable(layers):
        raise TypeError(f"layers = {layers!r}: give a list of layers")
    layers = list(layers)
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
    require_mean(loss, layers[-1].outputs)
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"dtype = {dtype!r}: give np.float32 or float")
    return layers


def require_mean(loss, classes):
    """Raise ValueError for a loss that is no mean over the samples.

    The loss of some samples twice over must be the loss of the samples.
    """
    Z = np.cos(np.arange(3.0 * classes)).reshape(classes, 3)
    C = np.eye(classes)[:, np.arange(3) % classes]
    once, twice = loss(Z, C), loss(np.tile(Z, 2), np.tile(C, 2))
    if np.shape(once) != ():
        told = f"the loss of scores {Z.shape} has the shape {np.shape(once)}"
        raise ValueError(f"{told}, expected (): one number for each replica")
    if not np.isclose(once, twice, ONE):
        raise ValueError(
            f"the loss of some samples is {once:g}, of the same twice over {twice:g}: "
            f"{kind(loss)} must be the mean over the samples: divide by Z.shape[-1]"
        )


def require_length(flat, size):
    """Raise ValueError unless a vector (..., P) holds as many numbers as the layers."""
    if flat.shape[-1] != size:
        raise ValueError(
            f"a vector of {flat.shape[-1]} numbers does not hold the parameters: "
            f"the layers have {size}"
        )


def require_samples(network, X, C, names=("X", "C")):
    """Raise ValueError when X (..., features, m) or C (..., classes, m) misfits."""
    for name, array in zip(names, (X, C), strict=True):
        ways = [way for way in ("to_numpy", "toarray") if hasattr(array, way)]
        if ways or not hasattr(array, "shape") or isinstance(array, np.matrix):
            how = f".{ways[0]}()" if ways else "an array of NumPy"
            raise TypeError(f"{name} is a {kind(array)}: give {how}")
    if "_parameters" not in vars(network):
        raise ValueError(
            "the network has no parameters yet: give it a generator or a seed, "
            "Network(layers, rng), or set its `parameters`"
        )
    first, last, m = network.layers[0], network.layers[-1], X.shape[-1]
    if X.shape[-2:-1] != (first.inputs,):
        hint = ": samples belong in columns, give X.T" if m == first.inputs else ""
        raise ValueError(
            f"{names[0]} of shape {X.shape} is not (..., {first.inputs} features, "
            f"samples), which layer 1 ({kind(first)}) takes{hint}"
        )
    if C.shape[-2:] != (last.outputs, m):
        hint = f": labels become np.eye({last.outputs})[:, labels]"
        hint = hint if C.ndim < 2 else ""
        raise ValueError(
            f"{names[1]} of shape {C.shape} is not (..., {last.outputs} classes, {m} "
            f"samples): layer {len(network.layers)} ({kind(last)}) has {last.outputs} "
            f"outputs, {names[0]} has {m} samples{hint}"
        )


def require_parts(network, data, X, C):
    """Raise ValueError unless training and, if there, validation samples are sound.

    X and C are data.Yt and data.Ct: some data are drawn anew whenever they are asked
    for.
    """
    parts = [("Yt", X, "Ct", C)]
    if getattr(data, "Yv", None) is not None:
        parts.append(("Yv", data.Yv, "Cv", getattr(data, "Cv", None)))
    require_mean(network.loss, network.layers[-1].outputs)
    for y, samples, c, targets in parts:
        require_samples(network, samples, targets, (y, c))
        real_numbers(y, samples)
        real_numbers(c, targets)
        if isinstance(network.loss, CrossEntropy):
            require_probabilities(c, targets)
    if network.parameters.size:
        real_numbers("the parameters", network.parameters)


def require_probabilities(name, C):
    """Raise ValueError unless the columns of C are not negative and sum to 1."""
    sums = C.sum(axis=-2, keepdims=True)
    bad = (abs(sums - 1) > ONE) | (C < -ONE).any(axis=-2, keepdims=True)
    if bad.any():
        *lead, _, column = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"{name} must be one-hot, as cross entropy asks for: {bad.sum()} of its "
            "columns do not sum to 1 or have negative entries, the first is column "
            f"{column}, {C[(*lead, slice(None), column)].tolist()[:5]}"
        )


def real_numbers(name, x):
    """Return x as an array of finite real numbers, as floats; converts what it can.

    Raises ValueError with the count of what is wrong, and the first place.
    """
    hidden = np.ma.getmaskarray(x).sum() if np.ma.isMaskedArray(x) else 0
    if hidden:
        raise ValueError(f"{name} has {hidden} masked entries: leave out such samples")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} has rows of different lengths") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {array.dtype}: give real numbers")
    if array.size == 0:
        raise ValueError(f"{name} of shape {array.shape} is empty: give samples")
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        single = array.astype(np.float32)
        array = single if (single == array).all() else array.astype(float)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"{name} must be finite: NaN or infinite are {bad.sum()} of its entries, "
            f"the first at {first}"
        )
    return array


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
        if not is_count(number):
            raise ValueError(f"{name} = {number!r}: give a whole number, at least 1")


def is_count(number):
    """Return whether this is a whole number of at least one."""
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    return whole and number >= 1


def generator(rng):
    """Return the generator of a seed, or a generator as it is; else ValueError."""
    seed = isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0
    if not seed and not isinstance(rng, RANDOM):
        raise ValueError(
            f"rng = {rng!r}: give a generator or a seed, or a list of them for a stack"
        )
    return np.random.default_rng(rng)


def require_replicas(network, rng):
    """Raise ValueError unless a list of generators has one for each replica."""
    lead = network.parameters.shape[:-1]
    if isinstance(rng, list) and (len(rng),) != lead:
        many = f"are {lead[0]} replicas" if lead else "is one network, no stack"
        raise ValueError(f"rng is a list of {len(rng)} generators, but there {many}")


def schedule_factor(schedule, progress):
    """Return schedule(progress), rounded to float32; ValueError if it is no number."""
    factor = schedule(progress)
    if not (isinstance(factor, Real) and abs(factor) <= LARGEST):
        raise ValueError(f"schedule({progress:g}) = {factor!r}: give a finite number")
    return float(np.float32(factor))


def require_record(row, lead, first=None):
    """Raise ValueError unless a record is {name: number, one per replica}.

    The first must be finite, and later ones have its names.
    """
    if not isinstance(row, dict) or "epoch" in row:
        raise ValueError(
            f"record returned {row!r}: give a dictionary {{name: number}}, whose names "
            "are not 'epoch'"
        )
    if first is not None and {"epoch", *row} != {*first}:
        raise ValueError(f"record returned {[*row]}, but {[*first]} before")
    for name, value in row.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.shape not in {(), lead}:
            raise ValueError(
                f"record returned {name} = {value!r}: give a number, or an array of "
                f"the shape {lead}, one for each replica"
            )
        if first is None and not np.isfinite(array).all():
            raise ValueError(
                f"before anything is trained {name} is {value}: samples or parameters "
                "are too large, or the record is wrong"
            )


def divergence(row, epoch, optimizer, parameters):
    """Return in words why a record is not finite: the rate, if parameters are large."""
    largest = np.abs(parameters).max(initial=0)
    if not largest < LARGE:
        told = f"the loss stopped being finite in epoch {epoch} with {optimizer}"
        return f"{told}: try a smaller learning rate or a decaying schedule"
    name = next(name for name, value in row.items() if not np.isfinite(value))
    return (
        f"{name} is {row[name]} in epoch {epoch}, but no parameter is beyond "
        f"{largest:.3g}: look at samples, layers and the record, not at the rate"
    )


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
