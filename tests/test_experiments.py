"""Runs: pairing, replicas, processes, and the tables made of their results."""

from dataclasses import replace

import joblib
import numpy as np
import pytest
from scipy import stats

from helpers import experiments, sgd
from helpers.experiments import ARCHITECTURES, Result, Run, perform, run_all, summary
from helpers.losses import LeastSquares
from helpers.network import Network

ARCHITECTURE = pytest.mark.parametrize("architecture", ARCHITECTURES)


@pytest.fixture
def data(blobs):
    return blobs()


def run(data, **settings):
    return run_all([Run("blobs", **{"epochs": 3, **settings})], {"blobs": data}, 1)[0]


def assert_equal(one, two, tolerance=0):
    for a, b in zip(
        [one.network.parameters, *one.history.values()],
        [two.network.parameters, *two.history.values()],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@ARCHITECTURE
@pytest.mark.parametrize(("n", "c"), [(2, 2), (2, 5), (5, 3), (11, 7)])
def test_every_architecture_fits_any_features_and_classes(draw, architecture, n, c):
    X, C = draw(features=n, classes=c)
    network = Network(ARCHITECTURES[architecture](n, c), np.random.default_rng(0))
    assert network.forward(X)[0].shape == C.shape
    assert network.gradient(X, C).shape == network.parameters.shape


def test_the_five_architectures_have_the_parameters_their_names_say():
    sizes = {
        name: sum(Network(layers(2, 5)).sizes) for name, layers in ARCHITECTURES.items()
    }
    assert list(sizes.values()) == [15, 85, 195, 415, 745]


def test_processes_change_neither_numbers_nor_order(data):
    runs = [
        Run("blobs", "softmax", seeds=(0, 1), epochs=2),
        Run("other", "1 hidden + 3 ResNet", seeds=(0, 1), epochs=2),
        Run("blobs", "1 hidden", seeds=(2,), epochs=1, samples=40),
        Run("other", "softmax", seeds=(0, 1), epochs=2, schedule=sgd.step),
    ]
    sets = {"blobs": data, "other": replace(data, Yt=-data.Yt)}
    serial, parallel = (run_all(runs, sets, n_jobs) for n_jobs in (1, 2))
    assert [result.run.dataset for result in serial] == [r.dataset for r in runs]
    for one, two, asked in zip(serial, parallel, runs, strict=True):
        assert one.run == asked
        assert two.run.architecture == asked.architecture
        assert len(one.history["train_loss"]) == asked.epochs + 1
        assert_equal(one, two)


RUNS = [Run("blobs", name, seeds=(0, 1), epochs=2) for name in ("softmax", "1 hidden")]


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_any_backend_of_joblib_gives_the_same_numbers(data, backend):
    with joblib.parallel_config(backend=backend):
        results = run_all(RUNS, {"blobs": data}, n_jobs=2)
    for one, two in zip(results, run_all(RUNS, {"blobs": data}, 1), strict=True):
        assert one.run == two.run
        assert_equal(one, two)


def test_results_come_as_they_are_done_and_need_not_be_kept(data):
    stream = experiments.perform_all(RUNS, {"blobs": data}, n_jobs=1)
    number, result = next(stream)
    assert (number, result.run) == (1, RUNS[1])  # the deepest first
    assert [number for number, _ in stream] == [0]


RATES = (0.1, 1e30, 0.2)


def test_a_diverged_replica_is_frozen_and_named_and_the_others_go_on(data, capsys):
    settings = {"architecture": "1 hidden", "epochs": 4, "loss": LeastSquares()}
    stack = run(data, seeds=(3, 5, 8), learning_rate=RATES, **settings)
    assert stack.diverged() == {1: 1}
    said = "frozen as not finite, seed 5 at rate 1e+30 in epoch 1\n"
    assert capsys.readouterr().out == f"blobs, 1 hidden, batch size 64: {said}"
    first = Network(
        ARCHITECTURES["1 hidden"](2, 3), experiments.generators([5], "weights")
    )
    np.testing.assert_array_equal(stack.network.parameters[1], first.parameters[0])
    healthy = run(data, seeds=(3, 8), learning_rate=RATES[::2], **settings)
    assert healthy.diverged() == {}
    np.testing.assert_allclose(
        stack.network.parameters[::2], healthy.network.parameters, atol=1e-6
    )
    assert capsys.readouterr().out == ""


def test_all_frozen_replicas_of_a_stack_are_named_though_seeds_repeat(data):
    settings = {"epochs": 4, "loss": LeastSquares()}
    rates = (1e30, 0.1, 1e20)
    stack = run(data, seeds=(7, 7, 7), learning_rate=rates, **settings)
    told = "seed 7 at rate 1e+30 in epoch 1; seed 7 at rate 1e+20 in epoch 1"
    assert stack.frozen_replicas().endswith(told)


@pytest.mark.parametrize(("every", "epoch"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4)])
def test_the_epoch_of_divergence_counts_epochs_not_records(data, every, epoch):
    settings = {"epochs": 4, "every": every, "loss": LeastSquares()}
    stack = run(data, seeds=(0, 1), learning_rate=(1e30, 0.1), **settings)
    assert stack.diverged() == {0: epoch}


@pytest.mark.parametrize("samples", [None, 40])
def test_architectures_of_equal_seeds_are_trained_on_equal_minibatches(
    data, monkeypatch, samples
):
    seen = []

    def spy(network, data, *, rng, batch_size, **settings):
        batches = list(sgd.minibatches(data.Yt, data.Ct, batch_size, rng))
        seen.append(np.concatenate([np.concatenate(b, axis=1) for b in batches], -1))
        return {}

    monkeypatch.setattr(experiments.sgd, "train", spy)
    for architecture in ARCHITECTURES:
        layers = ARCHITECTURES[architecture](2, 3)
        settings = {"seeds": (3, 8), "samples": samples}
        perform(Run("blobs", architecture, **settings), layers, data)
    assert seen[0].shape == (2, 5, samples or 100)
    assert all(np.array_equal(seen[0], other) for other in seen[1:])
    assert not np.array_equal(*seen[0])


def test_samples_draws_other_training_points_for_every_seed(data):
    drawn = experiments.drawn(data, 40, (0, 1, 0))
    assert drawn.Yt.shape == (3, 2, 40)
    assert drawn.Ct.shape == (3, 3, 40)
    assert drawn.Yv is data.Yv
    columns = {(*y, *c) for y, c in zip(data.Yt.T, data.Ct.T, strict=True)}
    sets = [
        {(*y, *c) for y, c in zip(Y.T, C.T, strict=True)}
        for Y, C in zip(drawn.Yt, drawn.Ct, strict=True)
    ]
    assert all(len(some) == 40 and some < columns for some in sets)
    assert sets[0] == sets[2] != sets[1]


@pytest.mark.parametrize("samples", [None, 40])
def test_tuples_give_each_replica_its_own_settings(data, samples):
    settings = {
        "learning_rate": (0.1, 0.3),
        "momentum": (0.9, 0.0),
        "weight_decay": (0.0, 0.01),
    }
    shared = {"architecture": "2 hidden", "samples": samples}
    stack = run(data, seeds=(5, 6), **shared, **settings)
    for r, seed in enumerate((5, 6)):
        own = {name: values[r] for name, values in settings.items()}
        single = run(data, seeds=(seed,), **shared, **own)
        part = Result(
            stack.run,
            stack.network.with_parameters(stack.network.parameters[[r]]),
            {name: values[:, [r]] for name, values in stack.history.items()},
        )
        assert_equal(part, single, 1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.05},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"batch_size": 50},
        {"schedule": sgd.constant},
        {"loss": LeastSquares()},
        {"samples": 50},
        {"seeds": (1,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_training(data, change):
    base, other = run(data), run(data, **change)
    assert not np.allclose(base.network.parameters, other.network.parameters, atol=1e-4)


def test_a_replica_depends_on_its_seed_alone(data):
    wide, narrow = run(data, seeds=(4, 9, 2)), run(data, seeds=(9,))
    np.testing.assert_allclose(
        wide.network.parameters[1], narrow.network.parameters[0], atol=1e-6
    )
    assert len({tuple(p) for p in wide.network.parameters}) == 3


def test_weights_minibatches_and_training_points_are_drawn_independently():
    draws = [
        experiments.generators((7,), purpose)[0].normal()
        for purpose in ("weights", "minibatches", "training points")
    ]
    assert len(set(draws)) == 3


def test_runs_train_in_float32(data):
    result = run(data, seeds=(0, 1), learning_rate=(0.1, 0.2))
    assert result.network.parameters.dtype == np.float32
    assert experiments.per_replica((0.1, 0.2)).dtype == np.float32
    assert type(experiments.per_replica(np.float64(0.1))) is float
    assert result.history["train_loss"].shape == (4, 2)


def test_summary_is_the_mean_and_sd_of_the_last_epoch(data):
    results = [
        run(data, architecture=a, seeds=(0, 1, 2)) for a in ("softmax", "1 hidden")
    ]
    table = summary(results)
    assert table["network"].tolist() == ["softmax", "1 hidden"]
    assert table["parameters"].tolist() == [9, 63]
    assert table["replicas"].tolist() == [3, 3]
    for row, result in zip(table.to_dict("records"), results, strict=True):
        for part, Y, C in (
            ("train", data.Yt, data.Ct),
            ("validation", data.Yv, data.Cv),
        ):
            percent = 100 * result.network.evaluate(Y, C)[1]
            assert row[part] == pytest.approx(np.mean(percent))
            assert row[f"{part} sd"] == pytest.approx(np.std(percent, ddof=1))


def test_the_sd_of_one_replica_is_unknown(data):
    table = summary([run(data)])
    assert np.isnan(table["train sd"][0])
    assert table["train"][0] > 0


def faked(*finals):
    names = ("train_accuracy", "validation_accuracy")
    history = {name: np.array([v, v]) for name, v in zip(names, finals, strict=True)}
    return Result(Run("blobs"), None, history)


def test_intervals_are_students_paired_over_the_seeds():
    train, one, other = np.random.default_rng(0).random((3, 6))
    low, high = stats.t.interval(
        0.95, 5, np.mean(100 * (one - other)), stats.sem(100 * (one - other))
    )
    found = experiments.paired_difference(faked(train, one), faked(train, other))
    assert found == pytest.approx((100 * np.mean(one - other), low, high))
    gap = experiments.gap(faked(train, one))
    assert gap[0] == pytest.approx(100 * np.mean(train - one))
    assert gap[2] - gap[1] == pytest.approx(
        2 * stats.t.ppf(0.975, 5) * stats.sem(100 * (train - one))
    )


def test_averaged_accuracy_is_that_of_the_mean_probabilities(data):
    result = run(data, seeds=(0, 1, 2), epochs=1, learning_rate=0.01)
    singles = [
        result.network.with_parameters(p).probabilities(data.Yv)
        for p in result.network.parameters
    ]
    right = np.mean(singles, axis=0).argmax(axis=0) == data.Cv.argmax(axis=0)
    assert experiments.averaged_accuracy(result, data) == pytest.approx(right.mean())
