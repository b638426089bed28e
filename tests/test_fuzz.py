"""Whatever a layer does, training it by the engine is training it by NumPy.

Hypothesis composes layers and losses from what people write: functions that the engine
knows and does not know, comparisons, masks, views, writing in place, reductions, what
is kept from call to call, and looks at values. After some steps the parameters are
those of NumPy, or NumPy has done it all and a line says why, or both fail alike.
EXAMPLES sets how many are composed (`make fuzz`: ten thousand, drawn anew).
"""

import copy
import itertools
import os
import pickle
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import engine
from engine import processor
from helpers import sgd
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, Layer, OutputLayer
from helpers.losses import CrossEntropy, LeastSquares
from helpers.network import Network

EXAMPLES = os.environ.get("EXAMPLES")
F = np.float32


def put(place, value):
    """Return a function that assigns to a place of a copy."""

    def change(x, y):
        x = x.copy()
        x[place] = value(x, y)
        return x

    return change


def caught(x, y):
    try:
        return x * float(y.sum())
    except TypeError:
        return x


def masked(x, y):
    x = x.copy()
    x[y > 0.5] = 0
    return x


def added(x, y):
    x = x.copy()
    x += y
    np.multiply(x, y, out=x)
    return x


def shared(x, y):
    x = x.copy()
    view = x[..., 1:, :]
    view *= 2
    x += y
    return x * view.sum(axis=-2, keepdims=True)


def summed(x, y):
    rows = x.sum(axis=-1, keepdims=True)
    rows += 1
    one = x[..., :1].sum(axis=-1, keepdims=True)
    one -= 1
    return x * rows + one


def strict(x, y):
    with np.errstate(over="raise", divide="raise"):
        return x / (1 + y * y)


def reordered(x, y):
    """Views or copies, as NumPy lays results out."""
    flat = np.copy(x.mT).reshape(*x.shape[:-2], -1)
    flat *= 2
    z = y.mT.astype(F)
    z.reshape(*x.shape[:-2], -1)[...] = 0
    one = np.where(x.mT > 0, y.mT, 1)
    one.reshape(*x.shape[:-2], -1)[..., ::2] = 3
    return x + z.mT + one.mT


def flattened(x, y):
    z = np.exp(-abs(x.mT))
    flat = z.reshape(*x.shape[:-2], -1)
    flat *= 2
    return x + z.mT


KNOWN = [  # (x, y): arrays like the output of the layer
    lambda x, y: np.tanh(x) + y,
    lambda x, y: np.exp(-abs(x)) * y,
    lambda x, y: np.log(1 + x * x) - y,
    lambda x, y: np.sqrt(abs(x) + 1) / (1 + y**2),
    lambda x, y: np.maximum(x, 0) - np.minimum(y, 0.5),
    lambda x, y: np.clip(x, -1, 1) * 2,
    lambda x, y: x.clip(-0.5) + abs(y) ** 0.5,
    lambda x, y: (x > y) * x,
    lambda x, y: ((x > 0) | (y > 0)) * y + 0.5 * x,
    lambda x, y: ((x > 0) & ~(y <= 0)) * y,
    lambda x, y: ((x > 0) + (x > 0.5)) * x,
    lambda x, y: np.logical_and(x > 0, y != 0) * x,
    lambda x, y: np.where(x > 0, x, F(0.1) * x),
    lambda x, y: np.where(x >= y, x, y),
    lambda x, y: x * (y < 0).astype(F),
    lambda x, y: x - x.max(axis=-2, keepdims=True),
    lambda x, y: x - x.mean(axis=-1, keepdims=True) * y,
    lambda x, y: x / (1 + abs(x).sum(axis=-2, keepdims=True)),
    lambda x, y: x * ((y > 0).sum(axis=-2, dtype=np.uint16, keepdims=True) == 1),
    lambda x, y: x[..., ::-1, :] + y[..., ::-1],
    lambda x, y: np.concatenate([x[..., :1, :], y[..., 1:, :]], axis=-2),
    lambda x, y: x.reshape(*x.shape[:-2], -1).reshape(x.shape) + y.mT.copy().mT,
    lambda x, y: np.swapaxes(np.swapaxes(x, -1, -2) * 2, -1, -2) + y,
    lambda x, y: x + (y @ y.mT) @ x / 9,
    lambda x, y: x * np.ones((x.shape[-1],), F) - y[..., :1] * y[..., :1, :],
    lambda x, y: sum(x[..., n : n + 1, :] for n in range(x.shape[-2])) + y,
    lambda x, y: np.moveaxis(np.zeros_like(x) + y, -1, -2).mT - x,
    put((..., 0, slice(None)), lambda x, y: y[..., 0, :]),
    put((..., slice(1, None), slice(None)), lambda x, y: x[..., :-1, :]),
    put((..., slice(None, None, 2)), lambda x, y: x[..., ::2] * y[..., ::2]),
    put(..., lambda x, y: x[..., ::-1, :]),
    added,
    shared,
    summed,
    flattened,
    reordered,
]
UNKNOWN = [
    lambda x, y: x - x.mean(axis=0, keepdims=True),  # of replicas in a stack
    lambda x, y: x + y[:1],
    lambda x, y: x / (1 + abs(y).sum()),
    lambda x, y: x + y.T.copy().T,
    lambda x, y: np.sin(x) + y,
    lambda x, y: np.cumsum(x, axis=-1) / 8,
    lambda x, y: x / (1 + np.linalg.norm(y)),
    lambda x, y: x - x.std(axis=-1, keepdims=True),
    lambda x, y: np.sort(x, axis=-2) + y,
    lambda x, y: x.astype(float) + y,
    lambda x, y: x * np.float64(0.5),
    lambda x, y: x + np.ones(x.shape[-1]) * y,
    lambda x, y: np.where(x > 0, 1, 0.1) * y,
    lambda x, y: (1 - (x > 0)) * y,
    lambda x, y: (x > 0) * 0.5,
    lambda x, y: ((x > 0) - (y > 0)) * x,  # NumPy refuses it
    lambda x, y: (x > 0).mean(axis=-1, keepdims=True) * y,
    lambda x, y: x @ y,  # shapes that do not fit
    lambda x, y: x + y[..., [0, 0, 1], :][..., :1, :],
    lambda x, y: np.einsum("...ij,...kj->...ik", x, y) @ x,
    lambda x, y: x.view(np.int32).view(F) + y,
    lambda x, y: (x * F(3e19)) ** 2 * F(1e-39) * y,
    masked,
    strict,
]
LOOKS = [
    lambda x, y: x / max(1, np.abs(np.asarray(x)).max()),
    lambda x, y: x * 2 if float(y.sum()) > 0 else x,
    lambda x, y: x if (y > 0).any() else y,
    lambda x, y: x * x.tolist()[0][0] if x.ndim == 2 else x,
    lambda x, y: x * np.array(y).mean(),
    lambda x, y: x + (2 if bool((y.sum(axis=(-2, -1)) > 1).all()) else 1),
    lambda x, y: x * (1 if isinstance(x, np.ndarray) else 2),
    lambda x, y: x + len(repr(y)),
    lambda x, y: x * copy.deepcopy(y),
    lambda x, y: x + len(pickle.dumps(y)),
    lambda x, y: x + sum(map(float, x.ravel())),
    lambda x, y: x * (0.5 if 0.0 in y else 2),
    lambda x, y: x * max(np.ravel(y)),
    lambda x, y: x + memoryview(y).nbytes,
    lambda x, y: x + np.argmax(y),
    caught,
]
DRAWS, SHARED = itertools.count(), {"seen": 0}


def drawn(layer, x):
    return x * F(layer.rng.random())


def counted(layer, x):
    layer.calls += 1
    return x * (1 if layer.calls < 7 else 3)


def flipped(layer, x):
    layer.sign = -layer.sign
    return x * layer.sign


def averaged(layer, x):
    layer.mean = 0.9 * layer.mean + F(0.1) * x.mean(axis=-1, keepdims=True)
    return x - layer.mean


def kept(layer, x):
    layer.kept.append(x)
    return x + layer.kept[0].sum() * 0


def of_all(layer, x):
    SHARED["seen"] += 1
    return x * SHARED["seen"]


KEPT = [
    drawn,
    counted,
    flipped,
    averaged,
    kept,
    of_all,
    lambda layer, x: x * F(np.random.random()),  # noqa: NPY002
    lambda layer, x: x * random.random(),
    lambda layer, x: x * (next(layer.numbers) % 3),
]


class Composed(Layer):
    """y = z/2 + tanh e(z, W x), whose backward pass is made up in the same way."""

    def __init__(self, width, forward, backward, own):
        self.inputs = self.outputs = width
        self.shapes = {"W": (width, width), "b": (width, 1)}
        self.steps, self.own = (forward, backward), own
        self.rng, self.calls, self.sign = np.random.default_rng(1), 0, 1
        self.mean, self.kept, self.numbers = F(0), [], iter(range(10**9))

    def forward(self, x, W, b):
        z = W @ x + b
        e = composed(self.steps[0], z, x)
        e = self.own(self, e) if self.own else e
        return F(0.5) * z + np.tanh(e), (x, W, z)

    def backward(self, kept, dy):
        x, W, z = kept
        dz = dy * (1 + np.tanh(composed(self.steps[1], z, dy)) * F(0.5))
        return W.mT @ dz, (dz @ x.mT, dz.sum(axis=-1, keepdims=True))


class ComposedLoss:
    """The mean of what is made up of scores and targets, with a made-up gradient."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, Z, C):
        return np.tanh(composed(self.steps, Z, C)).sum(axis=(-2, -1)) / Z.shape[-1]

    def gradient(self, Z, C):
        return np.tanh(composed(self.steps, Z, C)) / Z.shape[-1]


def composed(steps, *arrays):
    """Return the last of arrays, each made of two before it."""
    arrays = [*arrays]
    for function, first, second in steps:
        arrays.append(function(arrays[first], arrays[second]))
    return arrays[-1]


def steps(*functions):
    """Draw a few steps, most of them of known functions."""
    one = st.one_of(*map(st.sampled_from, functions))
    return st.lists(
        st.tuples(one, st.integers(-2, -1), st.integers(-2, -1)), min_size=1, max_size=3
    )


@dataclass
class Adam:
    m: float = 0.0
    v: float = 0.0
    left: float = 1.0

    def update(self, parameters, gradient, factor):
        self.left = self.left * 0.9
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.9 * self.v + 0.1 * gradient**2
        v = np.sqrt(self.v / (1 - self.left))
        parameters -= 0.01 * factor * self.m / (v + 1e-3)


def ended(network, data, optimizer, plain):
    """Return the parameters after some steps, or the exception."""
    own = copy.deepcopy(network)
    SHARED["seen"], states = 0, (np.random.get_state(), random.getstate())  # noqa: NPY002
    settings = {"epochs": 3, "batch_size": 8, "progress": False, "rng": 1}
    try:
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            if plain:
                patch.setattr(engine, "programs", lambda *_: None)
            sgd.train(own, data, copy.deepcopy(optimizer), **settings)
    except Exception as error:  # compared with that of NumPy
        return f"{type(error).__name__}: {error}"
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
    return own.parameters


def distance(found, expected):
    """Return how far apart the numbers are, and how large: a NaN is one in both."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        far = np.where(same, 0, np.abs(found - expected)).max()
    return far, np.abs(expected[np.isfinite(expected)]).max(initial=0)


def shaken(network, data, optimizer):
    """Yield where NumPy ends when samples differ in their last digits."""
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal(data.Yt.shape, F)
        Yt = data.Yt * (1 + F(3e-6) * noise)
        other = Dataset("shaken", Yt, data.Ct, data.Yv, data.Cv)
        yield ended(network, other, optimizer, plain=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the kernels, of which there are thousands."""
    return tmp_path_factory.mktemp("kernels")


def test_whatever_a_layer_does_training_is_that_of_numpy(folder, monkeypatch):
    counts, said = Counter(), []
    monkeypatch.setattr(processor, "KEPT", folder)
    monkeypatch.setattr(engine, "say", said.append)

    @settings(
        max_examples=int(EXAMPLES or 300),
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        steps(KNOWN, KNOWN, KNOWN, KNOWN, UNKNOWN + LOOKS),
        steps(KNOWN, KNOWN, KNOWN, KNOWN, UNKNOWN + LOOKS),
        st.sampled_from([None] * 30 + KEPT),
        st.one_of(
            st.sampled_from([CrossEntropy(), LeastSquares()]),
            steps(KNOWN).map(ComposedLoss),
        ),
        st.sampled_from([sgd.SGD(0.1), sgd.SGD(0.05, 0.9, 1e-3), Adam()]),
        st.sampled_from([(0.1, 1, 30), (1, 1, 1), (3, 3, 3)]),
        st.sampled_from([None, 2]),
    )
    def property_(forward, backward, own, loss, optimizer, scales, replicas):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((3, 16), F) * np.array(scales, F)[:, None]
        C = np.eye(3, dtype=F)[:, rng.integers(3, size=16)]
        data = Dataset("random", X, C, X[:, :8], C[:, :8])
        layers = HiddenLayer(3, 4), Composed(4, forward, backward, own)
        seeds = [*range(replicas)] if replicas else 0
        try:
            network = Network([*layers, OutputLayer(4, 3)], seeds, loss=loss)
        except ValueError:  # a loss that is no mean
            assume(False)
        said.clear()
        found = ended(network, data, optimizer, plain=False)
        lines, expected = len(said), ended(network, data, optimizer, plain=True)
        if isinstance(expected, str) or isinstance(found, str):
            counts["the same exception"] += 1
            assert isinstance(found, str), (found, expected)
            assert found == expected
        elif lines or own is of_all:
            assert lines
            counts["refused"] += 1
            if own is of_all:  # what is no layer's own has counted the try, too
                return
            far, size = distance(found, expected)
            assert far <= 1e-5 * size
        else:
            counts["performed"] += 1
            far, size = distance(found, expected)
            if not far <= 1e-5 * size:
                others = [*shaken(network, data, optimizer)]
                counts["ill-conditioned"] += 1
                assert all(isinstance(one, np.ndarray) for one in others)
                moved = max(distance(one, expected)[0] for one in others)
                assert far <= 1e-5 * size + moved

    property_()
    print(dict(counts))
    assert counts["performed"] > 0.3 * counts.total()
    assert counts["refused"] > 0.1 * counts.total()
    assert counts["ill-conditioned"] < 0.05 * counts.total()
