"""Optimiser, schedules, minibatches and the training loop, against plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import sgd
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.losses import LeastSquares
from helpers.network import Network


def rngs(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def numbered(m, replicas=()):
    """Return X and C whose columns carry the number of their sample."""
    X = np.broadcast_to(np.arange(m), (*replicas, 2, m))
    return X, -X[..., :1, :]


def epoch(X, C, batch_size, rng):
    batches = list(sgd.minibatches(X, C, batch_size, rng))
    return batches, np.concatenate([x for x, _ in batches], axis=-1)


@pytest.mark.parametrize(("m", "batch_size"), [(10, 3), (12, 4), (5, 8), (7, 1)])
@pytest.mark.parametrize("replicas", [(), (2,)])
@pytest.mark.parametrize("own", [False, True], ids=["one order", "an order each"])
def test_an_epoch_holds_every_sample_once(m, batch_size, replicas, own):
    rng = rngs(0, 1) if own else np.random.default_rng(0)
    batches, order = epoch(*numbered(m, replicas), batch_size, rng)
    sizes = [x.shape[-1] for x, _ in batches]
    assert sizes == [batch_size] * (m // batch_size) + [m % batch_size] * (
        m % batch_size > 0
    )
    assert (np.sort(order) == np.arange(m)).all()
    assert all((x[..., :1, :] == -c).all() for x, c in batches)
    assert order.shape == ((2, 2, m) if own or replicas else (2, m))


def test_orders_are_shuffled_and_differ_between_replicas_and_epochs():
    X, C = numbered(50)
    rng = rngs(0, 1)
    first, second = (epoch(X, C, 8, rng)[1][:, 0] for _ in range(2))
    orders = [np.arange(50), *first, *second]
    assert len({tuple(order) for order in orders}) == 5


@pytest.mark.parametrize("replicas", [(), (2,)])
def test_the_order_is_the_generators(replicas):
    X, C = numbered(20, replicas)
    expected = np.stack([rng.permutation(20) for rng in rngs(3, 4)])
    _, order = epoch(X, C, 6, rngs(3, 4))
    np.testing.assert_array_equal(order[:, 0], expected)
    _, order = epoch(X, C, 6, np.random.default_rng(3))
    np.testing.assert_array_equal(order[..., 0, :].reshape(-1, 20)[0], expected[0])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_sgd_is_pytorchs_documented_rule(momentum, weight_decay):
    rng = np.random.default_rng(0)
    theta = start = rng.normal(size=5)
    gradients, factors = rng.normal(size=(6, 5)), np.linspace(1, 0.1, 6)
    gradients.setflags(write=False)
    for t, factor in enumerate(factors):
        g = gradients[t]
        if weight_decay != 0:
            g = g + weight_decay * theta
        if momentum != 0:
            b = momentum * b + g if t > 0 else g  # noqa: F821
            g = b
        theta = theta - 0.3 * factor * g
    parameters, optimizer = start.copy(), sgd.SGD(0.3, momentum, weight_decay)
    for g, factor in zip(gradients, factors, strict=True):
        optimizer.update(parameters, g, factor)
    np.testing.assert_allclose(parameters, theta, rtol=1e-14)


def test_an_update_without_a_factor_takes_the_whole_learning_rate():
    parameters = np.array([1.0, 2.0])
    sgd.SGD(0.5).update(parameters, np.array([1.0, -2.0]))
    assert parameters.tolist() == [0.5, 3]


def test_each_replica_of_a_stack_can_have_its_own_rate_momentum_and_decay():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 5)), rng.normal(size=(6, 2, 5))
    settings = np.array([[0.3, 0.0, 0.01], [0.1, 0.9, 0.0]])
    stack, optimizer = start.copy(), sgd.SGD(*settings.T[..., None])
    for g in gradients:
        optimizer.update(stack, g)
    for r in range(2):
        one, alone = start[r].copy(), sgd.SGD(*settings[r])
        for g in gradients:
            alone.update(one, g[r])
        np.testing.assert_allclose(stack[r], one, rtol=1e-14)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (sgd.constant, [1, 1, 1, 1, 1]),
        (sgd.step, [1, 1, 0.1, 0.01, 0.01]),
        (sgd.inverse, [1, 1 / 26, 1 / 51, 1 / 76, 1 / 101]),
        (sgd.cosine, [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]),
    ],
)
def test_schedules_at_every_quarter(schedule, factors):
    values = [schedule(quarter / 4) for quarter in range(5)]
    assert values == pytest.approx(factors, abs=1e-15)


def test_steps_are_taken_at_their_quarter_and_not_before():
    assert [sgd.step(progress) for progress in (0.499, 0.749)] == [1, 0.1]


def least_squares_problem(dtype=float):
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(3, 60)), 0.1 * rng.normal(size=(2, 60))
    C = rng.normal(size=(2, 3)) @ X + 0.5 + noise
    return SimpleNamespace(Yt=X.astype(dtype), Ct=C.astype(dtype))


def loss_only(network, data):
    return {"loss": network.value(data.Yt, data.Ct)}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_on_least_squares_ends_at_lstsq(momentum):
    data = least_squares_problem()
    layers, rng = [OutputLayer(3, 2)], np.random.default_rng(0)
    network = Network(layers, rng, dtype=float, loss=LeastSquares())
    settings = {"epochs": 300, "momentum": momentum, "schedule": sgd.cosine}
    history = sgd.train(
        network, data, rng=rng, record=loss_only, progress=False, **settings
    )
    A = np.vstack([data.Yt, np.ones(60)]).T
    solution = np.linalg.lstsq(A, data.Ct.T)[0].T
    ((W, b),) = network.split(network.parameters)
    np.testing.assert_allclose(np.hstack([W, b]), solution, atol=1e-4)
    best = np.sum((A @ solution.T - data.Ct.T) ** 2) / 120
    assert history["loss"][-1] == pytest.approx(best, rel=1e-6)


LAYERS = [HiddenLayer(2, 6), ResNetLayer(6, 4), OutputLayer(6, 3)]
SETTINGS = {"epochs": 3, "batch_size": 16, "momentum": 0.9, "weight_decay": 1e-3}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_is_the_plain_loop_and_keeps_the_dtype(blobs, dtype):
    data = blobs(dtype=dtype)
    network = Network(LAYERS, np.random.default_rng(1), dtype=dtype)
    plain, rng = network.parameters.copy(), np.random.default_rng(2)
    velocity = np.zeros_like(plain)
    for t in range(3):
        order = rng.permutation(100)
        for start in range(0, 100, 16):
            some = order[start : start + 16]
            now = network.with_parameters(plain)
            g = now.gradient(data.Yt[:, some], data.Ct[:, some])
            velocity = 0.9 * velocity + g + 1e-3 * plain
            plain = plain - 0.2 * (1 + np.cos(np.pi * t / 3)) / 2 * velocity
    sgd.train(
        network,
        data,
        rng=np.random.default_rng(2),
        learning_rate=0.2,
        schedule=sgd.cosine,
        progress=False,
        **SETTINGS,
    )
    assert network.parameters.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(network.parameters, plain, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("own", [False, True], ids=["one X", "an X each"])
def test_a_trained_stack_equals_its_single_runs(blobs, dtype, own):
    sets = [blobs(seed=seed if own else 0, dtype=dtype) for seed in range(3)]
    data = sets[0]
    if own:
        data = SimpleNamespace(
            Yt=np.stack([s.Yt for s in sets]),
            Ct=np.stack([s.Ct for s in sets]),
            Yv=np.stack([s.Yv for s in sets]),
            Cv=np.stack([s.Cv for s in sets]),
        )
    stack = Network(LAYERS, rngs(0, 1, 2), dtype=dtype)
    history = sgd.train(stack, data, rng=rngs(3, 4, 5), progress=False, **SETTINGS)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for r in range(3):
        (rng, order), one = rngs(r, 3 + r), sets[r]
        network = Network(LAYERS, rng, dtype=dtype)
        single = sgd.train(network, one, rng=order, progress=False, **SETTINGS)
        np.testing.assert_allclose(
            stack.parameters[r], network.parameters, rtol=0, atol=tolerance
        )
        assert history["epoch"].tolist() == single.pop("epoch").tolist()
        for name, values in single.items():
            np.testing.assert_allclose(history[name][:, r], values, atol=tolerance)


@pytest.mark.parametrize("replicas", [None, 2])
def test_history_starts_with_the_untrained_network(blobs, replicas):
    data = blobs()
    rng = rngs(0, 1) if replicas else np.random.default_rng(0)
    network = Network(LAYERS, rng)
    before = network.with_parameters(network.parameters.copy())
    history = sgd.train(network, data, rng=rng, progress=False, **SETTINGS)
    shape = (4, replicas) if replicas else (4,)
    assert history.pop("epoch").tolist() == [0, 1, 2, 3]
    assert {values.shape for values in history.values()} == {shape}
    for row, net in ((0, before), (-1, network)):
        for part, X, C in (
            ("train", data.Yt, data.Ct),
            ("validation", data.Yv, data.Cv),
        ):
            loss, accuracy = net.evaluate(X, C)
            np.testing.assert_array_equal(history[f"{part}_loss"][row], loss)
            np.testing.assert_array_equal(history[f"{part}_accuracy"][row], accuracy)
    assert (history["train_loss"][-1] < history["train_loss"][0]).all()


def test_the_schedule_sees_each_epochs_progress(blobs):
    seen = []

    def spy(progress):
        seen.append(progress)
        return 1.0

    rng = np.random.default_rng(0)
    network = Network(LAYERS, rng)
    sgd.train(network, blobs(), rng=rng, epochs=4, schedule=spy, progress=False)
    assert seen == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("options", "bars"), [({}, 1), ({"progress": True}, 1), ({"progress": False}, 0)]
)
def test_a_bar_is_shown_unless_declined_and_obeys_tqdms_settings(
    blobs, monkeypatch, options, bars
):
    shown, rng = [], np.random.default_rng(0)

    def spy(count, **options):
        shown.append(options)
        return count

    monkeypatch.setattr(sgd, "tqdm", spy)
    sgd.train(Network(LAYERS, rng), blobs(), rng=rng, epochs=2, **options)
    assert shown == [{"unit": "epoch"}] * bars  # "disable" beats TQDM_DISABLE


def test_the_defaults_are_200_plain_epochs_of_64_samples_at_a_rate_of_a_tenth():
    data = least_squares_problem()
    data = SimpleNamespace(Yt=np.tile(data.Yt, 3), Ct=np.tile(data.Ct, 3))

    def train(**settings):
        rng = np.random.default_rng(0)
        network = Network([OutputLayer(3, 2)], rng, dtype=float)
        settings = {"record": loss_only, "progress": False, **settings}
        return sgd.train(network, data, rng=rng, **settings)["loss"]

    said = {"epochs": 200, "batch_size": 64, "learning_rate": 0.1, "every": 1}
    plain = {"momentum": 0, "weight_decay": 0, "schedule": lambda progress: 1}
    np.testing.assert_array_equal(train(), train(**said, **plain))


@pytest.mark.parametrize("name", ["epochs", "batch_size", "every"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "two"])
def test_counts_that_are_none_are_refused_by_name(blobs, name, value):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"{name} = {value!r}: give a whole number"):
        sgd.train(Network(LAYERS, rng), blobs(), rng=rng, **{name: value})


def diverge(rng, learning_rate, batch_size=60):
    network = Network([OutputLayer(3, 2)], rng, loss=LeastSquares())
    data = least_squares_problem(np.float32)
    settings = {"learning_rate": learning_rate, "batch_size": batch_size}
    settings |= {"epochs": 50, "record": loss_only, "progress": False}
    return sgd.train(network, data, rng=rng, **settings)["loss"]


def test_in_a_stack_only_the_diverged_replica_is_nan():
    rates = np.array([[0.1], [75]], np.float32)
    healthy, diverged = diverge(rngs(1, 0), rates).T
    assert healthy[-1] < healthy[0]
    first = np.isnan(diverged).argmax()
    assert first > 0
    assert np.isfinite(diverged[:first]).all()
    assert np.isnan(diverged[first:]).all()


def test_a_frozen_replica_keeps_its_last_finite_parameters_and_stays_frozen():
    """With a schedule that ends at zero it would come back to finite numbers."""
    rates, late = np.array([[0.1], [75]], np.float32), []

    def record(network, data):
        late.append(network.parameters.copy())
        return loss_only(network, data)

    network = Network([OutputLayer(3, 2)], rngs(1, 0), loss=LeastSquares())
    data = least_squares_problem(np.float32)
    settings = {"epochs": 50, "learning_rate": rates, "momentum": 0.5}
    history = sgd.train(
        network,
        data,
        rng=rngs(1, 0),
        schedule=lambda progress: float(progress < 0.9),
        record=record,
        progress=False,
        **settings,
    )["loss"]
    first = np.isnan(history[:, 1]).argmax()
    assert 1 < first < 45
    assert np.isnan(history[first:, 1]).all()
    np.testing.assert_array_equal(network.parameters[1], late[first - 1][1])
    assert np.isfinite(network.parameters).all()
    assert (network.parameters[0] != late[first - 1][0]).all()


def test_a_single_network_that_diverges_says_when_and_at_which_rate():
    first = np.isnan(diverge(rngs(0), 75.0)).argmax()
    message = f"in epoch {first} at learning rate 75: try a smaller"
    for rate in (75.0, np.array([75.0])):
        with pytest.raises(sgd.DivergenceError, match=message):
            diverge(np.random.default_rng(0), rate)


def test_what_overflows_within_an_epoch_diverges_without_a_warning():
    """The next minibatch then makes ∞ − ∞, which NumPy calls invalid."""
    assert np.isnan(diverge(rngs(0), 1e30, batch_size=8)[1:]).all()


def test_every_skips_records_but_never_the_last(blobs):
    data, settings = blobs(), {**SETTINGS, "epochs": 5}

    def losses(every):
        rng = np.random.default_rng(0)
        network = Network(LAYERS, rng)
        history = sgd.train(
            network, data, rng=rng, every=every, progress=False, **settings
        )
        return history["train_loss"], history["epoch"].tolist()

    for every, rows in ((2, [0, 2, 4, 5]), (3, [0, 3, 5])):
        found, epochs = losses(every)
        assert epochs == rows
        np.testing.assert_array_equal(found, losses(1)[0][rows])
