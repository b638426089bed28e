"""Runs: pairing, replicas, processes, and what is refused before anything runs."""

import math
from dataclasses import replace

import joblib
import numpy as np
import pytest

from helpers import experiments, sgd
from helpers.architectures import ARCHITECTURES
from helpers.experiments import Result, Run, perform, run_all
from helpers.layers import HiddenLayer, Layer, OutputLayer, Tanh
from helpers.losses import LeastSquares, softmax
from helpers.network import Network


@pytest.fixture
def data(blobs):
    return blobs()


def run(data, **settings):
    return run_all([Run("blobs", **{"epochs": 3, **settings})], {"blobs": data}, 1)[0]


def assert_equal(one, two, tolerance=0):
    np.testing.assert_array_equal(one.history["epoch"], two.history["epoch"])
    for a, b in zip(
        [one.network.parameters, *one.history.values()],
        [two.network.parameters, *two.history.values()],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


RUNS = [
    Run("blobs", "softmax", seeds=(0, 1), epochs=2),
    Run("other", "1 hidden + 3 ResNet", seeds=(0, 1), epochs=2, schedule=sgd.step),
]


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_any_backend_of_joblib_gives_the_same_numbers_in_order(data, backend):
    sets = {"blobs": data, "other": replace(data, Yt=-data.Yt)}
    with joblib.parallel_config(backend=backend):
        results = run_all(RUNS, sets, n_jobs=2)
    for one, two, asked in zip(results, run_all(RUNS, sets, 1), RUNS, strict=True):
        assert one.run == two.run == asked
        assert_equal(one, two)
        one.network.parameters[:] = 0  # it can be trained on, wherever it comes from
        assert not one.network.scores(data.Yv).any()


def test_results_come_as_they_are_done_and_need_not_be_kept(data):
    stream = experiments.perform_all(RUNS, {"blobs": data, "other": data}, n_jobs=1)
    number, result = next(stream)
    assert (number, result.run) == (1, RUNS[1])  # the deepest first
    assert [number for number, _ in stream] == [0]


def test_architectures_may_be_given(data):
    given = {"softmax": lambda n, c: [HiddenLayer(n, 7), OutputLayer(7, c)]}
    results = run_all(RUNS[:1], {"blobs": data}, 1, architectures=given)
    ((_, streamed),) = experiments.perform_all(RUNS[:1], {"blobs": data}, 1, given)
    assert_equal(results[0], streamed)
    assert results[0].network.parameters.shape == (2, 7 * 2 + 7 + 3 * 7 + 3)


def test_a_diverged_replica_is_frozen_and_named_and_the_others_go_on(data, capsys):
    settings = {"architecture": "1 hidden", "epochs": 4, "loss": LeastSquares()}
    stack = run(data, seeds=(3, 5, 8), learning_rate=(0.1, 1e30, 0.2), **settings)
    said = "frozen as not finite, seed 5 at rate 1e+30 by epoch 1\n"
    name = "blobs, 1 hidden, LeastSquares, batch size 64"
    assert capsys.readouterr().out == f"{name}: {said}"
    rngs = experiments.generators([5], "weights")
    first = Network(ARCHITECTURES["1 hidden"](2, 3), rngs)
    np.testing.assert_array_equal(stack.network.parameters[1], first.parameters[0])
    healthy = run(data, seeds=(3, 8), learning_rate=(0.1, 0.2), **settings)
    np.testing.assert_allclose(
        stack.network.parameters[::2], healthy.network.parameters, atol=1e-6
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("every", "epoch"), [(1, 1), (3, 3), (5, 4)])
def test_all_complaint_are_named_by_their_epoch_though_seeds_repeat(data, every, epoch):
    settings = {"epochs": 4, "every": every, "loss": LeastSquares()}
    stack = run(data, seeds=(7, 7, 7), learning_rate=(1e30, 0.1, 1e20), **settings)
    first, second = (f"seed 7 at rate {r} by epoch {epoch}" for r in ("1e+30", "1e+20"))
    assert stack.complaint().endswith(f"not finite, {first}; {second}")


def test_divergence_is_seen_in_whatever_is_recorded():
    history = {"epoch": np.arange(2), "distance": np.array([[1.0, 1], [2, np.nan]])}
    result = Result(Run("blobs", seeds=(3, 4)), None, history)
    assert result.complaint().endswith(", seed 4 at rate 0.1 by epoch 1")


@pytest.mark.parametrize("samples", [None, 40])
def test_architectures_of_equal_seeds_are_trained_on_equal_minibatches(
    data, monkeypatch, samples
):
    seen = []

    def spy(network, data, optimizer, *, rng, batch_size, **settings):
        batches = list(sgd.minibatches(data.Yt, data.Ct, batch_size, rng))
        seen.append(np.concatenate([np.concatenate(b, axis=1) for b in batches], -1))
        return {}

    monkeypatch.setattr(experiments.sgd, "train", spy)
    for name, layers in ARCHITECTURES.items():
        few = experiments.draw_samples(data, samples, (3, 8)) if samples else data
        perform(0, Run("blobs", name, seeds=(3, 8)), layers(2, 3), few, None)
    assert seen[0].shape == (2, 5, samples or 100)
    assert all(np.array_equal(seen[0], other) for other in seen[1:])
    assert not np.array_equal(*seen[0])


def test_networks_learn_from_the_samples_drawn_for_their_replica(data):
    drawn = experiments.draw_samples(data, 40, (7, 8, 7))
    assert drawn.Yt.shape == (3, 2, 40)
    assert drawn.Yv is data.Yv
    assert np.array_equal(drawn.Yt[0], drawn.Yt[2])
    assert not np.array_equal(drawn.Yt[0], drawn.Yt[1])
    settings = {"architecture": "1 hidden", "epochs": 2}
    stack = run(drawn, seeds=(3, 4, 5), **settings)
    for r, seed in enumerate((3, 4)):
        one = replace(data, Yt=drawn.Yt[r], Ct=drawn.Ct[r])
        single = run(one, seeds=(seed,), **settings)
        np.testing.assert_array_equal(
            stack.network.parameters[[r]], single.network.parameters
        )


def test_gradient_norms_are_those_of_the_formulas_layer_by_layer(blobs):
    """softmax(W₂ tanh(W₁ X + b₁) + b₂), differentiated by hand, for two replicas."""
    data = blobs(m=1200, dtype=float)
    layers = [HiddenLayer(2, 4), OutputLayer(4, 3)]
    rngs = experiments.generators([0, 1], "weights")
    network = Network(layers, rngs, dtype=float)
    norms = experiments.gradient_norms(network, data)
    X, C = data.Yt[:, ::2], data.Ct[:, ::2]  # 600 of 1200, at most 1000
    for r, blocks in enumerate(network.parameters):
        W1, b1, W2, b2 = np.split(blocks, [8, 12, 24])
        W1, W2 = W1.reshape(4, 2), W2.reshape(3, 4)
        H = np.tanh(W1 @ X + b1[:, None])
        G2 = (softmax(W2 @ H + b2[:, None]) - C) / 600
        G1 = (W2.T @ G2) * (1 - H**2)
        for name, G, x in (("layer 1", G1, X), ("layer 2", G2, H)):
            expected = np.hypot(np.linalg.norm(G @ x.T), np.linalg.norm(G.sum(axis=1)))
            assert norms[name][r] == pytest.approx(expected, rel=1e-12)
    others = sgd.evaluation(network, data)
    assert list(norms) == [*others, "layer 1", "layer 2"]
    assert all(np.array_equal(norms[name], others[name]) for name in others)


def test_a_run_records_what_it_is_told_to(data):
    settings = {"architecture": "2 hidden", "seeds": (0, 1)}
    plain, told = (
        run(data, **settings),
        run(data, record=experiments.gradient_norms, **settings),
    )
    assert list(told.history) == [*plain.history, "layer 1", "layer 2", "layer 3"]
    assert told.history["layer 3"].shape == (4, 2)
    assert (told.history["layer 3"] > 0).all()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"seeds": (0, 1, 2), "momentum": (0.1, 0.2)},
            "momentum has 2 entries, but there are 3 seeds: one replica has one",
        ),
        ({"seeds": ()}, r"seeds = \(\): give whole numbers"),
        ({"seeds": 3}, "seeds = 3: give whole numbers"),
        ({"epochs": -3}, "epochs = -3: give a whole number, at least 1"),
        ({"batch_size": 0}, "batch_size = 0: give a whole number, at least 1"),
        ({"every": 0}, "every = 0: give a whole number, at least 1"),
        ({"schedule": "cosine"}, "schedule = 'cosine': give a function"),
        ({"record": "loss"}, "record = 'loss': give a function"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast': give a finite number"),
        ({"momentum": math.nan}, "momentum = nan: give a finite number"),
        ({"weight_decay": [[0.1, 0.2]]}, "weight_decay = .*: give a finite number"),
    ],
)
def test_settings_that_are_none_are_refused_where_they_are_given(wrong, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Run("blobs", **wrong)


def test_another_optimizer_takes_the_place_of_sgd_and_has_its_own_settings(data):
    slow, fast = (run(data, optimizer=sgd.SGD(rate)) for rate in (0.01, 0.1))
    plain = run(data, learning_rate=0.1, momentum=0.0)
    assert_equal(fast, plain)
    assert (slow.network.parameters != fast.network.parameters).any()
    with pytest.raises(ValueError, match=r"weight_decay are SGD's: give those of the"):
        Run("blobs", optimizer=sgd.SGD(0.1), momentum=0.5)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_a_sequence_of_settings_may_be_of_any_kind(kind):
    rates = {"learning_rate": kind([0.1, 0.2]), "seeds": kind([4, 5])}
    given = Run("blobs", epochs=1, **rates)
    assert given == Run("blobs", epochs=1, learning_rate=(0.1, 0.2), seeds=(4, 5))
    assert hash(given) is not None


LAYERS = {
    "softmax": ARCHITECTURES["softmax"],
    "lone": OutputLayer,
    "list": [OutputLayer(2, 3)],
    "features": lambda n, c: [HiddenLayer(7, 5), OutputLayer(5, c)],
    "classes": lambda n, c: [HiddenLayer(n, 5), OutputLayer(5, 10)],
}
NO_RUNS = [
    ([Run("blob")], r"no dataset 'blob', only blobs, drawn\. Did you mean 'blobs'\?$"),
    (
        [Run("blobs", "class")],
        r"no architecture 'class', .*\. Did you mean 'classes'\?$",
    ),
    ([Run("blobs", "lone")], "^architecture 'lone': give a function of the numbers"),
    ([Run("blobs", "list")], "^architecture 'list': give a function of the numbers"),
    (
        [Run("blobs", "x")],
        r"^there is no architecture 'x', only softmax, .*, features, classes\.$",
    ),
    (Run("blobs"), r"^runs is a single Run: give a list, \[run\]"),
    (
        [Run("drawn", seeds=(1, 2))],
        "^dataset 'drawn' has samples for 1 replicas, but there are 2 seeds$",
    ),
    *(([Run("blobs", wrong)], wrong) for wrong in ("features", "classes")),
]


@pytest.mark.parametrize(("runs", "sentence"), NO_RUNS)
def test_what_cannot_be_run_is_told_before_anything_is_sent_out(
    data, monkeypatch, runs, sentence
):
    monkeypatch.setattr(experiments, "perform_jobs", None)
    sets = {"blobs": data, "drawn": experiments.draw_samples(data, 9, (0,))}
    with pytest.raises(ValueError, match=sentence):
        run_all(runs, sets, architectures=LAYERS)


def test_a_layer_without_parameters_has_no_gradient_norm(data):
    """An activation layer has no parameters; the others keep their numbers."""

    class Activation(Layer):
        inputs, outputs, shapes = 4, 4, {}

        def forward(self, x):
            return np.tanh(x), np.tanh(x)

        def backward(self, kept, dy):
            return (1 - kept**2) * dy, ()

    layers = [OutputLayer(2, 4), Activation(), OutputLayer(4, 3)]
    network = Network(layers, experiments.generators([0, 1], "weights"), dtype=float)
    same = Network([HiddenLayer(2, 4), OutputLayer(4, 3)])
    same.parameters = network.parameters
    norms = experiments.gradient_norms(network, data)
    expected = experiments.gradient_norms(same, data)
    np.testing.assert_allclose(norms["layer 3"], expected["layer 2"])
    assert [*norms][4:] == ["layer 1", "layer 3"]


def test_tuples_give_each_replica_its_own_settings_and_numbers_of_its_seed(data):
    settings = {
        "seeds": (5, 6),
        "learning_rate": (0.1, 0.3),
        "momentum": (0.9, 0.0),
        "weight_decay": (0.0, 0.01),
    }
    stack = run(data, architecture="2 hidden", **settings)
    assert stack.network.parameters.dtype == np.float32
    for r in range(2):
        own = {name: values[r] for name, values in settings.items()}
        own["seeds"] = (own["seeds"],)
        single = run(data, architecture="2 hidden", **own)
        parameters = stack.network.parameters[[r]]
        part = {
            name: v if name == "epoch" else v[:, [r]]
            for name, v in stack.history.items()
        }
        network = stack.network.with_parameters(parameters)
        assert_equal(Result(stack.run, network, part), single, 1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.05},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"batch_size": 50},
        {"schedule": sgd.constant},
        {"loss": LeastSquares()},
        {"seeds": (1,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_training(data, change):
    base, other = run(data), run(data, **change)
    assert not np.allclose(base.network.parameters, other.network.parameters, atol=1e-4)


def test_runs_by_key_give_results_by_key(data):
    runs = {name: Run("blobs", name, epochs=1) for name in ("1 hidden", "softmax")}
    found = run_all(runs, {"blobs": data}, 1)
    assert [*found] == [*runs]
    assert all(found[key].run is runs[key] for key in runs)


def test_weights_minibatches_and_training_points_are_drawn_independently():
    draws = [
        experiments.generators((7,), purpose)[0].normal()
        for purpose in ("weights", "minibatches", "training points")
    ]
    assert len(set(draws)) == 3


def test_runs_train_in_float32_whatever_the_type_of_their_settings(data):
    found = run(data, learning_rate=np.float64(0.1), momentum=np.array([0.5]))
    assert type(found.run.learning_rate) is float
    assert found.network.parameters.dtype == np.float32


@pytest.mark.parametrize(
    ("accuracies", "failed"),
    [
        ([0.9, 0.95, 0.71], [False, False, False]),
        ([0.9, 0.95, 0.69], [False, False, True]),
        ([0.9, np.nan, 0.91], [False, True, False]),
        ([np.nan, np.nan], [True, True]),
        ([0.2], [False]),
    ],
)
def test_failed_is_frozen_or_twenty_points_below_the_median(accuracies, failed):
    history = {"epoch": [0], "train_accuracy": np.array([accuracies])}
    assert Result(None, None, history).failed().tolist() == failed


def replaced(self, z):
    """Take the place of tanh in this process alone."""
    return 0 * z


def test_workers_perform_the_code_of_this_process(data, monkeypatch):
    """Also what is replaced or reloaded after they have started."""
    runs = [Run("blobs", "1 hidden", seeds=(s,), epochs=1) for s in (0, 1)]
    before = run_all(runs, {"blobs": data}, 2)
    monkeypatch.setattr(Tanh, "__call__", replaced)
    after, here = (run_all(runs, {"blobs": data}, n) for n in (2, 1))
    for one, two, old in zip(after, here, before, strict=True):
        assert_equal(one, two)
        assert not np.array_equal(one.network.parameters, old.network.parameters)


def test_results_and_datasets_print_short(blobs):
    data = {"blobs": blobs()}
    (result,) = run_all([Run("blobs", "softmax", (0, 1), epochs=2)], data, 1)
    assert repr(data["blobs"]).endswith("samples, 2 features, 3 classes")
    assert repr(result).startswith("Result(blobs, softmax, epoch 2: loss ")
    assert repr(result).endswith("2 of 2 healthy)")


def test_a_stack_that_has_learnt_nothing_is_named(blobs, capsys):
    run = Run("blobs", "softmax", (0, 1), epochs=3, learning_rate=1e6)
    run_all([run], {"blobs": blobs()}, 1)
    said = "nothing learnt at rate 1e+06, the loss was "
    assert said in capsys.readouterr().out
    run_all([Run("blobs", "softmax", epochs=3)], {"blobs": blobs()}, 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seeds", [(), 3, ("a",), (0.5,)])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(ValueError, match="give whole numbers, one for each replica"):
        Run("blobs", seeds=seeds)
