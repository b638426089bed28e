"""What people bring that does not fit: a sentence each, before anything is trained."""

import copy
from dataclasses import replace
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from helpers import checks, sgd
from helpers.backstage.rehearsal import rehearse
from helpers.experiments import Run, run_all
from helpers.layers import HiddenLayer, Layer, OutputLayer, ResNetLayer, Tanh
from helpers.losses import CrossEntropy, LeastSquares, log_softmax, softmax
from helpers.network import Network


def plain(blobs):
    """Return samples without a class of their own, three features and classes."""
    one = blobs()
    return SimpleNamespace(
        **{v: getattr(one, v).copy() for v in ("Yt", "Ct", "Yv", "Cv")}
    )


def change(data, part, value, place=None):
    """Return the data with another part, or with a part changed in one place."""
    other = copy.deepcopy(data)
    array = getattr(other, part)
    if place is None:
        setattr(other, part, value(array) if callable(value) else value)
    else:
        array[place] = value
    return other


SAMPLES = [  # part, what it is instead, at a place or as a whole; words
    ("Yt", np.nan, (1, 7), r"^Yt must be finite: NaN or infinite are 1 of .*\(1, 7\)$"),
    ("Yt", np.inf, (0, slice(3, 5)), r"^Yt must be finite: .* 2 of its .*\(0, 3\)$"),
    ("Yv", np.nan, (0, 0), r"^Yv must be finite: NaN or infinite are 1 of"),
    ("Ct", np.nan, (0, 2), r"^Ct must be finite"),
    ("Cv", -np.inf, (0, 2), r"^Cv must be finite"),
    ("Yt", pd.DataFrame, None, r"^Yt is a DataFrame: give \.to_numpy\(\)$"),
    ("Yv", pd.DataFrame, None, r"^Yv is a DataFrame: give \.to_numpy\(\)$"),
    ("Ct", pd.DataFrame, None, r"^Ct is a DataFrame: give \.to_numpy\(\)$"),
    ("Yt", np.ndarray.tolist, None, r"^Yt is a list: give an array of NumPy$"),
    ("Cv", np.ndarray.tolist, None, r"^Cv is a list: give an array of NumPy$"),
    ("Yt", lambda x: x + 1j, None, r"^Yt holds complex64: give real numbers$"),
    ("Yt", lambda x: x.astype(str), None, r"^Yt holds <U\d+: give real numbers$"),
    ("Yt", lambda x: x.astype(object), None, r"^Yt holds object: give real numbers$"),
    ("Yt", lambda x: np.ma.masked_less(x, 0), None, r"^Yt has \d+ masked entries"),
    ("Yt", lambda x: x[:, :0], None, r"^Ct of shape .* Yt has 0 samples$"),
    ("Yt", lambda x: x.view(np.matrix), None, r"^Yt is a matrix: give an array of N"),
    ("Ct", csr_matrix, None, r"^Ct is a csr_matrix: give \.toarray\(\)$"),
    ("Yt", lambda x: x.T, None, r"^Yt of shape .*samples belong in columns, give X\.T"),
    (
        "Yv",
        lambda x: x[:1],
        None,
        r"^Yv of shape \(1, 50\) is not \(\.\.\., 2 features",
    ),
    ("Yv", lambda x: x[0], None, r"^Yv of shape \(50,\) is not \(\.\.\., 2 features"),
    ("Ct", lambda C: 2 * C - 1, None, r"^Ct must be one-hot, .* 100 of its columns"),
    ("Cv", lambda C: 2 * C - 1, None, r"^Cv must be one-hot, .* 50 of its columns"),
    ("Ct", lambda C: C + C, None, r"^Ct must be one-hot, .*first is column 0, \["),
    ("Ct", 0, (slice(None), 4), r"^Ct must be one-hot, .* 1 of its .*column 4, \[0\.0"),
    (
        "Ct",
        lambda C: C.argmax(0),
        None,
        r"^Ct .* labels become np\.eye\(3\)\[:, labels",
    ),
    (
        "Cv",
        lambda C: C.argmax(0),
        None,
        r"^Cv .* labels become np\.eye\(3\)\[:, labels",
    ),
    ("Ct", lambda C: C.T, None, r"^Ct of shape \(100, 3\) is not"),
    (
        "Ct",
        lambda C: C[:2],
        None,
        r"^Ct of shape \(2, 100\) is not \(\.\.\., 3 classes",
    ),
    ("Cv", lambda C: C[:, 1:], None, r"^Cv of shape .* Yv has 50 samples$"),
]


@pytest.mark.parametrize(("part", "value", "place", "words"), SAMPLES)
def test_samples_are_refused_before_anything_is_trained(
    blobs, part, value, place, words
):
    data = change(plain(blobs), part, value, place)
    network = Network([HiddenLayer(2, 4), OutputLayer(4, 3)], 0)
    before = network.parameters.copy()
    with pytest.raises((ValueError, TypeError), match=words):
        sgd.train(network, data, rng=0)
    assert np.array_equal(network.parameters, before)


def test_what_only_least_squares_takes_is_left_to_it(blobs):
    data = change(plain(blobs), "Ct", lambda C: 2 * C - 1)
    network = Network([OutputLayer(2, 3)], 0, loss=LeastSquares())
    sgd.train(network, data, rng=0, epochs=1, progress=False)
    soft = change(plain(blobs), "Ct", lambda C: 0.9 * C + np.float32(0.1 / 3))
    sgd.train(Network([OutputLayer(2, 3)], 0), soft, rng=0, epochs=1, progress=False)


DATASETS = [
    ("Yt", np.ndarray.tolist, None),
    ("Yt", pd.DataFrame, None),
    ("Ct", lambda C: C.astype(int), None),
    ("Ct", lambda C: C.astype(bool), None),
    ("Yt", np.ma.masked_array, None),
    ("Yt", lambda x: x.astype(object), None),
    ("Yt", lambda x: [[Decimal(float(one)) for one in row] for row in x], None),
    ("Yt", lambda x: pd.DataFrame(x).astype(object), None),
    (
        "Yt",
        lambda x: pd.DataFrame(x).convert_dtypes().replace(x[1, 2], pd.NA),
        r"^blobs: Yt must be finite: .* 1 of its entries, the first at \(1, 2\)$",
    ),
    ("Yt", lambda x: np.full(x.shape, "n/a", object), r"^blobs: Yt holds object: giv"),
    ("Yt", lambda x: x + np.nan, r"^blobs: Yt must be finite: .* 200 of its entries"),
    ("Yv", lambda x: x + 1j, r"^blobs: Yv holds complex64: give real numbers$"),
    ("Yv", lambda x: x[:, :0], r"^blobs: Yv of shape \(2, 0\) is empty: give samples$"),
    ("Yt", lambda x: x[:, :0], r"^blobs: Yt of shape \(2, 0\) is empty: give samples$"),
    ("Yt", lambda x: x.astype(str), r"^blobs: Yt holds <U\d+: give real numbers$"),
    ("Yt", lambda x: np.ma.masked_less(x, 0), r"^blobs: Yt has \d+ masked entries: "),
    ("Yt", lambda x: [[1.0], [2.0, 3.0]], r"^blobs: Yt has rows of different lengths$"),
    ("Yt", lambda x: x.T, r"^blobs: Yt and Yv must be .*found the shapes \(100, 2\)"),
    ("Ct", lambda C: C.argmax(axis=0), r"^blobs: .* found the shapes .*, \(100,\)"),
    ("Cv", lambda C: C[:2], r"^blobs: Yt and Yv must be .*\(2, 50\)\.$"),
    ("Yt", None, r"^blobs: Yt holds object: give real numbers$"),
]


@pytest.mark.parametrize(("part", "value", "words"), DATASETS)
def test_a_dataset_converts_what_it_can_and_names_the_rest(blobs, part, value, words):
    data = blobs()
    given = value and value(getattr(data, part))
    if words is None:
        found = getattr(replace(data, **{part: given}), part)
        assert type(found) is np.ndarray
        assert found.dtype.kind == "f"
        np.testing.assert_array_equal(found, np.asarray(given))
    else:
        with pytest.raises(ValueError, match=words):
            replace(data, **{part: given})


def test_integers_beyond_single_precision_keep_their_digits(blobs):
    large = 2**24 + np.arange(200).reshape(2, 100)
    found = replace(blobs(), Yt=large).Yt
    np.testing.assert_array_equal(found, large)
    assert found.dtype == float


# Losses and layers --------------------------------------------------------------------


NO_LAYER = "is .*: give an instance of a class that inherits from .*Layer$"
HALF = [HiddenLayer(2, 5), ResNetLayer(5), OutputLayer(6, 3)]
NETWORKS = [  # layers, words
    ([], "a network needs a layer: the list of layers is empty$"),
    ([OutputLayer(4, 3), OutputLayer], f"layer 2 {NO_LAYER}"),
    ([SimpleNamespace(inputs=3, outputs=2, shapes={})], f"layer 1 {NO_LAYER}"),
    (
        HALF,
        r"layer 2 \(ResNetLayer\) has 5 outputs, but layer 3 \(OutputLayer\) takes 6",
    ),
    (
        [HiddenLayer(3, 4, Tanh)],
        r"activation = .*: give an instance, such as Tanh\(\)$",
    ),
    ([ResNetLayer(3, 4, "relu")], r"activation = 'relu': give an .* as Tanh\(\)$"),
    ([HiddenLayer(3, 4, np.tanh)], r"activation = <ufunc .* an .* as tanh\(\)$"),
]


@pytest.mark.parametrize(("layers", "words"), NETWORKS)
def test_layers_that_make_no_network_are_named(layers, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        Network(layers, 0)


@pytest.mark.parametrize("loss", [CrossEntropy, "mse", lambda Z, C: 0.0])
def test_what_is_no_loss_is_named(loss):
    with pytest.raises(
        TypeError, match=r"^loss = .*: give an instance, such as .*\(\)$"
    ):
        Network([OutputLayer(3, 4)], 0, loss=loss)


ONE_NETWORK = {"layers": [OutputLayer(3, 4)], "rng": 0}
NO_RNG = ": give a generator or a seed, or a list of them for a stack$"
ARGUMENTS_OF_NETWORKS = [
    ({"layers": OutputLayer(3, 4)}, "layers = .*: give a list of layers$"),
    ({"dtype": int}, "dtype = <class 'int'>: give np.float32 or float$"),
    ({"dtype": complex}, "dtype = "),
    ({"rng": (0, 1, 2)}, rf"rng = \(0, 1, 2\){NO_RNG}"),
    ({"rng": range(3)}, rf"rng = range\(0, 3\){NO_RNG}"),
    ({"rng": np.arange(3)}, rf"rng = array\(\[0, 1, 2\]\){NO_RNG}"),
    ({"rng": []}, rf"rng = \[\]{NO_RNG}"),
    ({"rng": [0, None]}, f"rng = None{NO_RNG}"),
    ({"rng": 0.5}, f"rng = 0.5{NO_RNG}"),
    ({"rng": -1}, f"rng = -1{NO_RNG}"),
    ({"rng": True}, f"rng = True{NO_RNG}"),
    ({"rng": "zero"}, f"rng = 'zero'{NO_RNG}"),
]


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS_OF_NETWORKS)
def test_what_else_makes_no_network_is_named(arguments, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        Network(**ONE_NETWORK | arguments)


def certify(network, X, C):
    return checks.network_tests("net", network, X, C, 0)


def fit(network, X, C):
    return rehearse(network, sgd.SGD(0.1), X, C)


MISFITS = [  # what becomes of X (3, 16) and C (4, 16), words
    (lambda X, C: (X.T, C), r"^X of shape \(16, 3\) is .* in columns, give X\.T$"),
    (
        lambda X, C: (X[:2], C),
        r"3 features, samples\), which .* 1 \(HiddenLayer\) takes$",
    ),
    (lambda X, C: (X, C[:3]), r"^C of shape \(3, 16\) is .* 4 classes, 16 .* layer 2 "),
    (lambda X, C: (X, C[:, :8]), r"\(OutputLayer\) has 4 outputs, X has 16 samples$"),
    (
        lambda X, C: (X, C.argmax(axis=0)),
        r"^C of .* labels become np\.eye\(4\)\[:, lab",
    ),
]


@pytest.mark.parametrize(
    "use", [Network.value, Network.gradient, Network.evaluate, fit, certify]
)
@pytest.mark.parametrize(("change", "words"), MISFITS)
def test_samples_that_do_not_fit_are_named_wherever_they_enter(
    draw, use, change, words
):
    network = Network([HiddenLayer(3, 5), OutputLayer(5, 4)], [0, 1])
    with pytest.raises(ValueError, match=words):
        use(network, *change(*draw(m=16)))


class Summed(CrossEntropy):
    def __call__(self, Z, C):
        return -(C * log_softmax(Z)).sum(axis=(-2, -1))

    def gradient(self, Z, C):
        return softmax(Z) - C


class SummedSquares(LeastSquares):
    def __call__(self, Z, C):
        return ((Z - C) ** 2).sum(axis=(-2, -1))


def layer(**parts):
    """Return a layer y = W x of three units that lacks or has these parts instead."""
    whole = {"inputs": 3, "outputs": 3, "shapes": {"W": (3, 3)}}
    whole |= {"forward": lambda self, x, W: (W @ x, (x, W))}
    whole |= {
        "backward": lambda self, kept, dy: (kept[1].mT @ dy, (dy @ kept[0].mT,)),
        "jvp": lambda self, kept, dx, dW: kept[1] @ dx + dW @ kept[0],
    }
    parts = {name: part for name, part in (whole | parts).items() if part is not None}
    return type("Mine", (Layer,), parts)()


def forward(self, x, W):
    z = np.zeros((3, x.shape[-1]))
    z += W @ x
    return z, (x, W)


LAYERS = [
    ({"shapes": None}, r"\(Mine\) has no shapes: give \{\} if it has no parameters$"),
    ({"inputs": None}, r"\(Mine\) has no inputs$"),
    ({"outputs": None}, r"\(Mine\) has no outputs$"),
    ({"forward": None}, r"\(Mine\) has no forward$"),
    ({"backward": None}, r"\(Mine\) has no backward$"),
    (
        {"inputs": 2.5},
        r"^inputs of .*\(Mine\) = 2\.5: give a whole number, at least 1$",
    ),
    ({"outputs": 0}, r"^outputs of .*\(Mine\) = 0: give a whole number, at least 1$"),
    ({"inputs": "3"}, r"^inputs of .*\(Mine\) = '3': give a whole number"),
    ({"shapes": [(3, 3)]}, r"^shapes of .*\(Mine\) is \[\(3, 3\)\]: give a dictionary"),
    (
        {"shapes": {"W": (9,)}},
        r"^block W of .*\(Mine\) has the shape \(9,\): give \(row",
    ),
    ({"shapes": {"W": 9}}, r"^block W of .*\(Mine\) has the shape 9: give \(rows, col"),
    ({"shapes": {"W": (1, 3, 3)}}, r"^block W of .* has the shape \(1, 3, 3\): give"),
    ({"shapes": {"W": (3.0, 3)}}, r"^block W of .* has the shape \(3\.0, 3\): give"),
    ({"shapes": {"W": (3, "3")}}, r"^block W of .* has the shape \(3, '3'\): give"),
    ({"shapes": {"W": (-3, 3)}}, r"^block W of .* has the shape \(-3, 3\): give"),
    ({"shapes": {"W": (3, 0)}}, r"^block W of .* has the shape \(3, 0\): give"),
    ({"inputs": True}, r"^inputs of .*\(Mine\) = True: give a whole number"),
    ({"forward": "W x"}, r"\(Mine\) has no forward$"),
]


@pytest.mark.parametrize(("parts", "words"), LAYERS)
def test_a_half_written_layer_is_named_in_training_and_in_tests(parts, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Network([layer(**parts), OutputLayer(3, 3)], 0)
    with pytest.raises((TypeError, ValueError), match=words):
        checks.layer_tests("mine", layer(**parts), np.ones((3, 8)), 0)


def test_only_tests_ask_for_the_forward_derivative(draw):
    network = Network([layer(jvp=None), OutputLayer(3, 4)], 0)
    assert network.gradient(*draw()).shape == network.parameters.shape
    with pytest.raises(
        TypeError, match=r"^layer 1 \(Mine\) has no jvp, which its tests"
    ):
        checks.network_tests("net", network, *draw(), 0)
    with pytest.raises(
        TypeError, match=r"^the layer \(Mine\) has no jvp, which its tes"
    ):
        checks.layer_tests("mine", layer(jvp=None), np.ones((3, 8)), 0)


def test_what_is_changed_in_place_says_what_to_write(blobs):
    data = replace(blobs(), Yt=np.ones((3, 100), "f4"), Yv=np.ones((3, 50), "f4"))
    network = Network([layer(forward=forward), OutputLayer(3, 3)], [0, 1])
    said = r"forward pass of layer 1 \(Mine\) .* write z = z \+ b, not z \+= b: a stack"
    with pytest.raises(ValueError, match=said):
        sgd.train(network, data, rng=0)


def wrong(what):
    """Return a layer's passes of which one, without a name of its own, is no pass."""
    return {
        "y alone": {"forward": lambda self, x, W: W @ x},
        "dx alone": {"backward": lambda self, kept, dy: kept[1].mT @ dy},
        "y": {"forward": lambda self, x, W: (np.full_like(x, np.nan), (x, W))},
        "dW": {
            "backward": lambda self, k, dy: (k[1].mT @ dy, (np.full((3, 3), np.inf),))
        },
        "written": {"forward": written},
    }[what]


def written(self, x, W):
    z = np.zeros((3, x.shape[-1]))
    z[...] = W @ x
    return z, (x, W)


PASSES = [
    ("y alone", 0, r"the forward pass of layer 1 \(Mine\) returns one ndarray: give"),
    ("dx alone", 0, r"the backward pass of layer 1 \(Mine\) returns one ndarray: giv"),
    ("y", 0, r"the output of layer 1 \(Mine\) is not finite for the first samples$"),
    ("dW", 0, r"the gradient of W of layer 1 \(Mine\) is not finite for the first s"),
    ("written", [0, 1], r"the forward pass of .* write z = z \+ b, not z \+= b: a sta"),
]


@pytest.mark.parametrize(("what", "seeds", "words"), PASSES)
def test_a_pass_is_named_before_anything_is_trained(draw, what, seeds, words):
    network = Network([layer(**wrong(what)), OutputLayer(3, 4)], seeds)
    with pytest.raises(ValueError, match=f"^{words}"):
        fit(network, *draw(m=16))


def test_the_checks_say_what_to_write_for_a_stack():
    with pytest.raises(ValueError, match=r"leading axes .* write z = z \+ b, not z"):
        checks.layer_tests("mine", layer(forward=forward), np.ones((3, 8)), 0)


def test_a_layer_that_is_not_finite_is_refused_by_its_tests_in_words():
    nan = layer(**wrong("y"))
    x, *_ = checks.layer_tests("mine", nan, np.ones((3, 8)), 0)
    assert x.verdict == "refused"
    assert "f is not finite" in x.reason


def test_a_network_without_blocks_trains(blobs):
    plain = {"shapes": {}, "forward": lambda self, x: (1 * x, None)}
    plain |= {"inputs": 2, "outputs": 2, "backward": lambda self, k, dy: (dy, ())}
    data = replace(blobs(), Ct=np.eye(2)[:, [0] * 100], Cv=np.eye(2)[:, [0] * 50])
    history = sgd.train(
        Network([layer(**plain)], 0), data, rng=0, epochs=1, progress=False
    )
    assert len(history["epoch"]) == 2


def test_a_loss_that_comes_later_is_met_too(blobs):
    network = Network([OutputLayer(2, 3)], 0)
    network.loss = Summed()
    with pytest.raises(ValueError, match=r"^the loss of some samples .* Summed must"):
        sgd.train(network, blobs(), rng=0)


@pytest.mark.parametrize("loss", [Summed(), SummedSquares()])
def test_a_loss_that_is_no_mean_is_named(loss):
    said = f"of the same twice over .*: {type(loss).__name__} must be the mean over"
    with pytest.raises(ValueError, match=said):
        Network([OutputLayer(3, 4)], 0, loss=loss)


# Settings -----------------------------------------------------------------------------

SETTINGS = [
    ({"schedule": lambda t: None}, r"^schedule\(0\) = None: give a finite number$"),
    ({"schedule": lambda t: np.nan}, r"^schedule\(0\) = nan: give a finite number$"),
    ({"schedule": lambda t: "fast"}, r"^schedule\(0\) = 'fast': give a finite number$"),
    (
        {"schedule": lambda t: 1 / (1 - t) if t < 0.5 else np.inf},
        r"^schedule\(0\.5\) = ",
    ),
    (
        {"schedule": lambda t: np.ones(2)},
        r"^schedule\(0\) = array.*give a finite number",
    ),
    ({"record": lambda *_: None}, r"^record returned None: give a dictionary"),
    ({"record": lambda *_: 0.5}, r"^record returned 0\.5: give a dictionary"),
    ({"record": lambda *_: {"x": None}}, r"^record returned x = None: give a number"),
    ({"record": lambda *_: {"x": "no"}}, r"^record returned x = 'no': give a number"),
    (
        {"record": lambda *_: {"x": np.ones(7)}},
        r"^record returned x = array.*give a num",
    ),
    ({"record": lambda *_: {"epoch": 1}}, r"^record returned .*names are not 'epoch'$"),
    ({"record": lambda *_: {"x": np.nan}}, r"^before anything is trained x is nan: "),
    (
        {"rng": [0, 1]},
        r"^rng is a list of 2 generators, but there is one network, no st",
    ),
    ({"rng": (0, 1)}, rf"^rng = \(0, 1\){NO_RNG}"),
    ({"rng": None}, f"^rng = None{NO_RNG}"),
    ({"schedule": lambda t: 1e39}, r"^schedule\(0\) = 1e\+39: give a finite number$"),
    ({"watch": 3}, "^watch = 3: give a function$"),
    ({"epochs": True}, "^epochs = True: give a whole number, at least 1$"),
    ({"epochs": None}, r"^epochs = None: give a whole number, at least 1$"),
    ({"batch_size": 64.0}, r"^batch_size = 64\.0: give a whole number, at least 1$"),
    ({"schedule": 0.5}, r"^schedule = 0\.5: give a function$"),
    ({"record": "loss"}, "^record = 'loss': give a function$"),
]


@pytest.mark.parametrize(("settings", "words"), SETTINGS)
def test_settings_are_refused_by_name(blobs, settings, words):
    network = Network([OutputLayer(2, 3)], 0)
    settings = {"rng": 0, "epochs": 4, "progress": False} | settings
    with pytest.raises(ValueError, match=words):
        sgd.train(network, blobs(), **settings)


LATER = [
    (None, r"^record returned None: give a dictionary"),
    ({"y": 1.0}, r"^record returned \['y'\], but \['epoch', 'x'\] before$"),
    ({"x": None}, r"^record returned x = None: give a number"),
    ({"x": np.ones(2)}, r"^record returned x = array.*give a number"),
    ({"x": np.nan}, r"^x is nan in epoch 1, but no parameter is beyond \d.*not at the"),
]


@pytest.mark.parametrize(("later", "words"), LATER)
def test_a_record_that_changes_is_named_and_the_rate_not_blamed(blobs, later, words):
    rows = iter([{"x": 1.0}, later])
    with pytest.raises((ValueError, ArithmeticError), match=words):
        sgd.train(
            Network([OutputLayer(2, 3)], 0),
            blobs(),
            rng=0,
            epochs=1,
            record=lambda *_: next(rows),
            progress=False,
        )


def test_parameters_that_are_not_finite_are_named(blobs):
    network = Network([OutputLayer(2, 3)], 0)
    network.parameters[4] = np.nan
    with pytest.raises(ValueError, match=r"^the parameters must be .*at \(4,\)$"):
        sgd.train(network, blobs(), rng=0)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "every"])
@pytest.mark.parametrize("value", [0, 2.5, "two"])
def test_counts_are_refused_by_name(blobs, name, value):
    said = f"^{name} = {value!r}: give a whole number, at least 1$"
    with pytest.raises(ValueError, match=said):
        sgd.train(Network([OutputLayer(2, 3)], 0), blobs(), rng=0, **{name: value})


@pytest.mark.parametrize("name", ["learning_rate", "momentum", "weight_decay"])
@pytest.mark.parametrize(
    "value", [None, "fast", np.nan, [], [0.1, np.inf], np.ones((2, 2)), 1j, [[0.1, 2]]]
)
def test_rates_are_refused_by_name(name, value):
    said = rf"(?s)^{name} = .*: give a finite number, or one for each replica$"
    with pytest.raises(ValueError, match=said):
        sgd.SGD(**{"learning_rate": 0.1, name: value})


def test_there_are_as_many_generators_as_replicas(blobs):
    network = Network([OutputLayer(2, 3)], [0, 1, 2])
    for seeds in ([0], [0, 1]):
        said = rf"^rng is a list of {len(seeds)} generators, but there are 3 replicas$"
        with pytest.raises(ValueError, match=said):
            sgd.train(network, blobs(), rng=seeds)


def test_a_network_without_parameters_says_what_it_lacks(draw, blobs):
    network, said = (
        Network([OutputLayer(3, 4)]),
        r"^the network has no parameters yet: ",
    )
    for use in (network.value, network.gradient, network.evaluate):
        with pytest.raises(ValueError, match=said):
            use(*draw())
    with pytest.raises(ValueError, match=said):
        sgd.train(Network([OutputLayer(2, 3)]), blobs(), rng=0)


def test_samples_of_a_run_are_judged_before_anything_is_trained(blobs):
    data = replace(blobs(), Ct=2 * blobs().Ct - 1)
    with pytest.raises(ValueError, match=r"^Ct must be one-hot"):
        run_all([Run("blobs")], {"blobs": data}, 1)


# Derivatives --------------------------------------------------------------------------


def square(X):
    return (X * X).sum(axis=-1)


@pytest.mark.parametrize("size", [1e12, 1e15, 1e16, 1e50, 1e100, 1e150])
@pytest.mark.parametrize("slope", [-2, 2, 1, 0])
def test_a_slope_lost_in_the_rounding_is_never_called_right(size, slope):
    x = size * np.random.default_rng(0).standard_normal(6)
    (test,) = checks.gradient_test(square, x, slope * x, 0, analytic=False)
    assert not test.passed or slope in {2, 0}
    assert slope == 0 or test.verdict == "refused"


def test_a_norm_at_zero_has_no_derivative_there():
    norm = partial(np.linalg.norm, axis=-1)
    for g in (np.zeros(4), np.ones(4)):
        taylor, _ = checks.gradient_test(norm, np.zeros(4), g, 0)
        assert taylor.verdict == "refused"
        assert "analytic=False is meant" in taylor.reason


ARGUMENTS = [
    (np.array([1.0, np.nan]), r"^x must be finite: NaN or infinite are 1 of .*\(1,\)$"),
    (np.array([1.0, 1j]), r"^x holds complex128: give real numbers$"),
    ([], r"^x of shape \(0,\) is empty: give samples$"),
    ("text", r"^x holds <U4: give real numbers$"),
]


@pytest.mark.parametrize(("x", "words"), ARGUMENTS)
def test_arguments_that_are_no_real_numbers_are_refused(x, words):
    with pytest.raises(ValueError, match=words):
        checks.gradient_test(square, x, np.ones(2), 0)
    with pytest.raises(ValueError, match=words):
        checks.layer_tests("mine", HiddenLayer(2, 3), x, 0)
    with pytest.raises(ValueError, match=words.replace("x ", "W ")):
        checks.gradient_tests("f", square, lambda W: (2 * W,), {"W": x}, 0)


def test_a_list_and_a_seed_are_converted():
    for x in ([1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3], np.int8)):
        tests = checks.gradient_test(square, x, [2.0, 4.0, 6.0], 5)
        assert all(test.passed for test in tests)
    found = checks.layer_tests("mine", HiddenLayer(2, 3), [[1, 2], [3, 4]], 0)
    assert all(test.passed for test in found)
    double = partial(np.multiply, 2)
    found = checks.jacobian_test(double, [1, 2], double, double, np.ones(2), 0)
    assert all(test.passed for test in found)


@pytest.mark.parametrize("given", [HiddenLayer, Tanh(), None, "tanh"])
def test_what_is_no_layer_is_named(given):
    with pytest.raises(
        TypeError, match=r"^the layer is .*: give an instance of a class"
    ):
        checks.layer_tests("mine", given, np.ones((2, 3)), 0)


def test_samples_drawn_anew_are_judged_whenever_they_are_drawn(blobs):
    class Drawn(SimpleNamespace):
        draws = 0

        def draw(self):
            self.draws += 1
            return self.X if self.draws < 3 else self.X * np.nan

        Yt = property(draw)

    data, network = plain(blobs), Network([OutputLayer(2, 3)], 0)
    parts = {"X": data.Yt, "Ct": data.Ct, "Yv": data.Yv, "Cv": data.Cv}
    with pytest.raises(
        ValueError, match=r"^Yt must be finite: NaN or infinite are 200"
    ):
        sgd.train(network, Drawn(**parts), rng=0, record=lambda *_: {}, progress=False)
    assert np.isfinite(network.parameters).all()
