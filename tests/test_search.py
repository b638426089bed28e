"""The choice of a learning rate: margins, worst seeds, equals, and sentences."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.architectures import ARCHITECTURES
from helpers.backstage import search

PAIRS = [(0.01, 0.9), (0.02, 0.9), (0.04, 0.9), (0.2, 0.0), (0.1, 0.9)]
STEPS = [0.1, 0.2, 0.4, 0.2, 1.0]
RUINED = [[0.9, 0.9]] * 4 + [[0.9, 0.5]]  # the last try spoils a seed


def chosen(losses, accuracies=0.9):
    """Choose by losses (tries, seeds) of one network on one dataset."""
    losses = np.asarray(losses, float)
    accuracies = np.broadcast_to(accuracies, losses.shape)
    return search.choose(PAIRS, losses[None], accuracies[None])


def losses(*means, spread=0.001):
    """Return two seeds of each try, so much to each side of the mean."""
    return np.array(means)[:, None] + [-spread, spread]


FALLING = losses(0.5, 0.4, 0.3, 0.45, 0.6)
RISING = losses(0.5, 0.6, 0.7, 0.6, 0.8)


def test_effective_steps_that_are_equal_compare_as_equal():
    rates, momenta = zip(*PAIRS, strict=True)
    assert search.effective_step(rates, momenta).tolist() == STEPS


def test_the_lowest_loss_wins_below_half_the_edge():
    found = chosen(FALLING, RUINED)
    assert found.settings == {"learning_rate": 0.02, "momentum": 0.9}
    assert (found.step, found.edge, found.margin) == (0.2, 0.4, 2.0)
    assert found.tries["chosen"].tolist() == [False, True, False, False, False]
    assert found.tries["ruined"].tolist() == [0, 0, 0, 0, 1]
    assert found.lead == pytest.approx(0.451 / 0.401 - 1)
    assert found.with_margin() is found


def test_without_a_ruined_replica_the_edge_is_the_largest_step_tried():
    found = chosen(FALLING)
    assert (found.edge, found.learning_rate) == (1.0, 0.04)
    assert chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2), RUINED).edge == 1.0  # on its way


def test_one_ruined_seed_of_one_network_is_an_edge_whatever_lies_beyond():
    accuracies = np.full((6, 5, 3), 0.9)
    accuracies[4, 2, 1] = 0.64
    some = np.full((6, 5, 3), 0.5)
    some[4, 2, 1] = 0.51
    found = search.choose(PAIRS, some, accuracies)
    assert (found.edge, found.step) == (0.2, 0.1)


def test_the_worst_seed_counts():
    found = chosen([[0.50, 0.50], [0.10, 0.60], [1, 1], [0.49, 0.49], [2, 2]], RUINED)
    assert found.settings == {"learning_rate": 0.2, "momentum": 0.0}


@pytest.mark.parametrize(
    ("gentle", "seeds", "rate"),
    [
        ([0.405, 0.405], [0.395, 0.40], 0.01),  # 1.27 % apart, and so may be an equal
        ([0.408, 0.408], [0.395, 0.40], 0.02),
        ([0.4003, 0.4003], [0.4, 0.4], 0.01),  # a thousandth is no reason
        ([0.4005, 0.4005], [0.4, 0.4], 0.02),
    ],
)
def test_among_equals_the_gentler_is_taken(gentle, seeds, rate):
    tries = [gentle, seeds, *losses(0.3, 0.45, 0.6)]
    assert chosen(tries, RUINED).learning_rate == rate


def test_of_equal_steps_the_smaller_rate_is_taken():
    assert chosen(losses(0.5, 0.4, 0.3, 0.4, 0.6), RUINED).learning_rate == 0.02


def test_the_lead_is_unknown_if_all_others_are_equals():
    assert np.isnan(chosen(losses(0.4, 0.4, 0.3, 0.4, 0.6), RUINED).lead)


def test_scores_are_geometric_means_over_networks_and_datasets():
    many = np.array([[[0.2], [0.4]], [[0.8], [0.4]]])
    found = search.choose([(0.1, 0), (0.4, 0)], many, np.ones_like(many))
    np.testing.assert_allclose(found.tries["worst"], [0.4, 0.4])


def test_a_loss_of_zero_is_a_loss():
    found = chosen(losses(0.5, 0.4, 0, 0, 0, spread=0))
    assert (found.settings["learning_rate"], found.step) == (0.2, 0.2)


RUINS = [  # accuracies by step and seed, the steps, where they are ruined
    ([[0.9], [0.66]], [0.1, 0.2], []),
    ([[0.9], [0.64]], [0.1, 0.2], [1]),  # 25 points below what a gentler step reached
    ([[0.3, 0.9], [0.5, 0.95], [0.9, 0.96]], [0.1, 0.2, 0.4], []),  # half trained
    ([[0.9], [0.5]], [0.2, 0.2], []),
    ([[np.nan], [0.9], [np.nan]], [0.1, 0.2, 0.4], [0, 2]),
]


@pytest.mark.parametrize(("accuracies", "steps", "bad"), RUINS)
def test_ruined_is_frozen_or_much_worse_than_a_gentler_step(accuracies, steps, bad):
    rising = np.where(np.isnan(accuracies), np.nan, np.array(steps)[:, None])
    found = search.too_large(rising[None], np.array([accuracies]), np.array(steps))
    assert np.flatnonzero(found.any(axis=(0, 2))).tolist() == bad


def test_a_smaller_step_with_larger_batches_is_no_measure():
    some = np.array([[[0.5], [0.3], [0.6], [0.5]]])
    accuracies, steps = np.array([[[0.5], [0.9], [0.5], [0.4]]]), np.array([1, 3, 2, 4])
    sizes = np.array([50, 50, 1000, 1000])
    assert search.too_large(some, accuracies, steps).sum() == 1
    assert not search.too_large(some, accuracies, steps, sizes).any()


def test_frozen_tries_are_never_chosen():
    tries = FALLING.copy()
    tries[4] = np.nan
    found = chosen(tries, np.where(np.isnan(tries), np.nan, 0.9))
    assert (found.edge, found.learning_rate) == (0.4, 0.02)


def test_no_margin_leaves_the_gentlest_and_a_sentence_for_who_needs_one():
    found = chosen(RISING, [[0.9, 0.9]] + [[0.9, 0.2]] * 4)
    assert (found.learning_rate, found.edge, found.margin) == (0.01, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"ruins no replica, 0\.1: .* from 0\.001"):
        found.with_margin()


def test_the_datasets_that_leave_no_margin_are_named():
    def result(dataset, last):
        records = {"validation_loss": RISING, "train_accuracy": [[0.9]] + [[last]] * 4}
        final = {k: np.broadcast_to(v, (5, 2)).ravel() for k, v in records.items()}
        return SimpleNamespace(run=SimpleNamespace(dataset=dataset), final=final.get)

    results = [result("A", 0.9), result("B", 0.2), result("C", 0.2), result("B", 0.2)]
    with pytest.raises(ValueError, match=r"^B, C: no learning rate tried leaves a fac"):
        search.choose_from(PAIRS, results)
    assert search.choose_from(PAIRS, results[:1]).edge == 1


def test_a_network_that_no_step_trains_has_a_choice_without_edge():
    nothing = np.full((5, 2), np.nan)
    found = chosen(nothing, nothing)
    assert (found.learning_rate, found.edge) == (0.01, 0.0)


def test_every_try_meets_every_seed_and_the_records_find_their_places(blobs):
    tries = [(0.01, 0.0), (0.02, 0.0), (0.05, 0.5), (3.0, 0.0)]
    settings = {"seeds": (5, 7), "epochs": 2, "batch_size": 32}
    networks = {"softmax": ARCHITECTURES["softmax"]}
    found = search.run_tries(tries, {"blobs": blobs()}, networks, **settings)
    (run,) = (result.run for result in found.values())
    assert [*found] == [("blobs", "softmax")]
    assert run.seeds == (5, 7) * 4
    assert run.learning_rate[::2] == run.learning_rate[1::2] == (0.01, 0.02, 0.05, 3)
    assert run.momentum == (0, 0, 0, 0, 0.5, 0.5, 0, 0)
    for name in ("validation_loss", "train_loss"):
        losses, accuracies = (
            np.stack([r.final(key) for r in found.values()]).reshape(1, 4, 2)
            for key in (name, "train_accuracy")
        )
        expected = search.choose(tries, losses, accuracies)
        chosen = search.choose_from(tries, found.values(), name)
        pd.testing.assert_frame_equal(chosen.tries, expected.tries)


@pytest.mark.parametrize(("size", "rate"), [(50, 0.01), (250, 0.02)])
def test_a_batch_size_is_chosen_with_the_rate(size, rate):
    """The largest rate ruins a seed with each batch size."""
    rates, results = [0.01, 0.02, 0.1, 1.0], {}
    for one in (50, 250):
        losses, accuracies = np.full((4, 2), 0.5), np.full((4, 2), 0.9)
        losses[3, 1], accuracies[3, 1] = 0.9, 0.2
        losses[rates.index(rate)] -= 0.2 * (one == size)
        found = {"validation_loss": losses, "train_accuracy": accuracies}
        results[one] = SimpleNamespace(final=found.get)
    tries = [(one, 0.0) for one in rates]
    choice, found = search.choose_batch_size(tries, results)
    assert (choice.learning_rate, found, choice.edge) == (rate, size, 0.1)
    assert len(choice.tries) == 8
    with pytest.raises(ValueError, match=r"^A: no learning rate tried leaves a factor"):
        search.choose_batch_size(
            tries[2:], {n: cut(r) for n, r in results.items()}, "A"
        )


def cut(result):
    """Return the result of the last two tries."""
    return SimpleNamespace(final=lambda name: result.final(name)[2:])
