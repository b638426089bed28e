"""Optimiser, schedules, minibatches and the training loop, against plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import sgd
from helpers.backstage.progress import Watch
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


@pytest.mark.parametrize(("m", "batch_size"), [(10, 3), (12, 4), (5, 8)])
@pytest.mark.parametrize("replicas", [(), (2,)])
@pytest.mark.parametrize("own", [False, True], ids=["one order", "an order each"])
def test_an_epoch_holds_every_sample_once_in_the_generators_order(
    m, batch_size, replicas, own
):
    rng = rngs(3, 4) if own else np.random.default_rng(3)
    batches, order = epoch(*numbered(m, replicas), batch_size, rng)
    starts = range(0, m, batch_size)
    assert [x.shape[-1] for x, _ in batches] == [min(batch_size, m - s) for s in starts]
    assert all((x[..., :1, :] == -c).all() for x, c in batches)
    expected = [rng.permutation(m) for rng in rngs(3, 4 if own else 3)]
    found = np.broadcast_to(order[..., 0, :], (2, m))
    np.testing.assert_array_equal(found, expected)
    assert order.shape == ((2, 2, m) if own or replicas else (2, m))


def test_orders_differ_between_replicas_and_epochs():
    rng = rngs(0, 1)
    first, second = (epoch(*numbered(50), 8, rng)[1][:, 0] for _ in range(2))
    assert len({tuple(order) for order in [np.arange(50), *first, *second]}) == 5


def test_an_update_is_the_formula_for_each_replica_of_a_stack():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 5)), rng.normal(size=(6, 2, 5))
    gradients.setflags(write=False)
    settings = np.array([[0.3, 0.0, 0.01], [0.1, 0.9, 0.0]])
    stack, optimizer = start.copy(), sgd.SGD(*settings.T[..., None])
    for g, factor in zip(gradients, np.linspace(1, 0.1, 6), strict=True):
        optimizer.update(stack, g, factor)
    for r, (rate, momentum, decay) in enumerate(settings):
        theta, velocity = start[r], 0
        for g, factor in zip(gradients[:, r], np.linspace(1, 0.1, 6), strict=True):
            velocity = momentum * velocity + g + decay * theta
            theta = theta - rate * factor * velocity
        np.testing.assert_allclose(stack[r], theta, rtol=1e-14)


def test_an_update_without_settings_takes_the_whole_learning_rate():
    parameters, optimizer = np.array([1.0, 2.0]), sgd.SGD(0.5)
    for _ in range(2):
        optimizer.update(parameters, np.array([1.0, -2.0]))
    assert parameters.tolist() == [0, 4]


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
    assert [sgd.step(progress) for progress in (0.499, 0.749)] == [1, 0.1]


def least_squares_problem(dtype=float):
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(3, 60)), 0.1 * rng.normal(size=(2, 60))
    C = rng.normal(size=(2, 3)) @ X + 0.5 + noise
    return SimpleNamespace(Yt=X.astype(dtype), Ct=C.astype(dtype))


def loss_only(network, data):
    return {"loss": network.value(data.Yt, data.Ct)}


LAYERS = [HiddenLayer(2, 6), ResNetLayer(6, 4), OutputLayer(6, 3)]
SETTINGS = {"epochs": 3, "batch_size": 16, "momentum": 0.9, "weight_decay": 1e-3}
kinds = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)]
)


def train(network, data, rng, **settings):
    own = ("momentum", "weight_decay")
    rate = settings.pop("learning_rate", 0.1)
    how = sgd.SGD(rate, **{n: settings.pop(n) for n in own if n in settings})
    return sgd.train(network, data, how, rng=rng, progress=False, **settings)


def softmax(seed=0, **options):
    """Return a small network and the generator that drew it."""
    rng = np.random.default_rng(seed)
    return Network([OutputLayer(2, 3)], rng, **options), rng


@kinds
def test_training_is_the_plain_loop_and_keeps_the_dtype(blobs, dtype, tolerance):
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
    settings = {"learning_rate": 0.2, "schedule": sgd.cosine, **SETTINGS}
    train(network, data, np.random.default_rng(2), **settings)
    assert network.parameters.dtype == dtype
    np.testing.assert_allclose(network.parameters, plain, atol=tolerance)


@kinds
@pytest.mark.parametrize("own", [False, True], ids=["one X", "an X each"])
def test_a_trained_stack_equals_its_single_runs(blobs, dtype, tolerance, own):
    sets = [blobs(seed=seed if own else 0, dtype=dtype) for seed in range(2)]
    data = sets[0]
    if own:
        parts = ("Yt", "Ct", "Yv", "Cv")
        stacks = {part: np.stack([getattr(s, part) for s in sets]) for part in parts}
        data = SimpleNamespace(**stacks)
    stack = Network(LAYERS, rngs(0, 1), dtype=dtype)
    history = train(stack, data, rngs(3, 4), **SETTINGS)
    for r in range(2):
        (rng, order), one = rngs(r, 3 + r), sets[r]
        network = Network(LAYERS, rng, dtype=dtype)
        single = train(network, one, order, **SETTINGS)
        np.testing.assert_allclose(
            stack.parameters[r], network.parameters, rtol=0, atol=tolerance
        )
        assert history["epoch"].tolist() == single.pop("epoch").tolist() == [0, 1, 2, 3]
        for name, values in single.items():
            np.testing.assert_allclose(history[name][:, r], values, atol=tolerance)


def test_whatever_has_parameters_and_a_gradient_can_be_trained(blobs):
    slope = SimpleNamespace(parameters=np.ones(1), gradient=lambda X, C: np.ones(1))
    settings = {"epochs": 2, "batch_size": 50, "learning_rate": 0.125}
    train(slope, blobs(), np.random.default_rng(0), record=lambda *_: {}, **settings)
    assert slope.parameters.tolist() == [0.5]


def test_single_precision_is_trained_by_the_engine(blobs, monkeypatch):
    data, network = blobs(), Network([HiddenLayer(2, 4), OutputLayer(4, 3)], 0)
    epoch = sgd.prepare_epoch(network, sgd.SGD(0.1), data.Yt, data.Ct, 64)
    before = network.parameters.copy()
    monkeypatch.setattr(Network, "gradient", None)
    epoch(data.Yt, data.Ct, np.random.default_rng(0), 1.0)
    assert (network.parameters != before).any()


def test_the_default_is_sgd_at_a_tenth_and_a_watch_is_told_of_the_network(blobs):
    plain, network, seen = softmax()[0], softmax()[0], []

    def watch(epoch, epochs, row, network):
        seen.append((epoch, epochs, row["train_loss"], network.parameters.copy()))

    history = sgd.train(plain, blobs(), rng=3, epochs=2, progress=False, watch=watch)
    sgd.train(network, blobs(), sgd.SGD(0.1), rng=3, epochs=2, progress=False)
    np.testing.assert_array_equal(plain.parameters, network.parameters)
    assert [told[:2] for told in seen] == [(1, 2), (2, 2)]
    assert [told[2] for told in seen] == history["train_loss"][1:].tolist()
    np.testing.assert_array_equal(seen[-1][3], network.parameters)


def test_history_starts_with_the_untrained_network(blobs):
    data, (network, rng) = blobs(), softmax()
    before = network.with_parameters(network.parameters.copy())
    history = train(network, data, rng, **SETTINGS)
    for row, net in ((0, before), (-1, network)):
        for part, *samples in (
            ("train", data.Yt, data.Ct),
            ("validation", data.Yv, data.Cv),
        ):
            for name, value in zip(
                ("loss", "accuracy"), net.evaluate(*samples), strict=True
            ):
                assert history[f"{part}_{name}"][row] == value
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_settings_may_come_in_any_form_that_has_one_number_for_each_replica():
    for rates in (
        [0.1, 0.2],
        (0.1, 0.2),
        np.array([0.1, 0.2]),
        np.array([[0.1], [0.2]]),
    ):
        assert np.allclose(sgd.SGD(rates).learning_rate, [[0.1], [0.2]])
    for one in (0.1, [0.1], np.array([[0.1]]), np.float64(0.1)):
        assert type(sgd.SGD(one).learning_rate) is float
    assert sgd.SGD(np.array([1, 2])).learning_rate.dtype == np.float32
    assert sgd.SGD(np.array([0.1, 0.2])).learning_rate.dtype == float


@pytest.mark.parametrize("dtype", [np.float32, float])  # by the engine, by NumPy
def test_an_optimizer_is_left_as_it_was_given(blobs, dtype):
    how, ends = sgd.SGD(0.1, 0.9), []
    for _ in range(2):
        network, rng = softmax(dtype=dtype)
        sgd.train(network, blobs(dtype=dtype), how, rng=rng, epochs=2, progress=False)
        ends.append(network.parameters)
    assert how == sgd.SGD(0.1, 0.9)
    assert np.array_equal(*ends)


def test_the_schedule_sees_each_epochs_progress(blobs):
    seen, (network, rng) = [], softmax()
    train(network, blobs(), rng, epochs=4, schedule=lambda p: seen.append(p) or 1.0)
    assert seen == [0, 0.25, 0.5, 0.75]


def test_a_watch_sees_every_epoch_with_the_last_record(blobs):
    seen, (network, rng) = [], softmax()

    def watch(epoch, epochs, row, network):
        seen.append((epoch, epochs, float(row["train_loss"])))

    history = train(network, blobs(), rng, epochs=5, every=2, watch=watch)
    assert [one[:2] for one in seen] == [(n, 5) for n in range(1, 6)]
    last = [0, 1, 1, 2, 3]  # records are made after epochs 0, 2, 4 and 5
    assert [one[2] for one in seen] == history["train_loss"][last].tolist()


def test_an_interrupt_ends_a_watched_training_with_what_there_is(blobs, capsys):
    def watch(epoch, *_):
        if epoch == 3:
            raise KeyboardInterrupt

    network, rng = softmax()
    history = train(network, blobs(), rng, epochs=50, watch=watch)
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert network.value(blobs().Yt, blobs().Ct) < history["train_loss"][0]
    assert "training was stopped" in capsys.readouterr().out


def test_an_interrupt_goes_on_in_a_worker(blobs, tmp_path):
    def schedule(progress):
        raise KeyboardInterrupt

    network, rng = softmax()
    watch = Watch(path=tmp_path / "epochs")
    with pytest.raises(KeyboardInterrupt):
        train(network, blobs(), rng, epochs=2, schedule=schedule, watch=watch)


def test_an_interrupt_within_an_epoch_leaves_the_last_record(blobs):
    def schedule(progress):
        if progress >= 0.5:
            network.parameters[...] = np.nan
            raise KeyboardInterrupt
        return 1.0

    network, rng = softmax()
    history = train(
        network, blobs(), rng, epochs=4, schedule=schedule, watch=lambda *_: None
    )
    assert history["epoch"].tolist() == [0, 1, 2]
    last = network.evaluate(blobs().Yt, blobs().Ct)[0]
    assert last == history["train_loss"][-1]


def test_an_interrupt_goes_on_where_nobody_looks(blobs):
    def schedule(progress):
        raise KeyboardInterrupt

    network, rng = softmax()
    with pytest.raises(KeyboardInterrupt):
        train(network, blobs(), rng, epochs=2, schedule=schedule)


def test_the_defaults_are_200_plain_epochs_of_64_samples(blobs):
    def parameters(**settings):
        network, rng = softmax(dtype=float)
        train(network, blobs(dtype=float), rng, record=lambda *_: {"no": 0}, **settings)
        return network.parameters

    said = {"epochs": 200, "batch_size": 64, "learning_rate": 0.1, "every": 1}
    plain = {"momentum": 0, "weight_decay": 0, "schedule": lambda progress: 1}
    np.testing.assert_array_equal(parameters(), parameters(**said, **plain))


def test_a_seed_shuffles_like_its_generator_from_epoch_to_epoch(blobs):
    for seed, rng in ((3, *rngs(3)), ([3, 4], rngs(3, 4))):
        networks = [Network([OutputLayer(2, 3)], [1, 1]) for _ in range(2)]
        train(networks[0], blobs(), seed, epochs=4)
        train(networks[1], blobs(), rng, epochs=4)
        assert np.array_equal(*(network.parameters for network in networks))


# Divergence ---------------------------------------------------------------------------


def diverge(rng, learning_rate, batch_size=60, **settings):
    network = Network([OutputLayer(3, 2)], rng, loss=LeastSquares())
    data = least_squares_problem(np.float32)
    settings = {"record": loss_only, "epochs": 50, **settings}
    settings |= {"learning_rate": learning_rate, "batch_size": batch_size}
    return train(network, data, rng, **settings)["loss"], network


def test_a_diverged_replica_keeps_its_last_finite_parameters_and_stays_frozen():
    """With a schedule that ends at zero it would come back to finite numbers."""
    rates, late = np.array([[0.1], [75]], np.float32), []

    def record(network, data):
        late.append(network.parameters.copy())
        return loss_only(network, data)

    settings = {"momentum": 0.5, "schedule": lambda progress: float(progress < 0.9)}
    history, network = diverge(rngs(1, 0), rates, record=record, **settings)
    first = np.isnan(history[:, 1]).argmax()
    assert 1 < first < 45
    assert np.isnan(history[first:, 1]).all()
    assert np.isfinite(history[:first]).all()
    assert history[-1, 0] < history[0, 0]
    np.testing.assert_array_equal(network.parameters[1], late[first - 1][1])
    assert (network.parameters[0] != late[first - 1][0]).all()


def test_a_single_network_that_diverges_says_when_and_at_which_rate():
    first = np.isnan(diverge(rngs(0), 75.0)[0]).argmax()
    message = (
        rf"^the loss stopped being finite in epoch {first} with "
        r"SGD\(learning_rate=75.0, momentum=0.0, weight_decay=0.0\): try a smaller "
        "learning rate or a decaying schedule$"
    )
    for rate in (75.0, np.array([75.0])):
        with pytest.raises(sgd.DivergenceError, match=message):
            diverge(np.random.default_rng(0), rate)


def test_what_overflows_within_an_epoch_diverges_without_a_warning():
    """The next minibatch then makes ∞ − ∞, which NumPy calls invalid."""
    assert np.isnan(diverge(rngs(0), 1e30, batch_size=8)[0][1:]).all()


@pytest.mark.parametrize(("every", "rows"), [(2, [0, 2, 4, 5]), (3, [0, 3, 5])])
def test_every_skips_records_but_never_the_last(blobs, every, rows):
    (network, rng), (same, again) = softmax(), softmax()
    settings = {**SETTINGS, "epochs": 5}
    history = train(network, blobs(), rng, every=every, **settings)
    whole = train(same, blobs(), again, **settings)
    assert history["epoch"].tolist() == rows
    np.testing.assert_array_equal(history["train_loss"], whole["train_loss"][rows])
