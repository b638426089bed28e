"""The choice of a learning rate: margins, worst seeds, equals, and sentences."""

import numpy as np
import pandas as pd
import pytest

from helpers import search
from helpers.experiments import ARCHITECTURES

PAIRS = [(0.01, 0.9), (0.02, 0.9), (0.04, 0.9), (0.2, 0.0), (0.1, 0.9)]
STEPS = [0.1, 0.2, 0.4, 0.2, 1.0]


def chosen(losses, accuracies=0.9, pairs=PAIRS):
    """Choose by losses (tries, seeds) of one network on one dataset."""
    losses = np.asarray(losses, float)
    accuracies = np.broadcast_to(accuracies, losses.shape)
    return search.choose(pairs, losses[None], accuracies[None])


def losses(*means, spread=0.001):
    """Return two seeds of each try, so much to each side of the mean."""
    return np.array(means)[:, None] + [-spread, spread]


RUINED = [[0.9, 0.9]] * 4 + [[0.9, 0.5]]  # the last try spoils a seed


def test_effective_steps_that_are_equal_compare_as_equal():
    rates, momenta = zip(*PAIRS, strict=True)
    assert search.effective_step(rates, momenta).tolist() == STEPS
    assert search.effective_step(0.02, 0.9) == 0.2


def test_the_lowest_loss_wins_below_half_the_edge():
    found = chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2), RUINED)
    assert found.settings == {"learning_rate": 0.02, "momentum": 0.9}
    assert (found.step, found.edge, found.margin) == (0.2, 0.4, 2.0)
    assert found.tries["chosen"].tolist() == [False, True, False, False, False]
    assert found.tries["ruined"].tolist() == [0, 0, 0, 0, 1]
    assert found.lead == pytest.approx(0.451 / 0.401 - 1)


def test_without_a_ruined_replica_the_edge_is_the_largest_step_tried():
    found = chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2))
    assert (found.edge, found.learning_rate) == (1.0, 0.04)


def test_one_ruined_seed_of_one_network_is_enough_for_an_edge():
    accuracies = np.full((6, 5, 3), 0.9)
    accuracies[4, 2, 1] = 0.64
    found = search.choose(PAIRS, np.full((6, 5, 3), 0.5), accuracies)
    assert found.edge == 0.2
    assert found.step == 0.1


def test_what_lies_beyond_a_ruined_step_does_not_count():
    accuracies = [[0.9, 0.9], [0.9, 0.9], [0.9, 0.5], [0.9, 0.9], [0.9, 0.9]]
    assert chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2), accuracies).edge == 0.2


def test_the_worst_seed_counts():
    found = chosen([[0.50, 0.50], [0.10, 0.60], [1, 1], [0.49, 0.49], [1, 1]], RUINED)
    assert found.settings == {"learning_rate": 0.2, "momentum": 0.0}


@pytest.mark.parametrize(("gentle", "rate"), [(0.409, 0.01), (0.412, 0.02)])
def test_among_equals_within_the_seeds_spread_the_gentler_is_taken(gentle, rate):
    tries = losses(gentle, 0.4, 0.3, 0.45, 0.2, spread=0)
    tries[1] = [0.395, 0.40]  # 1.27 % apart, and so may be what is no better
    tries[0] = [gentle - 0.004, gentle - 0.004]
    assert chosen(tries, RUINED).learning_rate == rate


@pytest.mark.parametrize(("gentle", "rate"), [(0.4003, 0.01), (0.4005, 0.02)])
def test_a_thousandth_is_no_reason_for_a_larger_step(gentle, rate):
    tries = losses(gentle, 0.4, 0.3, 0.45, 0.2, spread=0)
    assert chosen(tries, RUINED).learning_rate == rate


def test_of_equal_steps_the_smaller_rate_is_taken():
    tries = losses(0.5, 0.4, 0.3, 0.4, 0.2)
    assert chosen(tries, RUINED).learning_rate == 0.02


def test_the_lead_is_unknown_if_all_others_are_equals():
    assert np.isnan(chosen(losses(0.4, 0.4, 0.3, 0.4, 0.2), RUINED).lead)


def test_scores_are_geometric_means_over_networks_and_datasets():
    many = np.array([[[0.2], [0.4]], [[0.8], [0.4]]])
    found = search.choose([(0.1, 0), (0.4, 0)], many, np.ones_like(many))
    np.testing.assert_allclose(found.tries["worst"], [0.4, 0.4])


@pytest.mark.parametrize(("reached", "bad"), [(0.66, False), (0.64, True)])
def test_ruined_is_25_points_below_what_a_gentler_step_reached(reached, bad):
    accuracies = np.array([[[0.9], [reached]]])
    assert search.ruined(accuracies, np.array([0.1, 0.2]))[0, 1, 0] == bad


def test_a_half_trained_network_is_not_ruined_nor_one_that_another_seed_beats():
    accuracies = np.array([[[0.3, 0.9], [0.5, 0.95], [0.9, 0.96]]])
    assert not search.ruined(accuracies, np.array([0.1, 0.2, 0.4])).any()


def test_an_equal_step_ruins_nothing():
    accuracies = np.array([[[0.9], [0.5]]])
    assert not search.ruined(accuracies, np.array([0.2, 0.2])).any()


def test_a_frozen_replica_is_ruined_at_any_step():
    accuracies = np.array([[[np.nan], [0.9], [np.nan]]])
    found = search.ruined(accuracies, np.array([0.1, 0.2, 0.4]))
    assert found.ravel().tolist() == [True, False, True]


def test_frozen_tries_are_never_chosen():
    tries = losses(0.5, 0.4, 0.3, 0.45, 0.2)
    tries[4] = np.nan
    accuracies = np.where(np.isnan(tries), np.nan, 0.9)
    found = chosen(tries, accuracies)
    assert (found.edge, found.learning_rate) == (0.4, 0.02)


def test_no_margin_leaves_the_gentlest_and_a_sentence_for_who_needs_one():
    accuracies = [[0.9, 0.9]] + [[0.9, 0.2]] * 4
    found = chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2), accuracies)
    assert (found.learning_rate, found.edge, found.margin) == (0.01, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"ruins no replica, 0\.1: .* from 0\.001"):
        found.with_margin()
    fine = chosen(losses(0.5, 0.4, 0.3, 0.45, 0.2), RUINED)
    assert fine.with_margin() is fine


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
