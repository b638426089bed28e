"""A network: layers one after another over ONE flat parameter vector.

`parameters` is a vector (..., P); the blocks of the layers are views of it, so an
optimiser updates the whole network in one line. A leading axis is a stack of replicas:
the same layers, each replica with parameters of its own.
"""

import copy
import math
from itertools import count, pairwise

import numpy as np

import engine
from helpers.layers import Layer, instance
from helpers.losses import CrossEntropy, softmax

CHUNK = 512  # samples that a compiled network judges at a time
COLUMNS = 8192  # samples of all replicas together that NumPy judges at a time


class Network:
    """Layers, their parameters, and the loss that trains them.

    Shapes: X (..., features, m), C (..., classes, m), parameters (..., P).
    """

    programs = None  # of `judge`, where the network is recorded

    def __init__(self, layers, rng=None, *, dtype=np.float32, loss=None):
        """Draw the parameters from `rng`, a generator or a seed; a list makes a stack.

        Raises ValueError when a layer's inputs differ from the outputs before it.
        """
        if not layers:
            raise ValueError("a network needs a layer: the list of layers is empty")
        for number, layer in enumerate(layers, start=1):
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"layer {number} is {layer!r}: give an instance of a class that "
                    "inherits from helpers.layers.Layer"
                )
        for number, (a, b) in enumerate(pairwise(layers), start=1):
            if a.outputs != b.inputs:
                raise ValueError(
                    f"layer {number} ({kind(a)}) has {a.outputs} outputs, but "
                    f"layer {number + 1} ({kind(b)}) takes {b.inputs} inputs"
                )
        self.layers = list(layers)
        self.loss = instance("loss", loss, CrossEntropy, "gradient")
        self.shapes = [shape for layer in layers for shape in layer.shapes.values()]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        if rng is not None:
            self.parameters = self.initial(rng).astype(dtype)

    def initial(self, rng):
        """Return fresh parameters (P,), or (R, P) for a list of R generators."""
        if isinstance(rng, list):
            return np.stack([self.initial(one) for one in rng])
        rng = np.random.default_rng(rng)
        return join([block for layer in self.layers for block in layer.initial(rng)])

    @property
    def parameters(self):
        """The flat vector (..., P); it may be changed in place."""
        return self._parameters

    @parameters.setter
    def parameters(self, flat):
        self._parameters, self._blocks = flat, self.split(flat)

    def __setstate__(self, state):
        """Split a copy's parameters anew: copied blocks are views no more."""
        vars(self).update(state)
        if "_parameters" in state:
            self.parameters = state["_parameters"]

    def with_parameters(self, flat):
        """Return the same network with other parameters."""
        other = copy.copy(self)
        other.parameters = flat
        return other

    def split(self, flat):
        """Return views of `flat` (..., P): a tuple of blocks for each layer.

        Raises ValueError when P is not the number of parameters.
        """
        if flat.shape[-1] != sum(self.sizes):
            raise ValueError(
                f"a vector of {flat.shape[-1]} numbers does not hold the parameters: "
                f"the layers have {sum(self.sizes)}"
            )
        stops = np.cumsum(self.sizes)
        blocks = iter(
            flat[..., stop - size : stop].reshape(*flat.shape[:-1], *shape)
            for stop, size, shape in zip(stops, self.sizes, self.shapes, strict=True)
        )
        return [tuple(next(blocks) for _ in layer.shapes) for layer in self.layers]

    def forward(self, X):
        """Return the scores (..., classes, m) and what each layer kept."""
        kept = []
        for layer, blocks in zip(self.layers, self._blocks, strict=True):
            X, k = layer.forward(X, *blocks)
            kept.append(k)
        return X, kept

    def scores(self, X):
        """Return the scores (..., classes, m) alone."""
        return self.forward(X)[0]

    def backward(self, kept, dZ):
        """Return Jᵀ dZ: the flat gradient (..., P), and the gradient of X."""
        gradients = []
        for layer, k in zip(reversed(self.layers), reversed(kept), strict=True):
            dZ, blocks = layer.backward(k, dZ)
            gradients[:0] = blocks
        return join(gradients, self.parameters.shape[:-1]), dZ

    def jvp(self, kept, dX, d):
        """Return J (dX, d): the change of the scores to first order."""
        for layer, k, blocks in zip(self.layers, kept, self.split(d), strict=True):
            dX = layer.jvp(k, dX, *blocks)
        return dX

    def value(self, X, C):
        """Return the loss, one per replica; raises ValueError if X or C misfits."""
        self.check_samples(X, C)
        return self.loss(self.scores(X), C)

    def gradients(self, X, C):
        """Return the gradients of the loss: flat (..., P), and for X."""
        self.check_samples(X, C)
        scores, kept = self.forward(X)
        return self.backward(kept, self.loss.gradient(scores, C))

    def gradient(self, X, C):
        """Return the flat gradient (..., P) of the loss: what an optimiser needs."""
        return self.gradients(X, C)[0]

    def probabilities(self, X):
        """Return the softmax of the scores (..., classes, m)."""
        return softmax(self.scores(X))

    def judge(self, X, C):
        """Return the sums over the samples of the loss and of the right answers."""
        scores = self.scores(X)
        correct = is_correct(scores, C).sum(axis=-1)
        return self.loss(scores, C) * X.shape[-1], correct

    def evaluate(self, X, C):
        """Return loss and accuracy over all samples, one value each per replica.

        Samples go through in chunks that fit a cache. Raises ValueError when X or C
        does not fit the layers.
        """
        self.check_samples(X, C)
        m = X.shape[-1]
        judge = self.recorded(X, C).programs if self.programs is None else self.programs
        if judge:
            return judge([self.parameters], X, C, np.arange(m)) / m
        n = max(1, COLUMNS // math.prod(self.parameters.shape[:-1]))
        parts = [slice(k, k + n) for k in range(0, m, n)]
        return np.sum([self.judge(X[..., k], C[..., k]) for k in parts], axis=0) / m

    def recorded(self, X, C):
        """Return the same network, with `judge` compiled for samples like these.

        Its layers and its loss are taken as they are now. In float64 it is NumPy that
        judges: who asks for these digits wants them.
        """
        own = copy.deepcopy(self)  # layers that keep something keep no recorded array

        def judge(theta, X, C):
            return own.with_parameters(theta).judge(X, C)

        other, theta = copy.copy(self), self.parameters
        found = theta.dtype == np.float32 and engine.programs(
            judge, [theta], X, C, min(CHUNK, X.shape[-1])
        )
        other.programs = found or False
        return other

    def check_samples(self, X, C):
        """Raise ValueError when X (..., features, m) or C (..., classes, m) misfits."""
        first, last, m = self.layers[0], self.layers[-1], X.shape[-1]
        if X.shape[-2:-1] != (first.inputs,):
            hint = ": samples belong in columns, give X.T" if m == first.inputs else ""
            raise ValueError(
                f"X of shape {X.shape} is not (..., {first.inputs} features, samples), "
                f"which layer 1 ({kind(first)}) takes{hint}"
            )
        if C.shape[-2:] != (last.outputs, m):
            raise ValueError(
                f"C of shape {C.shape} is not (..., {last.outputs} classes, {m} "
                f"samples): layer {len(self.layers)} ({kind(last)}) has {last.outputs} "
                f"outputs, X has {m} samples"
            )

    def check_gradients(self, X, C):
        """Raise ValueError when X, C or a layer's arrays have the wrong shape.

        A few samples, as many as no block has rows or columns, go forward and backward,
        and the sentence names the layer, its block, and both shapes, or the pass that
        writes into what it is given. It costs less than one epoch.
        """
        self.check_samples(X, C)
        sizes = {size for shape in self.shapes for size in shape}
        samples = next(n for n in count(3) if n not in sizes)
        X, C, kept = X[..., :samples], C[..., :samples], []
        for number, layer in enumerate(self.layers, start=1):
            name, blocks = f"layer {number} ({kind(layer)})", self._blocks[number - 1]
            X, k = forward_in_words(name, layer, X, *blocks)
            kept.append((name, layer, k, blocks))
        value = np.shape(self.loss(X, C))
        if value != X.shape[:-2]:
            raise ValueError(
                f"the loss of scores {X.shape} has the shape {value}, expected "
                f"{X.shape[:-2]}: one number for each replica"
            )
        dX = self.loss.gradient(X, C)
        expect("the gradient of the loss", dX, X.shape)
        for name, layer, k, blocks in reversed(kept):
            dX, found = backward_in_words(name, layer, k, read_only(dX))
            expect(f"dx of {name}", dX, (layer.inputs, C.shape[-1]))
            for block, own, gradient in zip(layer.shapes, blocks, found, strict=True):
                expect(f"the gradient of {block} of {name}", gradient, own.shape)


def kind(layer):
    """Return the name of the layer's class."""
    return type(layer).__name__


def forward_in_words(name, layer, x, *blocks):
    """Return y and what is kept; raise ValueError for a y of another shape.

    The pass is given arrays that can only be read.
    """
    y, kept = in_words(name, layer.forward, *map(read_only, (x, *blocks)))
    lead = np.broadcast_shapes(x.shape[:-2], *(block.shape[:-2] for block in blocks))
    expect(f"the output of {name}", y, (*lead, layer.outputs, x.shape[-1]))
    return y, kept


def backward_in_words(name, layer, kept, dy):
    """Return dx and the gradients; raise ValueError unless each is an array."""
    dx, found = in_words(name, layer.backward, kept, dy)
    many = isinstance(found, (tuple, list))
    if not many or len(found) != len(layer.shapes):
        told = f"{len(found)} gradients" if many else f"one {type(found).__name__}"
        raise ValueError(
            f"{name} has the blocks {[*layer.shapes]}, but its backward pass returns "
            f"{told}"
        )
    blocks = "x", *layer.shapes
    for number, array in enumerate((dx, *found)):
        require_array(f"the gradient of {blocks[number]} of {name}", array)
    return dx, found


def in_words(name, function, *arguments):
    """Call a pass of the layer `name`, which an error of NumPy's then mentions."""
    try:
        first, second = function(*arguments)
    except (ValueError, TypeError) as error:
        shapes = [a.shape for a in arguments if isinstance(a, np.ndarray)]
        told = f"the {function.__name__} pass of {name} fails on arrays of the shapes "
        raise ValueError(f"{told}{shapes}: {error}") from error
    return first, second


def read_only(array):
    """Return a view that cannot be written into."""
    view = array.view()
    view.flags.writeable = False
    return view


def require_array(what, array):
    """Raise ValueError for what is no array of NumPy."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} is a {type(array).__name__}, not an array")


def expect(what, array, shape):
    """Raise ValueError unless this is an array whose last axes have this shape."""
    require_array(what, array)
    if array.shape[-len(shape) :] != tuple(shape):
        raise ValueError(f"{what} has the shape {array.shape}, expected {shape}")


def is_correct(scores, C):
    """Return (..., m): is the right class alone the most probable? A tie is wrong."""
    # Many times faster than argmax, where classes are not contiguous.
    right = (C * scores).sum(axis=-2, keepdims=True)
    return (scores >= right).sum(axis=-2, dtype=np.uint16) == 1


def join(blocks, replicas=()):
    """Return the blocks (..., rows, columns) as one flat vector (..., P), P ≥ 0."""
    rows = [block.reshape(*block.shape[:-2], -1) for block in blocks]
    return np.concatenate(rows, axis=-1) if rows else np.zeros((*replicas, 0))
