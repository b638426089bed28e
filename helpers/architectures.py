"""Architectures: networks as lists of layers, by name or built to a size.

Each is a function of the numbers of features n and of classes c.
"""

import math
from itertools import cycle, pairwise

from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer

WIDTH = 10

# Each takes the numbers of features n and of classes c, and an activation, tanh if none
# is given. To add one, add a line.
ARCHITECTURES = {
    "softmax": lambda n, c, f=None: [OutputLayer(n, c)],
    "1 hidden": lambda n, c, f=None: plain(n, c, [WIDTH], f),
    "2 hidden": lambda n, c, f=None: plain(n, c, [WIDTH, WIDTH], f),
    "2 hidden + 1 ResNet": lambda n, c, f=None: [
        HiddenLayer(n, WIDTH, f),
        *residual(WIDTH, c, [WIDTH], f),
    ],
    "1 hidden + 3 ResNet": lambda n, c, f=None: residual(n, c, [WIDTH] * 3, f),
}


def plain(n, c, widths, activation=None):
    """Return hidden layers of these widths, then the scores of c classes."""
    hidden = [HiddenLayer(*sizes, activation) for sizes in pairwise([n, *widths])]
    return [*hidden, OutputLayer(widths[-1], c)]


def residual(n, c, inner, activation=None, outer=True, width=WIDTH):
    """Return a hidden layer, residual ones of these inner widths, then the scores."""
    blocks = [ResNetLayer(width, one, activation, outer) for one in inner]
    return [HiddenLayer(n, width, activation), *blocks, OutputLayer(width, c)]


def size(layers):
    """Return the number of parameters."""
    return sum(math.prod(shape) for layer in layers for shape in layer.shapes.values())


def fill(build, length, limit):
    """Return build(widths) with as many parameters as `limit` allows.

    The widths, `length` of them, grow from 1 by turns until none can grow further.
    Raises ValueError if even widths of 1 are too many.
    """
    widths, stuck = [1] * length, 0
    if size(build(widths)) > limit:
        raise ValueError(
            f"no network of this kind has as few as {limit} parameters: "
            f"{size(build(widths))} at width 1"
        )
    turns = cycle(range(length))
    while stuck < length:
        place = next(turns)
        wider = [*widths[:place], widths[place] + 1, *widths[place + 1 :]]
        fits = size(build(wider)) <= limit
        widths, stuck = (wider, 0) if fits else (widths, stuck + 1)
    return build(widths)
