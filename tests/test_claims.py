"""Intervals and comparisons against SciPy's, and against simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from helpers import checks
from report import claims
from report.claims import (
    Comparison,
    all_hold,
    below,
    compare,
    deciding,
    interval,
    spreads,
)

COMPARISONS = pytest.mark.parametrize("k", [1, 2, 5])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("wins", "comparisons", "holds"),
    [
        (10, 3, True),
        (9, 1, True),
        (9, 3, None),
        (5, 1, None),
        (1, 1, False),
        (0, 3, False),
    ],
)
def test_signs_decide_where_chance_would_not_do_the_same(wins, comparisons, holds):
    """2 (1 + 10) / 2¹⁰ = 0.021 for nine of ten, 2 / 2¹⁰ = 0.002 for all."""
    assert claims.outnumbers(wins, 10, comparisons) is holds


@COMPARISONS
@pytest.mark.parametrize("n", [2, 3, 30])
def test_an_interval_is_students(rng, n, k):
    values = rng.normal(3, 2, n)
    expected = stats.t.interval(1 - 0.05 / k, n - 1, values.mean(), stats.sem(values))
    assert interval(values, k) == pytest.approx((values.mean(), *expected))
    assert interval(list(values), k) == interval(values, k)


@pytest.mark.parametrize("values", [[7.0], [np.nan, 7.0], [np.nan, np.nan]])
def test_one_value_or_none_leaves_the_interval_unknown(values):
    mean, low, high = interval(values)
    np.testing.assert_equal(mean, values[-1])
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_what_failed_is_left_out_of_an_interval(lost):
    assert interval([1.0, lost, 2.0, 4.0], 3) == interval([1.0, 2.0, 4.0], 3)


def test_equal_values_have_an_interval_without_width():
    assert interval([2.5] * 4) == (2.5, 2.5, 2.5)


@COMPARISONS
def test_a_comparison_is_the_paired_t_test(rng, k):
    base = rng.normal(90, 5, 12)
    one, other = base + rng.normal(1, 1, 12), base + rng.normal(0, 1, 12)
    found = compare(one, other, k)
    expected = stats.ttest_rel(one, other).confidence_interval(1 - 0.05 / k)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.difference == pytest.approx((one - other).mean())
    assert found.effect == pytest.approx(
        (one - other).mean() / (one - other).std(ddof=1)
    )
    assert (found.failed, found.pairs) == (0, 12)
    assert all(type(value) in {float, int} for value in vars(found).values())


def test_the_effect_does_not_grow_with_the_number_of_seeds(rng):
    few, many = (compare(rng.normal(2, 1, n), np.zeros(n)) for n in (100, 10_000))
    assert few.effect == pytest.approx(2, rel=0.2)
    assert many.effect == pytest.approx(2, rel=0.05)
    assert many.high - many.low < (few.high - few.low) / 5


def test_five_comparisons_without_difference_are_all_undecided_19_times_in_20(rng):
    """Without Bonferroni's correction it would be 15 times."""
    wrong = 0
    for _ in range(2000):
        one, other = rng.normal(size=(2, 5, 10))
        pairs = zip(one, other, strict=True)
        wrong += any(compare(*pair, 5).larger is not None for pair in pairs)
    assert 0.04 < wrong / 2000 < 0.06


def test_a_comparison_is_decided_where_the_interval_excludes_zero():
    words = {(0.1, 2): "better", (-2, -0.1): "worse", (-1, 1): "undecided"}
    words |= {(0, 1): "undecided", (-1, 0): "undecided"}
    words |= {(math.nan, math.nan): "undecided"}
    larger = {"better": True, "worse": False, "undecided": None}
    for bounds, word in words.items():
        found = Comparison(0.0, *bounds, effect=1.0)
        assert found.word == word
        assert found.larger is larger[word]


def test_better_is_the_larger_one():
    low, high = [1.0, 2.0, 3.0], [11.0, 12.5, 13.0]
    assert (compare(high, low).larger, compare(low, high).larger) == (True, False)


@pytest.mark.parametrize("one", [[9.0], [9.0, np.nan], [np.nan, np.nan]])
def test_a_comparison_of_less_than_two_pairs_is_undecided(one):
    found = compare(one, np.ones(len(one)))
    assert found.word == "undecided"
    assert math.isnan(found.effect)


def test_a_failed_replica_costs_its_pair_and_is_counted():
    one, other = [9.0, np.nan, 9.1, 9.3, 8.8], [1.0, 1.0, 1.2, np.nan, 1.1]
    found, sound = compare(one, other), compare([9.0, 9.1, 8.8], [1.0, 1.2, 1.1])
    assert (found.failed, found.pairs) == (2, 5)
    assert (found.low, found.high) == (sound.low, sound.high)
    assert found.word == "better"
    assert f"{found:.1f}" == "+7.9 (+7.5 to +8.2, 2 of 5 pairs failed)"


def test_a_comparison_reads_as_difference_and_interval():
    found = Comparison(-1.234, -2.0, 0.5, 1.0)
    assert str(found) == f"{found}" == "−1.23 (−2.00 to +0.50)"
    assert f"{found:.1f}" == "−1.2 (−2.0 to +0.5)"


def test_pairs_without_spread_have_no_effect_size():
    same, shifted = compare([1, 2, 4], [1, 2, 4]), compare([2, 3, 5], [1, 2, 4])
    assert (same.difference, same.word) == (0, "undecided")
    assert (shifted.low, shifted.high, shifted.word) == (1, 1, "better")
    assert math.isnan(same.effect)
    assert math.isnan(shifted.effect)


@pytest.mark.parametrize(
    ("bounds", "is_below"),
    [
        ((1, 2.9), True),
        ((3.1, 4), False),
        ((2, 4), None),
        ((2, 3), True),
        ((3, 4), None),
        ((math.nan, math.nan), None),
    ],
)
def test_an_interval_lies_below_a_limit_or_above_or_contains_it(bounds, is_below):
    assert below(*bounds, 3) is is_below
    assert below(*np.array(bounds, float), 3) is is_below


@pytest.mark.parametrize(
    ("truths", "together"),
    [
        ([], None),
        ([True, True], True),
        ([True, None], None),
        ([None, True], None),
        ([True, False], False),
        ([None, False], False),
        ([False, None, True], False),
        ([np.True_, np.True_], True),
        ([np.True_, np.False_, None], False),
    ],
)
def test_all_hold_unless_one_does_not_or_is_undecided(truths, together):
    assert all_hold(truths) is together
    assert all_hold(truth for truth in truths) is together


@pytest.mark.parametrize(("a", "e"), [(3, 1), (1, 3), (2, 0.1)])
def test_spreads_finds_the_components_that_were_put_in(rng, a, e):
    values = 90 + a * rng.normal(size=(2000, 1)) + e * rng.normal(size=(2000, 6))
    assert spreads(values) == pytest.approx((a, e), rel=0.08)


def test_spreads_subtracts_what_the_seeds_alone_put_between_draws(rng):
    between, within = spreads(rng.normal(0, 3, (2000, 6)))
    assert between < 0.3
    assert within == pytest.approx(3, rel=0.05)


def test_spreads_of_a_small_table_by_hand():
    """Means 2 and 7, mean squares within 2 and between 25, so Var(a) = 23/2."""
    assert spreads([[1, 3], [6, 8]]) == pytest.approx((np.sqrt(11.5), np.sqrt(2)))


def test_draws_of_equal_means_have_no_spread_between_them():
    assert spreads([[1, 3], [0, 4], [2, 2]]) == (0, pytest.approx(np.sqrt(10 / 3)))


def test_the_deciding_comparison_is_the_clearest_contrary_or_the_least_certain():
    sure, unsure, contrary, clearly = (
        Comparison((low + high) / 2, low, high, 1.0)
        for low, high in ((0.1, 0.2), (-1, 9), (-9, -0.1), (-0.4, -0.3))
    )
    assert deciding([sure, unsure]) is unsure
    assert deciding([sure, unsure, contrary]) is contrary
    assert deciding([contrary, unsure, clearly]) is clearly


def test_nothing_has_no_interval():
    assert np.isnan(interval([])).all()


def test_better_in_all_is_decided_by_the_clearest_contrary_or_the_least_certain():
    sure, unsure, contrary = (
        Comparison(1.0, low, high, 1.0) for low, high in ((0.5, 2), (-1, 2), (-2, -1))
    )
    for compared, holds, said in (
        ({"a": sure}, True, "+1.00 (+0.50 to +2.00) points (a)"),
        ({"a": sure, "b": unsure}, None, "+1.00 (−1.00 to +2.00) points (b)"),
        ({"c": contrary, "b": unsure}, False, "+1.00 (−2.00 to −1.00) points (c)"),
        (
            {("A", ("x", "y")): contrary},
            False,
            "+1.00 (−2.00 to −1.00) points (A, x over y)",
        ),
    ):
        stated = claims.better("2.2.4", "it is", compared, reported=True)
        verdict = stated.metadata["verdict"]
        assert (verdict["holds"], verdict["number"]) == (holds, said)
        assert verdict["reported"] is True


@pytest.mark.parametrize(
    ("given", "holds", "check", "finding"),
    [
        (True, True, "✓ **Passed", "✓ **Confirmed"),
        (np.False_, False, "✗ **Failed", "✗ **Not confirmed"),
        (None, None, "? **Undecided", "? **Undecided"),
        (np.nan, None, "? **Undecided", "? **Undecided"),
    ],
)
def test_a_claim_comes_out_either_way_or_undecided(given, holds, check, finding):
    for state, words in ((claims.check, check), (claims.finding, finding)):
        output = state("2.1.1", "it is so", given, "1e-05")
        assert output.markdown == f"{words} (2.1.1).** it is so: 1e−5."
        assert output.metadata["verdict"] == {
            "item": "2.1.1",
            "kind": state.__name__,
            "claim": "it is so",
            "holds": holds,
            "word": words[4:],
            "number": "1e−5",
            "reported": False,
        }


@pytest.mark.parametrize(
    ("holds", "said"),
    [(True, "It does."), (False, "It fails."), (np.nan, "Undecided: It does.")],
)
def test_an_answer_follows_from_the_evidence(holds, said):
    output = claims.answer(
        "2.1.2", "does it?", holds, "It does.", "It fails.", "1e-05", "some_figure"
    )
    assert output.metadata["answer"] == {
        "item": "2.1.2",
        "question": "does it?",
        "answer": said,
        "number": "1e−5",
        "evidence": "some_figure",
    }
    assert output.markdown == f"**Answer to 2.1.2.** {said} (1e−5.)"


def outcome(verdict, kind="Taylor", order=2.0, error=0.5):
    return checks.Check(kind, verdict, 1, 1, error, orders=(1.0, order))


@pytest.mark.parametrize(
    ("verdicts", "holds", "number"),
    [
        (["pass", "pass"], True, "2 of 2 pass, lowest order 2.0"),
        (["pass", "FAIL", "refused"], False, "1 of 3 pass, 1 refused, "),
        (["pass", "refused"], None, "1 of 2 pass, 1 refused, "),
        ([], None, "0 of 0 pass"),
    ],
)
def test_a_refused_check_certifies_nothing(verdicts, holds, number):
    stated = claims.certify("2.1.1", "It is right", map(outcome, verdicts))
    verdict = stated.metadata["verdict"]
    assert (verdict["kind"], verdict["holds"]) == ("check", holds)
    assert verdict["number"].startswith(number)


def test_a_tally_has_the_worst_of_every_kind():
    tests = [
        outcome("pass", order=2.0),
        outcome("pass", order=1.956),
        outcome("pass", "complex step", np.nan, 1e-16),
        outcome("pass", "complex step", np.nan, 4e-15),
        outcome("pass", "central difference", np.nan, 3e-8),
        outcome("FAIL", "transpose", np.nan, 2.4e-3),
        outcome("refused", "complex step", np.nan, np.nan),
    ]
    assert claims.tally(tests) == (
        "5 of 7 pass, 1 refused, lowest order 2.0, central difference < 1e-07, "
        "complex step < 1e-13, transpose 2e-03"
    )


@pytest.mark.parametrize(
    ("values", "answer"),
    [([0.1, -0.1, 0.05], True), ([3, 3.1, 2.9], False), ([0.9, 1.1, 1.0], None)],
)
def test_a_mean_lies_within_a_bound_or_beyond_or_it_is_open(values, answer):
    assert claims.within(values, 1) is answer
    assert claims.within(np.negative(values), 1) is answer
