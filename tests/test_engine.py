"""The engine: what it performs is what NumPy does, to the same bits everywhere."""

import copy
import itertools
import os
import pickle
import random
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import plan, processor, traces
from engine.array import UnknownError
from engine.program import Programs, Record
from helpers import architectures, sgd
from helpers.backstage import compiled
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, Layer, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.losses import CrossEntropy, LeastSquares
from helpers.network import Network

RNG, F = np.random.default_rng, np.float32
ONE = np.ones((1, 1), np.float32)
COUNT, HIDDEN = itertools.count(1_000), (n for n in range(1_000, 2_000))


def performed(function, X, C, *state):
    """Return what the machine makes of function(*state, X, C): state and totals."""
    state = [x.copy() for x in state]
    programs = Programs(function, state, X, C, X.shape[-1])
    return state, programs(state, X, C, np.arange(X.shape[-1]))


def of_entries(name, x):
    """Return the function `name` of the machine at every entry of the vector x."""
    function = getattr(np, name)

    def put(y, X, C):
        y[...] = function(y)
        return ()

    return performed(put, ONE, ONE, x)[0][0]


# Functions --------------------------------------------------------------------------

ULPS = {"exp": 1, "log": 1, "tanh": 2.5}  # over all float32: 0.99, 0.93, 2.42


@pytest.fixture(scope="module")
def numbers():
    """Every 2053rd float32 from the smallest to infinity, in order."""
    return np.arange(1, 0x7F800001, 2053, dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize("name", ULPS)
def test_functions_are_right_and_rise(name, numbers):
    """To three units in the last place, and with every number of some ranges."""
    x = numbers if name == "log" else np.concatenate([-numbers[::-1], numbers])
    found = of_entries(name, x)
    with np.errstate(over="ignore", under="ignore"):
        exact = getattr(np, name)(x.astype(float))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    errors = abs(found[finite] - exact[finite])
    assert (errors / np.spacing(abs(rounded[finite]))).max() < ULPS[name]
    np.testing.assert_array_equal(found[~finite], rounded[~finite])
    assert (found[1:] >= found[:-1]).all()
    for start in (0x3F000000, 0x3F0CCCC0, 0x3EB17200, 0x41000000):
        x = np.arange(start, start + (1 << 18), dtype=np.uint32).view(np.float32)
        assert (np.diff(of_entries(name, x)) >= 0).all()


def test_functions_at_zeros_infinities_and_nan(numbers):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        for name in (*ULPS, "absolute", "sqrt"):
            np.testing.assert_array_equal(of_entries(name, x), getattr(np, name)(x))
    for name in ("tanh", "absolute"):
        signs = np.signbit(of_entries(name, x[:2]))
        assert signs.tolist() == np.signbit(getattr(np, name)(x[:2])).tolist()
    negative = of_entries("tanh", -numbers)
    np.testing.assert_array_equal(negative, -of_entries("tanh", numbers))


def test_nan_and_infinity_travel():
    bad = np.array([1, np.nan, np.inf, -np.inf], np.float32)

    def mixed(x, X, C):
        largest = np.maximum(x, 0)
        x[...] = largest * (x > 0) + np.minimum(x, 0)
        return (x[:2].sum(), np.abs(x).max())

    (found,), totals = performed(mixed, ONE, ONE, bad)
    assert np.isnan(found[1])
    assert found[2] == np.inf
    assert np.isnan(totals).tolist() == [True, True]


def test_comparisons_and_signs_are_those_of_numpy():
    functions = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal)
    functions += (np.not_equal, np.minimum, np.maximum, np.subtract)

    def compare(x, X, C):
        return [f(x, 1).sum() for f in functions] + [(-x).sum(), np.square(x).sum()]

    x = np.array([-2, 0, 1, 1, 5, 7], np.float32)
    assert performed(compare, ONE, ONE, x)[1].tolist() == compare(x, ONE, ONE)


# Steps ------------------------------------------------------------------------------


class Sigmoid:
    def __call__(self, z):
        return 1 / (1 + np.exp(-z))

    def derivative(self, y):
        return y * (1 - y)


class ThreeBlocks(Layer):
    """y = tanh(W x + b) ⊙ x + s: a residual layer with three blocks."""

    def __init__(self, width):
        self.inputs = self.outputs = width
        self.shapes = {"W": (width, width), "b": (width, 1), "s": (width, 1)}

    def forward(self, x, W, b, s):
        h = np.tanh(W @ x + b)
        return h * x + s, (x, W, h)

    def backward(self, kept, dy):
        x, W, h = kept
        dz = (1 - h**2) * x * dy
        ones = dy.sum(axis=-1, keepdims=True)
        return h * dy + W.mT @ dz, (dz @ x.mT, dz.sum(axis=-1, keepdims=True), ones)


BUILDS = architectures.ARCHITECTURES | {
    "no outer activation": lambda n, c, f=None: architectures.residual(
        n, c, [3, 7], f, outer=False
    ),
    "own layer": lambda n, c, f=None: [
        HiddenLayer(n, 6, f),
        ThreeBlocks(6),
        OutputLayer(6, c),
    ],
}


def rngs(seed, replicas):
    """Return a generator, or one for each replica."""
    return [RNG([seed, r]) for r in range(*replicas)] if replicas else RNG(seed)


def trained(network, data, plain, **settings):
    """Return parameters and history after an epoch, by NumPy alone if `plain`."""
    one = network.with_parameters(network.parameters.copy())
    own = ("learning_rate", "momentum", "weight_decay")
    how = {name: settings.pop(name) for name in own if name in settings}
    how = settings.pop("optimizer", sgd.SGD(**{"learning_rate": 0.1} | how))
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(engine, "programs", lambda *_: None)
        history = sgd.train(
            one, data, how, **{"epochs": 1, "progress": False} | settings
        )
    return one.parameters, history


@given(
    st.sampled_from(sorted(BUILDS)),
    st.sampled_from([None, ReLU(), Sigmoid()]),
    st.sampled_from([CrossEntropy(), LeastSquares()]),
    st.integers(1, 6),
    st.integers(2, 6),
    st.integers(1, 40),
    st.sampled_from([(), (1,), (3,)]),
    st.floats(0, 0.9),
    st.floats(0, 0.1),
    st.booleans(),
)
def test_a_step_is_that_of_numpy(
    build, activation, loss, n, c, m, replicas, momentum, decay, own
):
    rng = RNG(m)
    shape = replicas if own else ()
    X = rng.standard_normal((*shape, n, m), np.float32)
    C = np.eye(c, dtype=np.float32)[:, rng.integers(c, size=(*shape, m))]
    C = np.moveaxis(C, 0, -2)
    network = Network(BUILDS[build](n, c, activation), rngs(0, replicas), loss=loss)
    rates = {"learning_rate": 0.1, "momentum": momentum, "weight_decay": decay}
    ends = {}
    for dtype, plain in ((np.float32, False), (np.float32, True), (float, True)):
        data = Dataset("random", *(a.astype(dtype) for a in (X, C, X, C)))
        at = network.with_parameters(network.parameters.astype(dtype))
        settings = rates | {"rng": rngs(5, replicas), "batch_size": m}
        ends[dtype, plain] = trained(at, data, plain, **settings)
    found, history = ends.pop((np.float32, False))
    for (expected, rows), tolerance in zip(ends.values(), (1e-6, 1e-5), strict=True):
        assert abs(found - expected).max() <= tolerance * abs(expected).max()
        for name in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(history[name], rows[name], rtol=1e-5, atol=1e-6)


def test_several_epochs_are_those_of_numpy(blobs):
    data = blobs(m=150)  # two batches of 64 and one of 22
    seeds = [RNG(r) for r in range(2)]
    network = Network(BUILDS["2 hidden + 1 ResNet"](2, 3), seeds)
    settings = {
        "learning_rate": np.array([[0.1], [0.02]], np.float32),
        "momentum": np.array([[0.0], [0.9]], np.float32),
        "schedule": sgd.cosine,
    }
    found, expected = (
        trained(network, data, plain, rng=rngs(0, (2,)), **settings)[0]
        for plain in (False, True)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found != network.parameters).any(axis=1).all()


def test_samples_are_asked_for_in_every_epoch(blobs):
    class Anew:
        asked, Yv, Cv = 0, blobs().Yv, blobs().Cv

        def draw(self):
            self.asked += 1
            self.Ct = blobs(seed=self.asked).Ct
            return blobs(seed=self.asked).Yt

        Yt = property(draw)

    network = Network(BUILDS["1 hidden"](2, 3), RNG(0))
    settings = {"learning_rate": 0.1, "epochs": 3, "record": lambda n, d: {"x": 0.0}}
    data = Anew(), Anew()
    found, expected = (
        trained(network, one, plain, rng=rngs(0, ()), **settings)[0]
        for one, plain in zip(data, (False, True), strict=True)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [one.asked for one in data] == [1 + 3, 1 + 3]  # for the shapes, then each


def test_a_record_has_each_thing_once():
    network = Network([HiddenLayer(2, 6), OutputLayer(6, 3)], RNG(0))

    def step(theta, X, C):
        theta -= 0.1 * network.with_parameters(theta).gradient(X, C)
        return ()

    record = Record(step, [network.parameters.size], (2, 3), 8)
    done = plan.groups(record.tape, record.starts(record.state))
    names = [name for notes, _ in done for name, *_ in notes]
    # Two products forward, three back: dX is never computed. Four blocks make the flat
    # gradient, and a step changes θ in place.
    assert names.count("matmul") == 2 + 3
    assert names.count("copy") == 4 + 1
    assert names.count("tanh") == 1
    assert len(done) < len(names) / 2  # the others are done in one go


def test_a_listing_names_operations_sizes_and_places():
    def scale(x, X, C):
        x *= 3
        return ((X @ C).sum(),)

    one = np.ones((2, 2), np.float32)
    program = Programs(scale, [np.ones(5, F)], one, one, 2).programs[2]
    (names, sizes, written, read), product, *_ = program.listing
    assert (names, sizes) == (["multiply", "copy"], (1, 5, 0))
    assert written == read == program.state
    assert product[:2] == (["matmul"], (2, 2, 2))
    X, C = product[3]
    assert C == X + 4


def test_places_are_written_and_read_as_numpy_does():
    def places(x, X, C):
        x[1:] = x[0] * abs(x[1:]) - x[-1]
        Y = np.exp(X)
        Y[:, 0] = 1
        Y.T[1:] = 2 * C.T[1:]
        Z = X @ C.T
        Z *= 1.25
        x += Y[1] - (Z + 1).sum()
        g = x / 4
        y = np.concatenate([g, np.zeros(3, g.dtype), g])
        g[2:] = 0
        x[...] = y[11:] * y[:8][::-1] + g
        x[::2] += 1
        x[:4] += (X.T @ C[:, ::2].mT.mT)[:4, 0]
        return Y.sum(), (C.T[:2].mT @ X[:, :2].mT).sum(), x[3]

    draw = RNG(0).standard_normal
    x, *samples = (draw(shape, np.float32) for shape in (8, (2, 8), (2, 8)))
    (found,), totals = performed(places, *samples, x)
    sums = places(x, *samples)
    np.testing.assert_allclose(found, x, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(totals, sums, rtol=2e-6, atol=1e-6)


def test_samples_and_orders_are_shared_by_the_replicas_that_have_none_of_their_own():
    def total(x, X, C):
        return ((x[..., None] * X).sum(axis=(-2, -1)),)

    x = np.arange(1, 4, dtype=np.float32)[:, None]
    X = np.arange(4, dtype=np.float32)[None, None]
    programs = Programs(total, [x], X, X, 4)
    order = np.arange(4, dtype=np.int32)
    assert programs([x], X, X, order).tolist() == [[6, 12, 18]]
    assert programs([x], np.ones((2, 4)), X, order).tolist() == [[8, 16, 24]]
    assert programs([x], X, X, order[::-1] - 4).tolist() == [[6, 12, 18]]


def test_samples_that_overflow_are_tried_without_a_warning():
    """Warnings are errors here, and what overflows alike is no difference."""

    def grow(x, X, C):
        x += (X * X).sum(axis=-1) * 1e4
        return (x.sum(),)

    X = np.full((1, 4), 1e18, F)
    (found,), totals = performed(grow, X, X, np.zeros(1, F))
    assert np.isinf(found).all()
    assert np.isinf(totals).all()


# What the machine does not know ---------------------------------------------------


def raising(x):
    with np.errstate(over="raise"):
        return (x * 2)[0]


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("that change something: COUNT of", lambda x: x[0] * next(COUNT)),
        ("functions that do otherwise the second time", lambda x: x[0] * next(HIDDEN)),
        ("a decision that depends on values", lambda x: x[0 if x[0] > 0 else 1]),
        ("a decision that depends on values", lambda x: x.argmax()),
        ("np.where of the type float64", lambda x: np.where(x > 0, 1.0, 0.1)[0]),
        ("np.add of the types float64", lambda x: (x + np.ones(3))[0]),
        ("np.add of the types int64", lambda x: (1 + (x > 0)).sum()),
        ("numpy boolean subtract", lambda x: ((x > 0) - (x > 1)).sum()),
        ("lists of places", lambda x: x[np.arange(3)[::-1]].sum()),
        ("np.sin", lambda x: np.sin(x)[0]),
        ("np.norm", np.linalg.norm),
        ("array.std", lambda x: x.std()),
        ("errors of arithmetic", raising),
        ("np.maximum.reduce", lambda x: x.max(initial=-9)),
    ],
)
def test_what_is_not_known_is_refused_with_its_name(reason, value):
    with pytest.raises(TypeError, match=reason):
        Programs(lambda x, X, C: (value(x),), [ONE[0].repeat(3)], ONE, ONE, 1)
    with pytest.raises(UnknownError, match="numbers of the type float64"):
        Programs(lambda x, X, C: (), [np.ones(3)], ONE, ONE, 1)


def test_a_single_network_may_judge_samples_of_many_replicas_and_in_float64(draw):
    network = Network([OutputLayer(3, 4)], RNG(0))
    X, C = draw(replicas=(2,), dtype=np.float32)
    found = network.evaluate(X, C)
    each = [network.evaluate(X[r], C[r]) for r in range(2)]
    np.testing.assert_allclose(found, np.transpose(each), rtol=1e-6)
    recorded, (X, C) = compiled.recorded(network, X[0], C[0]), draw()
    expected = network.evaluate(X, C)
    np.testing.assert_allclose(recorded.evaluate(X, C), expected, rtol=1e-6)


def test_why_numpy_trains_is_said_once(blobs, capsys):
    class Leaky(Tanh):
        def __call__(self, z):
            return np.where(z > 0, z, z / 10)

        def derivative(self, y):
            return np.where(y > 0, 1, 0.1)

    def masked(x, X, C):
        x[x < 0] = 0
        return ()

    engine.say.cache_clear()
    for _ in range(2):
        layers = [HiddenLayer(2, 4, Leaky()), OutputLayer(4, 3)]
        trained(Network(layers, RNG(0)), blobs(), False, rng=RNG(0))
    assert engine.programs(masked, [ONE[0]], ONE, ONE, 1) is None
    printed = capsys.readouterr().out.splitlines()
    said = "by plain NumPy, which is slower: the compiled engine "
    assert printed[0] == f"{said}does not do np.where of the type float64"
    assert printed[1].startswith(f"{said}does not do places that depend on numbers")
    assert len(printed) == 2


class RunningMean(Layer):
    """y = x − a mean that moves with every pass."""

    def __init__(self, width):
        self.inputs, self.outputs, self.shapes = width, width, {}
        self.mean, self.seen = np.zeros((width, 1), np.float32), []

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=-1, keepdims=True)
        self.seen.append(self.mean)
        return x - self.mean, None

    def backward(self, kept, dy):
        return dy, ()


def test_a_layer_that_keeps_something_is_left_to_numpy_and_keeps_plain_arrays(blobs):
    ends = []
    for plain in (False, True):
        layers = [HiddenLayer(2, 4), RunningMean(4), OutputLayer(4, 3)]
        network = Network(layers, RNG(0))
        ends.append(trained(network, blobs(), plain, rng=rngs(1, ()))[0])
        assert {type(mean) for mean in layers[1].seen} == {np.ndarray}
    np.testing.assert_array_equal(*ends)


@dataclass
class Adam:
    """Its state are numbers, one for all or one for each parameter."""

    rate: float | np.ndarray = 0.01
    m: float = 0.0
    v: float = 0.0
    steps: int = 0
    left: float = 1.0
    name: str = "Adam"

    def update(self, parameters, gradient, factor):
        self.steps, self.left = self.steps + 1, self.left * 0.99
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.99 * self.v + 0.01 * gradient**2
        step = self.m / (np.sqrt(self.v / (1 - self.left)) + 1e-6 * self.steps)
        parameters -= self.rate * factor * step


@pytest.mark.parametrize(
    ("replicas", "rate"), [((), 0.01), ((3,), np.array([[0.01], [0.02], [0]], "f4"))]
)
def test_any_optimizer_is_performed_with_its_own_state(blobs, capsys, replicas, rate):
    data = blobs()
    network = Network([HiddenLayer(2, 5), OutputLayer(5, 3)], rngs(0, replicas))
    ends = [
        trained(network, data, plain, rng=rngs(1, replicas), optimizer=Adam(rate))[0]
        for plain in (True, False)
    ]
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-6)
    assert abs(ends[0] - network.parameters).max() > 1e-3
    assert capsys.readouterr().out == ""


class Lazy(Adam):
    """Makes its state when it is first used."""

    m: np.ndarray | None = None

    def update(self, parameters, gradient, factor):
        self.m = np.zeros_like(parameters) if self.m is None else self.m
        self.name = [self.name]
        super().update(parameters, gradient, factor)


def test_an_optimizer_whose_state_is_no_number_at_first_goes_by_numpy(
    blobs, monkeypatch
):
    said, network = [], Network([OutputLayer(2, 3)], RNG(0))
    monkeypatch.setattr(engine, "say", said.append)
    for how in (Lazy(m=None), Lazy()):
        ends = [
            trained(network, blobs(), plain, rng=1, optimizer=how)[0]
            for plain in (True, False)
        ]
        assert np.array_equal(*ends)
    assert [*dict.fromkeys(said)] == [
        f"{n} of Lazy changes, and is no number or array at first"
        for n in ("m", "name")
    ]


class Stairs(Layer):
    """Slope 0.1, and 1.1 beyond 4, of which two comparisons are added."""

    inputs = outputs = 3
    shapes = {"W": (3, 3)}

    def forward(self, x, W):
        z = W @ x
        return F(0.1) * z + np.maximum(z - 4, 0), (x, W, z)

    def backward(self, kept, dy):
        x, W, z = kept
        dz = F(0.1) * dy + ((z > 4) + (z > 5)) * dy
        return W.mT @ dz, (dz @ x.mT,)


class Guarded(HiddenLayer):
    """Scales its gradients when one is large, by a look at their values."""

    def backward(self, kept, dy):
        dx, gradients = super().backward(kept, dy)
        n = max(np.abs(np.asarray(g)).max() for g in gradients)
        return dx, tuple(g / n if n > 2 else g for g in gradients)


class Skipped(ResNetLayer):
    """A residual branch that is left out in a tenth of the calls."""

    def __init__(self, width, seed):
        super().__init__(width)
        self.rng = RNG(seed)

    def forward(self, x, *blocks):
        if self.rng.random() < 0.9:
            y, kept = super().forward(x, *blocks)
            return y, (True, kept)
        return x * 1, (False, blocks)

    def backward(self, kept, dy):
        if kept[0]:
            return super().backward(kept[1], dy)
        return dy * 1, tuple(block * 0 for block in kept[1])


class Warm(HiddenLayer):
    """Steeper from its sixth call on."""

    calls = 0

    def forward(self, x, W, b):
        self.calls += 1
        self.slope = 1 if self.calls < 6 else 3
        y = np.tanh(self.slope * (W @ x + b))
        return y, (x, W, y)

    def backward(self, kept, dy):
        x, W, y = kept
        dz = self.slope * (1 - y * y) * dy
        return W.mT @ dz, (dz @ x.mT, dz.sum(-1, keepdims=True))


class Late(HiddenLayer):
    """Cannot be recorded for a few samples, with which an evaluation ends."""

    def forward(self, x, W, b):
        y, kept = super().forward(x, W, b)
        return (y if x.shape[-1] != 7 else np.sin(np.arcsin(y))), kept


class Centred(HiddenLayer):
    """Takes off a mean, which in a stack is that of the replicas."""

    def forward(self, x, W, b):
        x = x - 0.5 * x.mean(axis=0, keepdims=True)
        return super().forward(x, W, b)


class Locked(HiddenLayer):
    """Has what cannot be copied."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.lock = threading.Lock()


CASES = {
    "a mean of replicas": (lambda: [Centred(3, 3)] * 2, "mix the replicas", 1),
    "no copy": (lambda: [Locked(3, 3)], "the network cannot be copied", 1),
    "added comparisons": (lambda: [Stairs()], "", 4),
    "a look at gradients": (lambda: [Guarded(3, 3)], "a decision that depends on", 40),
    **{
        f"a branch drawn, {seed}": (lambda n=seed: [Skipped(3, n)], "Skipped.rng", 1)
        for seed in range(4)
    },
    "a count of calls": (lambda: [Warm(3, 3)], "Warm.", 1),
    "a size that comes later": (lambda: [Late(3, 3)], "np.arcsin", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_function_of_the_samples_is_trained_as_numpy_does(case, monkeypatch):
    said, ends, (layers, reason, scale) = [], [], CASES[case]
    monkeypatch.setattr(engine, "say", said.append)
    X = scale * RNG(0).standard_normal((3, 96 + 96 + 7)).astype(F)
    C = np.eye(3, dtype=F)[:, X.argmax(axis=0)]
    data = Dataset("random", X[:, :96], C[:, :96], X[:, 96:], C[:, 96:])
    for plain in (False, True):
        network = Network([*layers(), OutputLayer(3, 3)], [0, 1])
        how = {"epochs": 3, "batch_size": 32, "rng": 1, "learning_rate": 0.1}
        ends.append(trained(network, data, plain, **how)[0])
    np.testing.assert_allclose(*ends, rtol=1e-5, atol=1e-5)
    if reason:
        assert {reason in line for line in said} == {True}, said
    else:
        assert not said


RUN = """
import hashlib, sys
import numpy as np
from helpers import sgd
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.network import Network
rng = np.random.default_rng(0)
X = rng.standard_normal((2, 1000)).astype(np.float32)
C = np.eye(3, dtype=np.float32)[:, rng.integers(3, size=1000)]
layers = [HiddenLayer(2, 10), ResNetLayer(10), OutputLayer(10, 3)]
network = Network(layers, [np.random.default_rng(r) for r in range(2)])
history = sgd.train(
    network, Dataset("random", X, C, X, C), sgd.SGD(0.1, 0.9, 1e-3),
    rng=np.random.default_rng(1), epochs=2, schedule=sgd.cosine, progress=False,
)
digest = hashlib.sha256(network.parameters.tobytes())
for name in sorted(history):
    digest.update(np.ascontiguousarray(history[name]).tobytes())
print(digest.hexdigest())
"""


def run(code=RUN, **settings):
    """Return what Python code prints in this environment; errors come along."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def test_the_number_of_threads_changes_no_bit(blobs, monkeypatch):
    data, seeds, ends = blobs(m=300), rngs(0, (5,)), []
    for threads in ("1", "4", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        network = Network(BUILDS["1 hidden"](2, 3), [RNG(r) for r in range(5)])
        ends.append(trained(network, data, False, rng=copy.deepcopy(seeds))[0])
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])


def test_what_is_compiled_is_of_its_process_and_not_copied():
    programs = Programs(lambda x, X, C: (X.sum(),), [ONE[0]], ONE, ONE, 1)
    assert pickle.loads(pickle.dumps(programs)) is copy.deepcopy(programs) is None


def test_what_another_thread_draws_is_not_laid_at_the_functions_door(monkeypatch):
    """As the threads of a Dask worker do now and then."""
    own, calls = traces.seen, itertools.count()

    def seen(function):
        if next(calls) in {1, 4}:
            random.random()
        return own(function)

    monkeypatch.setattr(traces, "seen", seen)
    Programs(lambda x, X, C: (X.sum(),), [ONE[0]], ONE, ONE, 1)
    assert next(calls) > 6
    with pytest.raises(UnknownError, match=r"change something: a global generator$"):
        Programs(lambda x, X, C: (X.sum() * random.random(),), [ONE[0]], ONE, ONE, 1)


def test_another_processor_gives_the_same_bits():
    baseline = {"ENGINE_CPU": "generic", "OPENBLAS_CORETYPE": "Nehalem"}
    here, there = run(), run(**baseline)
    assert here == there
    assert len(here.strip()) == 64


def test_without_llvmlite_numpy_trains_and_says_so():
    absent = "import sys; sys.modules['llvmlite'] = None\n"
    said, found = run(absent + RUN).splitlines()
    assert len(found) == 64
    told = "by plain NumPy, which is slower: llvmlite cannot be imported"
    assert said.startswith(told)


# What is kept of compiled kernels ---------------------------------------------------

SUM = "define void @kernel(ptr %M, ptr %args, i64 %t) { ret void }"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The only file of a folder of its own, and what compiles its kernel anew."""
    monkeypatch.setattr(processor, "KEPT", tmp_path / "kernels")
    made, target = [], processor.target()[0]

    class Target:
        def emit_object(self, module):
            made.append(module)
            return target.emit_object(module)

        def __getattr__(self, name):
            return getattr(target, name)

    monkeypatch.setattr(processor, "target", lambda: (Target(), "this processor"))
    monkeypatch.setattr(processor, "loaded", lambda code: code)
    compiled = processor.compiled.__wrapped__
    code = compiled(SUM)
    assert (code, len(made)) == (compiled(SUM), 1)  # the second comes from the file
    (path,) = processor.KEPT.iterdir()
    return path, lambda: (compiled(SUM) == code, len(made) - 1)


def flip(path, place=-5):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def replace_by_link(path):
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


HARM = {
    "damaged": flip,
    "damaged sum": lambda path: flip(path, 3),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "of another kernel": lambda path: path.write_bytes(b"x" * 32 + path.read_bytes()),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": replace_by_link,
    "lost": lambda path: path.unlink(),
    "written by others": lambda path: path.chmod(0o666),
    "in a folder of others": lambda path: path.parent.chmod(0o777),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_kept_is_made_anew_whatever_is_wrong_with_it(kept, harm):
    path, compiled_again = kept
    HARM[harm](path)
    assert compiled_again() == (True, 1)
    repaired = harm not in ("a folder", "in a folder of others")
    assert compiled_again() == (True, 1 if repaired else 2)


def test_a_file_of_another_user_or_folder_that_cannot_be_written_is_not_used(
    kept, monkeypatch
):
    path, compiled_again = kept
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert compiled_again() == (True, 1)
    monkeypatch.setattr(processor, "KEPT", path / "x")
    assert compiled_again() == (True, 2)


def test_a_damaged_cache_changes_no_number(tmp_path):
    """All that is kept is damaged between two runs, which end alike."""
    code = "from pathlib import Path; from engine import processor\n"
    code += f"processor.KEPT = Path({str(tmp_path)!r})\n" + RUN
    tmp_path.chmod(0o700)
    found = run(code)
    paths = [*tmp_path.iterdir()]
    for path in paths:
        flip(path)
    damaged = {path: path.read_bytes() for path in paths}
    assert run(code) == found
    assert len(paths) > 20
    assert all(path.read_bytes() != damaged[path] for path in paths)
