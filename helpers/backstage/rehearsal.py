"""The rehearsal: a few samples through every layer, before anything is trained.

Each layer is wrapped in one that compares what goes in and comes out with the contract
of `Layer`, so that the sentence names the layer, its block, and both shapes.
"""

import copy
from itertools import count

import numpy as np

from helpers.backstage.contracts import kind, require_samples
from helpers.layers import Layer

UNBROADCAST = ("non-broadcastable output", "could not broadcast input array")
PAIRS = {"forward": "(y, kept)", "backward": "(dx, gradients)"}


def rehearse(network, optimizer, X, C):
    """Raise ValueError when X, C, a layer's arrays or the optimiser do not fit.

    A few samples, as many as no block has rows or columns, go forward and backward,
    and the sentence names the layer, its block, and both shapes, or the pass that
    writes into what it is given. It costs less than one epoch.
    """
    require_samples(network, X, C)
    strict, sizes = copy.copy(network), {n for shape in network.shapes for n in shape}
    strict.layers = [
        Strict(layer, f"layer {number} ({kind(layer)})", finite=True)
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


class Strict(Layer):
    """A layer that says where it breaks the contract of `Layer`.

    Its passes are given arrays that can only be read.
    """

    def __init__(self, layer, name, *, finite=False):
        """Watch over a layer, called by this name; its arrays may have to be finite."""
        self.layer, self.name, self.finite = layer, name, finite
        self.inputs, self.outputs = layer.inputs, layer.outputs
        self.shapes = layer.shapes

    def forward(self, x, *blocks):
        """Return y and what is kept; raise ValueError for a y of another shape."""
        self.given = x.shape[-2:], *(block.shape for block in blocks)
        y, kept = self.call("forward", *map(read_only, (x, *blocks)))
        lead = np.broadcast_shapes(*(array.shape[:-2] for array in (x, *blocks)))
        shape = (*lead, self.outputs, x.shape[-1])
        expect(f"the output of {self.name}", y, shape, finite=self.finite)
        return y, kept

    def backward(self, kept, dy):
        """Return dx and the gradients; raise ValueError for another shape of one."""
        found = self.arrays(kept, read_only(dy))
        for block, array, shape in zip(
            ("x", *self.shapes), found, self.given, strict=True
        ):
            what = f"the gradient of {block} of {self.name}"
            expect(what, array, shape, finite=self.finite)
        return found[0], found[1:]

    def arrays(self, kept, dy):
        """Return dx and the gradients in one tuple; raise ValueError unless arrays."""
        dx, found = self.call("backward", kept, dy)
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

    def call(self, one, *arguments):
        """Call a pass of the layer, which an error of NumPy's then mentions."""
        which = f"the {one} pass of {self.name}"
        try:
            pair = getattr(self.layer, one)(*arguments)
        except (ValueError, TypeError) as error:
            shapes = [a.shape for a in arguments if isinstance(a, np.ndarray)]
            told = f"{which} fails on arrays of the shapes {shapes}: {error}"
            raise ValueError(told + advice(error)) from error
        if not isinstance(pair, tuple) or len(pair) != 2:
            told = f"{which} returns one {kind(pair)}: give the pair {PAIRS[one]}"
            raise ValueError(told)
        return pair


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


def advice(error):
    """Return what to write where an array cannot be changed in place, or ""."""
    if "read-only" in str(error):
        return ": write z = z + b, not z += b, which changes what the pass was given"
    if any(words in str(error) for words in UNBROADCAST):
        return (
            ": write z = z + b, not z += b: a stack of replicas gives the blocks a "
            "leading axis, which z may lack"
        )
    return ""


def read_only(array):
    """Return a view that cannot be written into."""
    view = array.view()
    view.flags.writeable = False
    return view


def expect(what, array, shape=(), *, finite=False):
    """Raise ValueError unless this is an array whose last axes have this shape."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} is a {type(array).__name__}, not an array")
    if array.shape[array.ndim - len(shape) :] != tuple(shape):
        raise ValueError(f"{what} has the shape {array.shape}, expected {shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{what} is not finite for the first samples")
