"""The checks themselves: what passes, what fails, and on which side of a threshold.

Wrong derivatives of the real losses, layers and networks are in test_mistakes.
"""

from dataclasses import replace

import numpy as np
import pytest

from helpers import checks
from helpers.layers import (
    HiddenLayer,
    Layer,
    OutputLayer,
    ReLU,
    ResNetLayer,
)
from helpers.losses import softmax
from helpers.mistakes import failed
from helpers.network import Network


def rng(seed=0):
    return np.random.default_rng(seed)


def last(values):
    """Sum over the last axis: any axes before it are replicas."""
    return np.sum(values, axis=-1)


# --- Taylor test ----------------------------------------------------------------------

POLYNOMIALS = {  # f, f′, x, the orders of both residuals
    "quadratic": (lambda x: last(x * x), lambda x: 2 * x, np.ones(4), (1, 2)),
    "cubic": (lambda x: last(x**3), lambda x: 3 * x**2, np.ones(4), (1, 2)),
    "cubic at its inflection": (
        lambda x: last(x + x**3),
        lambda x: 1 + 3 * x**2,
        np.zeros(4),
        (1, 3),
    ),
    "wrong by 1 %": (lambda x: last(x * x), lambda x: 2.02 * x, np.ones(4), (1, 1)),
}


@pytest.mark.parametrize("case", POLYNOMIALS.values(), ids=POLYNOMIALS.keys())
@pytest.mark.parametrize("seed", range(5))
def test_orders_are_those_of_known_polynomials(case, seed):
    f, derivative, x, orders = case
    g = derivative(x)
    check = checks.taylor_test(f, x, lambda d: g @ d, rng(seed))
    assert check.orders == pytest.approx(orders, abs=0.1)
    assert check.passed == (orders[1] >= 2)
    assert check.residuals.shape == (2, check.steps.size)
    assert check.fitted.sum() == 6
    assert check.error == pytest.approx(0.01 / 1.01 if orders[1] == 1 else 0, abs=5e-7)


@pytest.mark.parametrize(
    ("orders", "verdict"),
    [
        ((1, 2), "pass"),
        ((0.95, 1.95), "pass"),
        ((1.05, 1.95), "pass"),
        ((0.94, 1.96), "refused"),
        ((1.06, 1.96), "refused"),
        ((1, 1.94), "refused"),
        ((1, np.nan), "refused"),
        ((np.nan, 2), "refused"),
    ],
)
def test_the_orders_are_judged_by_their_thresholds(orders, verdict):
    assert checks.judge_orders(*orders, False, False, False)[0] == verdict
    assert checks.judge_orders(*orders, False, False, True)[0] == "FAIL"


def test_a_taylor_test_that_refuses_says_what_to_move():
    few = "too few small steps show f above its rounding: scale x or f"
    small = "the derivative is too small beside the curvature: move x"
    for *orders, verdict, reason in (
        (1, 2, "pass", ""),
        (1, 1, "refused", few),
        (2, 2, "refused", small),
    ):
        assert checks.judge_orders(*orders, False, False, False) == (verdict, reason)


@pytest.mark.parametrize(
    ("first", "affine", "zero", "verdict"),
    [
        (1, True, False, "pass"),
        (1, False, True, "refused"),
        (2, True, False, "refused"),
        (2, True, True, "pass"),
    ],
)
def test_the_first_order_counts_unless_zero_the_second_unless_affine(
    first, affine, zero, verdict
):
    assert checks.judge_orders(first, 1, affine, zero, False)[0] == verdict


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(
    ("power", "size", "verdict"),
    [
        (1, 1, True),
        (1.94, 1, True),
        (1.96, 1, False),
        (1.1, 1e9, False),
        (1, 1e9, True),
    ],
)
def test_an_error_shows_in_the_order_beside_noise_only_in_that_of_1(
    power, size, verdict, zero
):
    residual = checks.STEPS**power + 1e-12
    assert checks.shows_error(residual, 1e-12, size, zero) == verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"), [(1, 1.9, True), (1, 2, False), (2.1, 1.9, False)]
)
def test_an_error_shows_in_six_steps_and_in_the_last_three(before, after, verdict):
    residual = 2.0 ** -np.cumsum(11 * [1] + 3 * [before] + 18 * [after])
    noise = residual[15] / 101
    assert np.flatnonzero(checks.fit_range(residual, noise)).tolist() == [
        *range(10, 16)
    ]
    assert checks.shows_error(residual, noise, 1e-9, zero=False) == verdict


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(("factor", "breaks"), [(0.99, True), (1.01, False)])
def test_a_residual_that_breaks_off_shows_an_error_unless_zero(factor, breaks, zero):
    residual = np.where(checks.STEPS > 1e-3, checks.STEPS, 0)
    cut = np.count_nonzero(residual)
    residual[cut:] = factor * residual[cut - 1] / 32
    noise = residual[cut] / 90
    assert checks.breaks_off(residual, checks.fit_range(residual, noise)) == breaks
    assert checks.shows_error(residual, noise, 1, zero) == (not zero or not breaks)


def test_the_thresholds_themselves_are_passed(monkeypatch):
    monkeypatch.setattr(checks, "relative_error", lambda claimed, measured: 1e-7)
    assert central(*bent(0.1)).passed
    monkeypatch.setattr(checks, "relative_error", lambda claimed, measured: 1e-13)
    assert checks.conclude("transpose", np.ones(3), np.zeros(3)).passed


@pytest.mark.parametrize(("power", "verdict"), [(1.94, "FAIL"), (1.96, "pass")])
def test_a_residual_of_broken_order_is_found(power, verdict):
    def f(x):
        return last(x + abs(x) ** power)

    check = checks.taylor_test(f, np.zeros(4), last, rng())
    assert check.orders == pytest.approx((1, power), abs=2e-3)
    assert check.verdict == verdict


@pytest.mark.parametrize("factor", [1, 1.001])
@pytest.mark.parametrize("value", [0, 7])
def test_affine_functions_are_told_as_rounding_noise(factor, value):
    A, origin = rng().normal(size=(5, 3)), rng(1).normal(size=3)
    check = checks.taylor_test(
        lambda x: (x - origin) @ A.T + value,
        origin,
        lambda d: factor * A @ d,
        rng(),
    )
    assert check.passed == (factor == 1)
    assert ("then noise" in str(check)) == (factor == 1)
    assert check.orders[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(check.orders[1]) == (factor == 1)
    assert check.fitted.sum() == 6


FLAT = {  # f, whose derivative at zero is zero
    "constant": lambda x: last(0 * x) + 1,
    "zero": lambda x: last(0 * x),
    "square": lambda x: last(x * x),
    "one plus square": lambda x: 1 + last(x * x),
    "cube": lambda x: 7 + last(x**3),
}


@pytest.mark.parametrize("f", FLAT.values(), ids=FLAT.keys())
def test_a_derivative_of_zero_passes_and_no_other_there(f):
    for claim, verdict in ((0, "pass"), (1e-3, "FAIL"), (1, "FAIL")):
        for analytic in (True, False):
            g = claim * np.ones(3)
            tests = checks.gradient_test(f, np.zeros(3), g, rng(), analytic)
            assert {t.verdict for t in tests} == {verdict}, [str(t) for t in tests]


def test_a_claim_of_zero_fails_where_f_changes():
    for f in (last, lambda x: last(np.sin(x)), lambda x: 5 + last(x + x * x)):
        for analytic in (True, False):
            tests = checks.gradient_test(f, np.zeros(3), np.zeros(3), rng(), analytic)
            assert {t.verdict for t in tests} == {"FAIL"}


@pytest.mark.parametrize("noise", [1e-15, 1e-9])
def test_the_fitted_steps_are_the_smallest_above_the_noise(noise):
    residual = 2.0 ** (-2 * np.arange(1, 33)) + noise
    fitted = checks.fit_range(residual, noise)
    chosen = np.flatnonzero(fitted)
    assert (np.diff(chosen) == 1).all()
    assert len(chosen) == 6
    assert residual[chosen[-1]] > 100 * noise >= residual[chosen[-1] + 1]


def test_the_noise_is_the_larger_residual_of_the_two_smallest_steps():
    """Here the residual is proportional to ε, so 2⁻²⁴ is the last above 100·2⁻³¹."""
    check = checks.taylor_test(last, np.zeros(1), lambda d: 2 * last(d), rng())
    np.testing.assert_array_equal(check.steps[check.fitted], checks.STEPS[18:24])


@pytest.mark.parametrize(("units", "verdict"), [(100, "pass"), (101, "FAIL")])
def test_a_hundred_units_in_the_last_place_are_rounding_noise(units, verdict):
    """In one dimension every direction is 1 or −1, and nothing here is rounded."""
    slope = 1 + units * checks.EPS
    check = checks.taylor_test(last, np.zeros(1), lambda d: slope * last(d), rng())
    assert check.verdict == verdict


def test_a_hundred_times_the_noise_is_too_little_to_be_fitted():
    fitted = checks.fit_range(np.array([400, 200, 100.5, 100.0]), noise=1.0)
    assert fitted.tolist() == [True, True, True, False]


def test_an_order_needs_three_steps():
    fitted = np.arange(checks.STEPS.size) < 3
    assert checks.order(checks.STEPS**1.5, fitted) == pytest.approx(1.5)
    assert np.isnan(checks.order(checks.STEPS**1.5, fitted & (checks.STEPS < 0.5)))
    assert np.isnan(checks.order(0 * checks.STEPS, fitted))


# --- central differences --------------------------------------------------------------


def bent(distance):
    """Return a smooth function plus one with a kink at x₀ = distance, and f′(0)."""

    def f(x):
        return last(np.exp(x)) + 3 * np.maximum(x[..., 0] - distance, 0)

    return f, lambda x: np.exp(x) + 3 * np.array([x[0] > distance, 0, 0, 0])


def central(f, g, seed=0, size=4):
    x = np.zeros(size)
    return checks.central_difference_test(f, x, lambda d: g(x) @ d, rng(seed))


@pytest.mark.parametrize("distance", [1e-5, -1e-5, 0.01, -0.3])
@pytest.mark.parametrize("seed", range(5))
def test_central_differences_stay_clear_of_a_kink_nearby(distance, seed):
    check = central(*bent(distance), seed)
    assert check.verdict == "pass"
    assert check.error < 1e-9
    assert check.steps[check.fitted].size == 1
    assert check.steps[check.fitted] < abs(distance) * 10


@pytest.mark.parametrize("distance", [0, 1e-12, -1e-10])
@pytest.mark.parametrize("seed", range(5))
def test_central_differences_refuse_to_judge_at_a_kink(distance, seed):
    check = central(*bent(distance), seed)
    assert check.verdict == "refused"
    assert not check.passed
    assert np.isnan(check.error)
    assert check.residuals.shape == (2, check.steps.size)
    assert str(check).endswith(
        " no step clears both the kinks of f and the rounding noise: move x"
    )


def test_central_differences_refuse_to_judge_below_the_rounding_noise():
    """Where 1e9 swallows the changes of f, quotients of zero agree with each other."""
    check = central(lambda x: 1e9 + last(np.sin(x)), np.cos)
    assert check.verdict == "refused"


@pytest.mark.parametrize(("factor", "verdict"), [(1, "pass"), (1.01, "refused")])
def test_a_kink_may_show_a_quarter_of_the_threshold(factor, verdict):
    """Of f = a|x| it shows a: the norm of a/2 along four directions, 1 or −1 each."""
    a = factor * checks.CENTRAL_DIFFERENCE / 4
    check = central(lambda x: a * last(abs(x)), np.zeros_like, size=1)
    assert check.verdict == verdict


@pytest.mark.parametrize(("level", "verdict"), [(6e6, "pass"), (8e6, "refused")])
def test_four_units_in_the_last_place_of_f_may_be_rounding_noise(level, verdict):
    """For f = 7e6 + x they reach the limit at h = 1/8, the largest step judged."""
    check = central(lambda x: level + last(x), np.ones_like, size=1)
    assert check.verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(5e-8, "pass"), (2e-7, "FAIL")])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_central_differences_are_judged_by_their_threshold(error, verdict, scale):
    f, g = bent(0.1)
    check = central(lambda x: scale * f(x), lambda x: scale * (1 + error) * g(x))
    assert check.verdict == verdict
    assert check.error == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(("claim", "verdict"), [(0, "pass"), (1e-9, "FAIL")])
def test_zero_is_the_right_derivative_where_relu_is_dead(claim, verdict):
    def f(x):
        return 1 + np.maximum(last(x) - 1, 0)

    assert central(f, lambda x: claim * np.ones(4)).verdict == verdict


# --- complex step and transpose -------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize(
    ("error", "verdict"), [(0, "pass"), (5e-14, "pass"), (2e-13, "FAIL")]
)
def test_exact_tests_are_judged_by_their_threshold_at_any_scale(scale, error, verdict):
    A, x = scale * rng().normal(size=(5, 3)), rng(1).normal(size=3)
    transpose = checks.transpose_test(
        (3,), lambda v: A @ v, lambda u: (1 + error) * A.T @ u, A @ x, rng()
    )
    g = (1 + error) * scale * np.cos(x)
    step = checks.complex_step_test(
        lambda x: scale * last(np.sin(x)), x, lambda d: g @ d, rng()
    )
    for check in (transpose, step):
        assert check.verdict == verdict
        assert check.error == pytest.approx(error, abs=2e-15)


def test_the_complex_step_sees_what_the_taylor_test_cannot():
    x = np.ones(3)
    g = np.cos(x).astype(np.float32).astype(float)
    tests = checks.gradient_test(lambda x: last(np.sin(x)), x, g, rng())
    assert [(t.kind, t.passed) for t in tests] == [
        ("Taylor", True),
        ("complex step", False),
    ]


# --- what a test is given and what it returns -----------------------------------------


@pytest.mark.parametrize(
    ("kind", "verdict", "orders", "line"),
    [
        (
            "Taylor",
            "pass",
            (1, 2),
            "claimed 2.5, measured 2.25, order 1.000, then 2.000 "
            "(required: 0.95 to 1.05, then at least 1.95 or rounding noise)",
        ),
        (
            "Jacobian",
            "FAIL",
            (0.5, np.nan),
            "claimed 2.5, measured 2.25, order 0.500, then noise "
            "(required: 0.95 to 1.05, then at least 1.95 or rounding noise)",
        ),
        (
            "central difference",
            "FAIL",
            (np.nan, np.nan),
            "claimed 2.5, measured 2.25, relative error 1e-01 "
            "(required: relative error ≤ 1e-07)",
        ),
        (
            "central difference",
            "refused",
            (np.nan, np.nan),
            "why",
        ),
        (
            "transpose",
            "FAIL",
            (np.nan, np.nan),
            "claimed 2.5, measured 2.25, relative error 1e-01 "
            "(required: relative error ≤ 1e-13)",
        ),
        (
            "shape",
            "FAIL",
            (np.nan, np.nan),
            "claimed 2.5, measured 2.25 (required: the shape of the argument)",
        ),
    ],
)
def test_a_check_is_one_line_in_columns(kind, verdict, orders, line):
    check = checks.Check(
        kind, verdict, 2.5, 2.25, 0.1, orders, reason="why", function="f", block="W"
    )
    hint = ": why" if verdict != "refused" else ""
    assert str(check) == f"{verdict:7} {kind:18} {'f: W':34} {line}{hint}"
    plain = replace(check, reason="")
    assert str(plain) == str(check).removesuffix(": why").removesuffix("why")


def test_residuals_are_norms_without_and_with_the_derivative():
    D = []

    def twice_too_large(d):
        D.append(d)
        return 2 * last(d)

    arguments = lambda x: last(x + x**3), np.zeros(4), twice_too_large
    taylor = checks.taylor_test(*arguments, rng())
    central = checks.central_difference_test(*arguments, rng())
    slope, cube = last(np.array(D[:4])), last(np.array(D[:4]) ** 3)
    quotients = slope + checks.STEPS[:, None] ** 2 * cube
    for factor, check in ((checks.STEPS[:, None], taylor), (1, central)):
        values = [factor * quotients, factor * (quotients - 2 * slope)]
        expected = np.linalg.norm(values, axis=-1)
        np.testing.assert_allclose(check.residuals, expected, rtol=1e-6)
        np.testing.assert_array_equal(check.steps, checks.STEPS)


def test_the_claim_shown_is_the_one_furthest_from_what_was_measured():
    claimed = np.array([[1.0, 5], [-2, 4], [3, 4]])
    measured = np.array([[1.0, 5], [2, 4], [3, 3]])
    check = checks.conclude("transpose", claimed, measured)
    assert (check.claimed, check.measured) == (-2, 2)
    assert type(check.claimed) is type(check.measured) is float


def test_the_relative_error_is_over_the_larger_norm():
    a, zero = np.array([3.0, 4.0]), np.zeros(2)
    assert checks.relative_error(a, a / 2) == checks.relative_error(a / 2, a) == 0.5
    assert checks.relative_error(a, -a) == 2
    assert checks.relative_error(a, zero) == 1
    assert checks.relative_error(zero, zero) == 0


def test_directions_are_random_normal_of_length_one():
    D, claimed = checks.directions(np.zeros((40, 50)), np.trace, rng())
    assert D.shape == (4, 40, 50)
    assert claimed.tolist() == [np.trace(d) for d in D]
    assert np.linalg.norm(D, axis=(1, 2)) == pytest.approx(np.ones(4))
    assert D.mean() == pytest.approx(0, abs=1e-3)
    kurtosis = np.mean(D**4) / np.mean(D**2) ** 2
    assert kurtosis == pytest.approx(3, abs=0.3)
    inner = np.einsum("aij,bij->ab", D, D) - np.eye(4)
    assert abs(inner).max() < 0.2


def test_a_function_that_mixes_its_replicas_up_is_refused():
    with pytest.raises(ValueError, match="leading axes") as error:
        checks.taylor_test(lambda x: np.full(2, np.sum(x)), np.ones(3), np.sum, rng())
    assert str(error.value) == (
        "a tested function must treat leading axes as replicas: for an argument of the "
        "shape (32, 4, 3) it returned (2,), not (32, 4, 2)"
    )


def test_a_gradient_that_only_broadcasts_fails_by_its_shape(draw):
    """A sum over samples left out would pass in an inner product, by broadcasting."""

    class NotSummed(OutputLayer):
        def backward(self, kept, dy):
            dx, (dW, _) = super().backward(kept, dy)
            return dx, (dW, dy)

    x, C = draw()
    tests = checks.layer_tests("layer", NotSummed(3, 4), x, rng())
    (bad,) = [test for test in tests if not test.passed]
    assert (bad.name, bad.kind, bad.verdict) == ("layer: b", "shape", "FAIL")
    assert "claimed (4, 8), measured (4, 1)" in str(bad)
    network = Network([NotSummed(3, 4)], rng(), dtype=float)
    (bad,) = checks.network_tests("net", network, x, C, rng())
    assert bad.name == "net: all parameters"
    assert "claimed (44,), measured (16,)" in str(bad)
    assert "(required: the shape of the argument)" in str(bad)


def test_a_gradient_of_another_shape_is_told_by_both_shapes():
    (bad,) = checks.gradient_test(last, np.ones(3), np.ones(2), rng())
    assert (bad.name, bad.kind, bad.verdict) == ("f: x", "shape", "FAIL")
    assert (bad.claimed, bad.measured) == ((2,), (3,))
    assert np.isnan(bad.error)


@pytest.mark.parametrize("count", [1, 3])
def test_one_gradient_per_argument_is_asked_for(count):
    arguments = {"x": np.ones(2), "y": np.ones(2)}
    with pytest.raises(ValueError, match=r"shorter|longer"):
        checks.gradient_tests(
            "f", lambda x, y: last(x + y), lambda x, y: count * [x], arguments, rng()
        )


def test_gradients_of_a_function_with_kinks_get_central_differences():
    tests = checks.gradient_tests(
        "f",
        lambda x: last(abs(x)),
        lambda x: [np.sign(x)],
        {"x": np.ones(2)},
        rng(),
        False,
    )
    assert [(t.name, t.kind, t.verdict) for t in tests] == [
        ("f: x", "central difference", "pass")
    ]


def test_a_failure_names_function_block_both_values_and_threshold():
    good, bad = (
        checks.gradient_test(last, np.ones(3), g * np.ones(3), rng()) for g in (1, -2)
    )
    assert [str(test)[:8] for test in good] == ["pass    "] * 2
    assert [str(test)[:8] for test in bad] == ["FAIL    "] * 2
    for test, threshold in zip(bad, ("0.95 to 1.05, then", "≤ 1e-13"), strict=True):
        text = str(test)
        assert "f: x" in text
        claimed, measured = (
            float(text.split(word)[1].split(maxsplit=1)[0].strip(",;"))
            for word in ("claimed", "measured")
        )
        assert claimed == pytest.approx(-2 * measured)
        assert threshold in text.partition("required:")[2]


def test_each_replica_is_judged_by_its_own_gradient():
    x, power = rng().normal(size=(3, 5)), np.array([[1], [2], [3]])

    def tests(factor):
        g = np.array(factor)[:, None] * power * x ** (power - 1)
        return checks.gradient_test(lambda x: last(x**power), x, g, rng())

    assert failed(tests([1, 1, 1])) == set()
    for factor in ([1.001, 1, 1], [1, 1.001, 1], [1, 1, 1.001]):
        assert [test.verdict for test in tests(factor)] == ["FAIL", "FAIL"]


def test_replicas_whose_errors_cancel_fail_all_the_same():
    x = np.ones((2, 3))
    g = np.array([[1.5], [0.5]]) * np.ones((2, 3))
    tests = checks.gradient_test(last, x, g, rng())
    assert [test.verdict for test in tests] == ["FAIL", "FAIL"]


@pytest.mark.parametrize("analytic", [True, False])
def test_every_block_is_tested_by_name(draw, analytic):
    activation = None if analytic else ReLU()
    layers = [ResNetLayer(3, 5, activation), OutputLayer(3, 4)]
    network = Network(layers, rng(3), dtype=float)
    network.parameters += 0.1
    tests = checks.network_tests("net", network, *draw(), rng(), analytic)
    blocks = [f"{block} of layer 1" for block in ("W1", "b1", "W2", "b2")]
    blocks = ["X", *blocks, "W of layer 2", "b of layer 2", "all parameters"]
    kinds = ["Taylor", "complex step"] if analytic else ["central difference"]
    assert [(t.name, t.kind) for t in tests] == [
        *((f"net: {block}", kind) for block in blocks for kind in kinds),
        ("net: all parameters and X", "transpose"),
    ]
    assert failed(tests) == set()
    tests = checks.layer_tests("layer", layers[0], draw()[0], rng(), analytic)
    kinds = ["Jacobian", "complex step"] if analytic else ["central difference"]
    assert [(t.name, t.kind) for t in tests] == [
        (f"layer: {block}", kind)
        for block in ("x", "W1", "b1", "W2", "b2")
        for kind in [*kinds, "transpose"]
    ] + [("layer: stack", "stack")]


def test_a_jacobian_is_tested_as_that_of_an_analytic_function_unless_told(draw):
    layer, (x, _) = OutputLayer(3, 4), draw()
    W, b = rng().normal(size=(4, 3)), np.ones((4, 1))
    y, kept = layer.forward(x, W, b)
    tests = checks.jacobian_test(
        lambda x: layer.forward(x, W, b)[0],
        x,
        lambda dx: layer.jvp(kept, dx, 0 * W, 0 * b),
        lambda u: layer.backward(kept, u)[0],
        y,
        rng(),
    )
    kinds = ["Jacobian", "complex step", "transpose"]
    assert [(t.kind, t.verdict) for t in tests] == [(kind, "pass") for kind in kinds]


def test_equal_generators_give_equal_checks_and_no_global_state_is_used(draw):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    x, _ = draw()
    one, two = (checks.layer_tests("f", HiddenLayer(3, 4), x, rng()) for _ in range(2))
    assert [str(check) for check in one] == [str(check) for check in two]
    np.testing.assert_array_equal(one[0].residuals, two[0].residuals)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_checks_change_nothing(draw):
    X, C = draw()
    network = Network([ResNetLayer(3, 5), OutputLayer(3, 4)], rng(), dtype=float)
    network.parameters.setflags(write=False)
    layers, blocks, theta = network.layers, network._blocks, network.parameters
    assert failed(checks.network_tests("net", network, X, C, rng())) == set()
    assert network.parameters is theta
    assert network._blocks is blocks
    assert network.layers is layers


# --- what is right is never called wrong ----------------------------------------------


def verdicts(tests):
    return {test.verdict for test in tests}


class Normal(Layer):
    """Each row brought to mean 0 and standard deviation 1."""

    def __init__(self, n):
        self.inputs = self.outputs = n
        self.shapes = {}

    def forward(self, x):
        u = x - x.mean(axis=-1, keepdims=True)
        s = np.sqrt((u * u).mean(axis=-1, keepdims=True) + 1e-5)
        return u / s, (u / s, s)

    def backward(self, kept, dy):
        y, s = kept
        centred = dy - dy.mean(axis=-1, keepdims=True)
        return (centred - y * (dy * y).mean(axis=-1, keepdims=True)) / s, ()

    def jvp(self, kept, dx):
        return self.backward(kept, dx)[0]


def test_a_bias_before_a_normalisation_has_the_derivative_zero(draw):
    X, C = draw(m=32)
    layers = [OutputLayer(3, 6), Normal(6), OutputLayer(6, 4)]
    for seed in range(5):
        network = Network(layers, rng(seed), dtype=float)
        tests = checks.network_tests("net", network, X, C, rng(seed))
        assert verdicts(tests) == {"pass"}, [str(t) for t in tests if not t.passed]
        network.parameters += rng(seed).normal(size=network.parameters.size)
        tests = checks.network_tests("net", network, X, C, rng(seed))
        assert verdicts(tests) == {"pass"}, [str(t) for t in tests if not t.passed]


def least_squares(X, C):
    def f(W, b):
        return ((W @ X + b - C) ** 2).sum(axis=(-2, -1)) / 2

    def gradients(W, b):
        R = W @ X + b - C
        return R @ X.mT, R.sum(axis=-1, keepdims=True)

    return f, gradients


@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_at_a_minimum_passes(draw, analytic, seed):
    X, C = draw(m=32)
    f, gradients = least_squares(X, C)
    ones = np.vstack([X, np.ones(32)]).T
    S = np.linalg.lstsq(ones, C.T, rcond=None)[0].T
    arguments = {"W": S[:, :-1], "b": S[:, -1:]}
    tests = checks.gradient_tests("f", f, gradients, arguments, rng(seed), analytic)
    assert verdicts(tests) == {"pass"}, [str(t) for t in tests]


@pytest.mark.parametrize("analytic", [True, False])
def test_samples_of_zero_and_unused_arguments_pass(draw, analytic):
    X, C = draw()
    f, gradients = least_squares(0 * X, C)
    arguments = {"W": rng().normal(size=(4, 3)), "b": np.ones((4, 1))}
    tests = checks.gradient_tests("f", f, gradients, arguments, rng(), analytic)
    assert verdicts(tests) == {"pass"}, [str(t) for t in tests]
    tests = checks.gradient_tests(
        "f",
        lambda x, unused: last(np.exp(x)),
        lambda x, unused: [np.exp(x), 0 * unused],
        {"x": np.ones(3), "unused": np.ones(2)},
        rng(),
        analytic,
    )
    assert verdicts(tests) == {"pass"}


@pytest.mark.parametrize("analytic", [True, False])
def test_a_stack_of_functions_is_tested_with_unused_arguments_too(analytic):
    tests = checks.gradient_tests(
        "f",
        lambda x, unused: np.exp(x).sum(axis=-1),
        lambda x, unused: [np.exp(x), 0 * unused],
        {"x": rng().normal(size=(3, 4)), "unused": np.ones((3, 2))},
        rng(),
        analytic,
    )
    assert verdicts(tests) == {"pass"}


def mixed(W, X, C):
    """Return the cross-entropy of a softmax that counts its axis from the first."""
    E = np.exp(W @ X - (W @ X).max(axis=0))
    return -(C * np.log(E / E.sum(axis=0))).sum(axis=(-2, -1))


@pytest.mark.parametrize("analytic", [True, False])
def test_a_function_that_mixes_replicas_is_refused_by_a_sentence(draw, analytic):
    X, C = draw()
    tests = checks.gradient_tests(
        "f",
        lambda W: mixed(W, X, C),
        lambda W: [(softmax(W @ X) - C) @ X.mT],
        {"W": rng().normal(size=(4, 3))},
        rng(),
        analytic,
    )
    assert [(t.name, t.kind, t.verdict) for t in tests] == [
        ("f: W", "gradient", "refused")
    ]
    assert "axis=-2 for classes" in str(tests[0])


def test_random_functions_are_refused_by_a_sentence():
    noise, x = rng(), rng(1).normal(size=(3, 8))

    def dropout(x):
        return np.sum(x * (noise.random(x.shape) < 0.5), axis=(-2, -1))

    tests = checks.gradient_test(dropout, x, np.ones((3, 8)), rng())
    assert verdicts(tests) == {"refused"}
    assert "called twice" in str(tests[0])


class Dropout(Layer):
    inputs, outputs, shapes = 3, 3, {}

    def __init__(self):
        self.rng = rng()

    def forward(self, x):
        mask = self.rng.random(x.shape) < 0.5
        return x * mask, mask

    def backward(self, mask, dy):
        return dy * mask, ()

    def jvp(self, mask, dx):
        return dx * mask


def test_a_layer_that_draws_random_numbers_is_refused_and_never_fails(draw):
    tests = checks.layer_tests("layer", Dropout(), draw(m=32)[0], rng())
    assert [(t.name, t.kind, t.verdict) for t in tests] == [
        ("layer: x", "Jacobian", "refused"),
        ("layer: stack", "stack", "refused"),
    ]
    assert all("called twice" in str(test) for test in tests)


class RowsOnly(HiddenLayer):
    def forward(self, x, W, b):
        y = self.activation((x.T @ W.T).T + b)
        return y, (x, W, y)


def test_a_layer_that_fails_on_stacks_is_told_in_a_sentence(draw):
    with pytest.raises(ValueError, match=r"leading axes as replicas.* fails with"):
        checks.layer_tests("layer", RowsOnly(3, 4), draw(m=8)[0], rng())


def test_what_is_not_finite_is_refused_by_a_sentence():
    with np.errstate(invalid="ignore"):
        tests = checks.gradient_test(
            lambda x: last(np.sqrt(x)), np.full(3, 0.1), np.ones(3), rng()
        )
    assert verdicts(tests) == {"refused"}
    assert "not finite" in str(tests[0])


def test_single_precision_is_converted_or_refused(draw):
    X, C = (A.astype(np.float32) for A in draw())
    network = Network([HiddenLayer(3, 6), OutputLayer(6, 4)], rng())
    before = network.parameters.copy()
    assert verdicts(checks.network_tests("net", network, X, C, rng())) == {"pass"}
    np.testing.assert_array_equal(network.parameters, before)
    for layer in (HiddenLayer(3, 6), Normal(3)):
        assert verdicts(checks.layer_tests("layer", layer, X, rng())) == {"pass"}
    W = {"W": np.ones((4, 3), np.float32), "b": np.ones((4, 1), np.float32)}
    tests = checks.gradient_tests("f", *least_squares(X, C), W, rng())
    assert verdicts(tests) == {"pass"}
    ones = np.ones(3, np.float32)
    tests = checks.gradient_test(
        lambda x: last(np.sin(x)), ones, np.cos(np.ones(3)), rng()
    )
    assert verdicts(tests) == {"pass"}
    single = np.cos(ones)
    for f, g in (
        (lambda x: last(np.sin(x)), single),
        (lambda x: last(np.sin(x)).astype(np.float32), np.cos(np.ones(3))),
    ):
        tests = checks.gradient_test(f, np.ones(3), g, rng())
        assert verdicts(tests) == {"refused"}
        assert "float64" in str(tests[0])
        arguments = {"x": np.ones(3)}
        tests = checks.gradient_tests("f", f, lambda x, g=g: (g,), arguments, rng())
        assert verdicts(tests) == {"refused"}


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1e-12])
def test_what_does_not_rise_above_the_rounding_never_fails(draw, scale):
    X, C = draw()
    network = Network([HiddenLayer(3, 6), OutputLayer(6, 4)], rng(), dtype=float)
    for analytic in (True, False):
        tests = checks.network_tests("net", network, scale * X, C, rng(), analytic)
        assert "FAIL" not in verdicts(tests), [str(t) for t in tests if not t.passed]
        assert all(test.reason for test in tests if test.verdict == "refused")


KINKED = {
    "ReLU": (lambda x: last(np.maximum(x, 0)), lambda x: 1.0 * (x > 0)),
    "leaky ReLU": (
        lambda x: last(np.maximum(x, 0.1 * x)),
        lambda x: np.where(x > 0, 1, 0.1),
    ),
    "L1": (lambda x: last(abs(x)), np.sign),
    "clip": (lambda x: last(np.clip(x, -0.1, 0.1)), lambda x: 1.0 * (abs(x) < 0.1)),
}


@pytest.mark.parametrize(("f", "g"), KINKED.values(), ids=KINKED.keys())
def test_a_kink_fails_as_analytic_and_the_line_says_what_is_meant(f, g):
    x = 0.2 * rng(1).normal(size=40)
    taylor = checks.gradient_test(f, x, g(x), rng())[0]
    assert taylor.verdict == "FAIL"
    assert "central differences agree, f has kinks: analytic=False" in str(taylor)
    assert verdicts(checks.gradient_test(f, x, g(x), rng(), False)) == {"pass"}
    wrong = checks.gradient_test(f, x, 1.1 * g(x), rng())[0]
    assert wrong.verdict == "FAIL"
    assert wrong.reason == ""


def test_a_slope_a_little_wrong_is_not_taken_for_a_kink():
    x = np.ones(3)
    g = (2 + 1e-9) * x
    taylor = checks.gradient_test(lambda x: last(2 * x), x, g, rng())[0]
    assert taylor.verdict == "FAIL"
    assert taylor.reason == ""


class Flat(HiddenLayer):
    """Right for one network and wrong for a stack: .T, and axes from the first."""

    def backward(self, kept, dy):
        x, W, y = kept
        dz = self.activation.derivative(y) * dy
        return W.T @ dz, (dz @ x.T, dz.sum(axis=1, keepdims=True))


class OneForAll(HiddenLayer):
    """All replicas are given the weights of the first."""

    def backward(self, kept, dy):
        _, W, y = kept
        _, gradients = super().backward(kept, dy)
        first = W if W.ndim == 2 else W[:1]
        return first.mT @ (self.activation.derivative(y) * dy), gradients


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("samples", [2, 8, 16])
@pytest.mark.parametrize("layer", [Flat, OneForAll])
def test_a_layer_right_for_one_network_alone_fails_as_a_stack(layer, width, samples):
    x = rng().normal(size=(width, samples))
    tests = checks.layer_tests("layer", layer(width, width), x, rng())
    assert tests[-1].verdict == "FAIL"
    assert "stack" in str(tests[-1])
    right = checks.layer_tests("layer", HiddenLayer(width, width), x, rng())
    assert verdicts(right) == {"pass"}


def test_layers_without_parameters_are_tested_alone_and_in_networks(draw):
    X, C = draw(m=32)
    tests = checks.layer_tests("layer", Normal(3), X, rng())
    assert [(t.name, t.verdict) for t in tests] == [
        *[("layer: x", "pass")] * 3,
        ("layer: stack", "pass"),
    ]
    network = Network([Normal(3)], rng(), dtype=float)
    tests = checks.network_tests("net", network, X, C[:3] + C[3:] / 3, rng())
    assert verdicts(tests) == {"pass"}, [str(t) for t in tests if not t.passed]


def test_samples_that_do_not_fit_are_named(draw):
    X, C = draw()
    network = Network([OutputLayer(3, 4)], rng(), dtype=float)
    with pytest.raises(ValueError, match=r"columns, give X\.T"):
        checks.network_tests("net", network, X.T, C, rng())
    with pytest.raises(ValueError, match="4 classes"):
        checks.network_tests("net", network, X, C[:3], rng())


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 1, 2, 5])
def test_right_derivatives_pass_or_are_refused_at_any_scale(draw, scale):
    for seed in range(4):
        X, C = draw(m=16)
        X = scale * rng(seed).normal(size=X.shape)
        tests = checks.layer_tests("h", HiddenLayer(3, 6), X, rng(seed))
        tests += checks.layer_tests("r", ResNetLayer(3, 4), X, rng(seed))
        network = Network([ResNetLayer(3, 4), OutputLayer(3, 4)], rng(seed))
        tests += checks.network_tests("net", network, X, C, rng(seed))
        assert "FAIL" not in verdicts(tests), [str(t) for t in tests if not t.passed]
        assert np.mean([test.passed for test in tests]) > 0.85


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1, 1e2, 1e4])
def test_wrong_derivatives_fail_at_any_scale(scale):
    for seed in range(4):
        x = scale * rng(seed).normal(size=(3, 8))
        W = rng(seed).normal(size=(4, 3))
        tests = checks.gradient_tests(
            "f",
            lambda W, x: ((W @ x) ** 2).sum(axis=(-2, -1)),
            lambda W, x: [2.02 * W @ x @ x.mT, 1.98 * W.mT @ W @ x],
            {"W": W, "x": x},
            rng(seed),
        )
        assert verdicts(tests) == {"FAIL"}, [str(t) for t in tests]
