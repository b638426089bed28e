"""The checks themselves: what passes, what fails, and on which side of a threshold.

Wrong derivatives of the real losses, layers and networks are in test_mistakes.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from helpers import checks, mistakes, thresholds
from helpers.checks import STEPS
from helpers.layers import HiddenLayer, Layer, OutputLayer, ReLU, ResNetLayer
from helpers.losses import softmax
from helpers.network import Network

both = pytest.mark.parametrize("analytic", [True, False])


def rng(seed=0):
    return np.random.default_rng(seed)


def last(values):
    """Sum over the last axis: any axes before it are replicas."""
    return np.sum(values, axis=-1)


def gradient(f, x, g, analytic=True, seed=0):
    return checks.gradient_test(f, x, g, rng(seed), analytic)


def gradients(f, g, analytic=True, **arguments):
    return checks.gradient_tests("f", f, g, arguments, rng(), analytic)


def taylor(f, x, derivative):
    return checks.taylor_test(f, x, derivative, rng())


def verdicts(tests):
    return {test.verdict for test in tests}


def kinds(tests):
    return [(test.name, test.kind, test.verdict) for test in tests]


# --- Taylor test ----------------------------------------------------------------------

POLYNOMIALS = [  # f, f′, x, the orders of both residuals
    (lambda x: last(x**3), lambda x: 3 * x**2, np.ones(4), (1, 2)),
    (lambda x: last(x + x**3), lambda x: 1 + 3 * x**2, np.zeros(4), (1, 3)),
    (lambda x: last(x * x), lambda x: 2.02 * x, np.ones(4), (1, 1)),
]


@pytest.mark.parametrize(("f", "derivative", "x", "orders"), POLYNOMIALS)
def test_orders_are_those_of_known_polynomials(f, derivative, x, orders):
    check = taylor(f, x, lambda d: derivative(x) @ d)
    assert check.orders == pytest.approx(orders, abs=0.1)
    assert check.passed == (orders[1] >= 2)
    assert check.residuals.shape == (2, check.steps.size)
    assert check.fitted.sum() == 6
    assert check.error == pytest.approx(0.01 / 1.01 if orders[1] == 1 else 0, abs=5e-7)


FEW = "too few small steps show f above its rounding: scale x or f"
SMALL = "the derivative is too small beside the curvature: move x"
JUDGED = {  # both residuals, the size of f, what is said where not zero is claimed
    "1, 2": (STEPS, STEPS**2, 1, "pass", ""),
    "low": (STEPS**0.951, STEPS**1.951, 1, "pass", ""),
    "high": (STEPS**1.049, STEPS**1.951, 1, "pass", ""),
    "too low": (STEPS**0.949, STEPS**2, 1, "refused", SMALL),
    "too high": (STEPS**1.051, STEPS**2, 1, "refused", SMALL),
    "nothing": (0 * STEPS, STEPS**2, 1, "refused", SMALL),
    "wrong": (STEPS, STEPS, 1, "FAIL", ""),
    "a little wrong": (STEPS, STEPS**1.949, 1, "FAIL", ""),
    "wrong near the rounding": (STEPS, STEPS, 1e9, "FAIL", ""),
    "lost near the rounding": (STEPS, STEPS**1.06, 1e9, "refused", FEW),
    "right near the rounding": (STEPS, 1e-9 * STEPS**1.951, 1, "pass", ""),
    "a drop within": (
        *(STEPS, STEPS**2.5 / np.where(STEPS < 2.0**-14, 64, 1), 1, "pass", ""),
    ),
    "too few": (STEPS, 1e-13 * STEPS**2, 1, "refused", FEW),
    "affine": (STEPS, 2e-14 + 0 * STEPS, 1, "pass", ""),
    "affine, too high": (STEPS**1.06, 2e-14 + 0 * STEPS, 1, "refused", SMALL),
}


@pytest.mark.parametrize("case", JUDGED.values(), ids=JUDGED)
def test_orders_and_sizes_decide_the_verdict(case):
    first, second, size, verdict, reason = case
    found = thresholds.judge(np.stack([first, second]), size, False)
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    zero = thresholds.judge(np.stack([first, second]), size, True)
    assert zero["verdict"] == ("pass" if reason == SMALL else verdict)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(1.9, 1, "FAIL"), (1.8, 1.84, "FAIL"), (1.7, 1.9, "rises"), (2.1, 1.9, "pass")],
)
def test_an_error_shows_in_six_steps_and_in_the_last_three(before, after, verdict):
    residual = 2.0 ** -np.cumsum(11 * [1] + 3 * [before] + 18 * [after])
    residual[16:] = residual[15] / 3
    residual[-2:] = noise = residual[15] / 101
    assert np.flatnonzero(thresholds.fit_range(residual, noise)).tolist() == [
        *range(10, 16)
    ]
    found = thresholds.judge(np.stack([STEPS, residual]), 1, False)["verdict"]
    assert (found == "FAIL") == (verdict == "FAIL")


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [([1.45, 1.36, 1.54, 1.72], "refused"), ([0.2, 0.5, 0.8, 0.95], "FAIL")],
)
def test_an_order_that_rises_past_1_in_the_last_steps_is_not_called_wrong(
    slopes, verdict
):
    residual = 2.0 ** -np.cumsum([*11 * [1], 4.6, *slopes, *16 * [1]])
    residual[16:] = residual[15] / 3
    residual[-2:] = residual[15] / 101
    found = thresholds.judge(np.stack([STEPS, residual]), 1, False)["verdict"]
    assert found == verdict


@pytest.mark.parametrize(("factor", "zero"), [(0.99, "refused"), (1.01, "FAIL")])
def test_a_residual_that_breaks_off_shows_an_error_unless_zero(factor, zero):
    residual = np.where(STEPS > 1e-3, STEPS, 0)
    cut = np.count_nonzero(residual)
    residual[cut:] = factor * residual[cut - 1] / 32
    residual[-2:] /= 90
    for claim, verdict in ((True, zero), (False, "FAIL")):
        found = thresholds.judge(np.stack([STEPS, residual]), 1, claim)
        assert found["verdict"] == verdict


def test_the_thresholds_themselves_are_passed(monkeypatch):
    monkeypatch.setattr(thresholds, "relative_error", lambda *_: 1e-7)
    assert central(*bent(0.1)).passed
    monkeypatch.setattr(thresholds, "relative_error", lambda *_: 1e-13)
    assert checks.conclude("transpose", np.ones(3), np.zeros(3)).passed


@pytest.mark.parametrize("right", [True, False])
def test_affine_functions_are_told_as_rounding_noise(right):
    A, origin = rng().normal(size=(5, 3)), rng(1).normal(size=3)
    slope = A if right else 1.001 * A
    check = taylor(lambda x: (x - origin) @ A.T + 7, origin, lambda d: slope @ d)
    assert check.passed == ("then noise" in str(check)) == right
    assert check.orders[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(check.orders[1]) == right
    assert check.fitted.sum() == 6


FLAT = [  # at zero
    lambda x: last(0 * x) + 1,
    lambda x: last(0 * x),
    lambda x: last(x * x),
    lambda x: 7 + last(x**3),
]


@both
@pytest.mark.parametrize(("claim", "verdict"), [(0, "pass"), (1e-3, "FAIL")])
def test_a_derivative_of_zero_passes_where_f_is_flat(claim, verdict, analytic):
    for f in FLAT:
        tests = gradient(f, np.zeros(3), claim * np.ones(3), analytic)
        assert verdicts(tests) == {verdict}, [str(t) for t in tests]
    for f in (last, lambda x: 5 + last(x + x * x)):
        tests = gradient(f, np.zeros(3), claim * np.ones(3), analytic)
        assert verdicts(tests) == {"FAIL"}


def test_the_noise_is_the_larger_residual_of_the_two_smallest_steps():
    """Here the residual is proportional to ε, so 2⁻²⁴ is the last above 100·2⁻³¹."""
    check = taylor(last, np.zeros(1), lambda d: 2 * last(d))
    np.testing.assert_array_equal(check.steps[check.fitted], STEPS[18:24])


@pytest.mark.parametrize(("units", "verdict"), [(100, "pass"), (101, "FAIL")])
def test_a_hundred_units_in_the_last_place_are_rounding_noise(units, verdict):
    """In one dimension every direction is 1 or −1, and nothing here is rounded."""
    slope = 1 + units * thresholds.EPS
    assert taylor(last, np.zeros(1), lambda d: slope * last(d)).verdict == verdict


def test_a_hundred_times_the_noise_is_too_little_to_be_fitted():
    fitted = thresholds.fit_range(np.array([400, 200, 100.5, 100.0]), noise=1.0)
    assert fitted.tolist() == [True, True, True, False]


def test_an_order_needs_three_steps():
    fitted = np.arange(STEPS.size) < 3
    assert thresholds.order(STEPS**1.5, fitted) == pytest.approx(1.5)
    assert np.isnan(thresholds.order(STEPS**1.5, fitted & (STEPS < 0.5)))
    assert np.isnan(thresholds.order(0 * STEPS, fitted))


# --- central differences --------------------------------------------------------------


def bent(distance):
    """Return a smooth function plus one with a kink at x₀ = distance, and f′(0)."""

    def f(x):
        return last(np.exp(x)) + 3 * np.maximum(x[..., 0] - distance, 0)

    return f, lambda x: np.exp(x) + 3 * np.array([x[0] > distance, 0, 0, 0])


def central(f, g, seed=0, size=4):
    x = np.zeros(size)
    return checks.central_difference_test(f, x, lambda d: g(x) @ d, rng(seed))


@pytest.mark.parametrize("distance", [1e-5, -1e-5, -0.3])
@pytest.mark.parametrize("seed", range(3))
def test_central_differences_stay_clear_of_a_kink_nearby(distance, seed):
    check = central(*bent(distance), seed)
    assert check.verdict == "pass"
    assert check.error < 1e-9
    assert check.steps[check.fitted].size == 1
    assert check.steps[check.fitted] < abs(distance) * 10


@pytest.mark.parametrize("distance", [0, -1e-10])
@pytest.mark.parametrize("seed", range(3))
def test_central_differences_refuse_to_judge_at_a_kink(distance, seed):
    check = central(*bent(distance), seed)
    assert check.verdict == "refused"
    assert np.isnan(check.error)
    assert check.residuals.shape == (2, check.steps.size)
    assert str(check).endswith(
        " no step clears both the kinks of f and the rounding noise: move x"
    )


LOST = [  # what may be seen of a kink, and of the rounding of f, and a little more
    (1e9, np.sin, "refused"),  # it swallows all changes, whose quotients agree as zero
    (0, lambda x: checks.CENTRAL_DIFFERENCE / 4 * abs(x), "pass"),
    (0, lambda x: 1.01 * checks.CENTRAL_DIFFERENCE / 4 * abs(x), "refused"),
    (6e6, lambda x: x, "pass"),
    (8e6, lambda x: x, "refused"),
]


@pytest.mark.parametrize(("level", "f", "verdict"), LOST)
def test_a_quarter_of_the_threshold_may_be_kink_or_rounding(level, f, verdict):
    """A direction is 1 or −1 here, and h = 1/8 the largest step that is judged."""
    derivative = np.zeros_like if f(-1) == f(1) else np.ones_like
    check = central(lambda x: level + last(f(x)), derivative, size=1)
    assert check.verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(5e-8, "pass"), (2e-7, "FAIL")])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_central_differences_are_judged_by_their_threshold(error, verdict, scale):
    f, g = bent(0.1)
    check = central(lambda x: scale * f(x), lambda x: scale * (1 + error) * g(x))
    assert check.verdict == verdict
    assert check.error == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(("factor", "verdict"), [(1, "refused"), (1.01, "FAIL")])
def test_a_drift_of_the_best_quotient_is_no_error(factor, verdict):
    """Large steps are spoiled by the curvature, and small ones by the rounding."""
    check = central(
        lambda x: 1e5 + last(np.sin(10 * x) + np.maximum(x - 1e-3, 0)),
        lambda x: factor * 10 * np.ones_like(x),
    )
    assert check.verdict == verdict
    assert check.error > checks.CENTRAL_DIFFERENCE


@pytest.mark.parametrize(
    ("claim", "verdict"), [(0, "pass"), (1e-20, "pass"), (1e-3, "FAIL")]
)
@pytest.mark.parametrize("slope", [1, 1e-6])
@pytest.mark.parametrize("distance", [0.1, 1e-4])
def test_a_kink_at_the_end_of_a_plateau_is_no_rounding(claim, verdict, slope, distance):
    check = central(
        lambda x: slope * last(np.maximum(x - distance, 0)),
        lambda x: slope * claim * np.ones_like(x),
    )
    assert check.verdict == verdict


@pytest.mark.parametrize(("number", "level"), [(27, 2e-12), (26, 1e-12), (25, 0)])
def test_rounding_shows_in_the_second_differences_of_the_smallest_steps(number, level):
    changes = STEPS[:, None] * np.ones(4)
    changes[number, 0] += 1e-12
    found = checks.rounding_level(np.zeros(()), changes)
    assert found == pytest.approx(level, rel=1e-3, abs=1e-15)


# --- complex step and transpose -------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
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


# --- what a test is given and what it returns -----------------------------------------


ORDERS = "(required: 0.95 to 1.05, then at least 1.95 or rounding noise)"
LINES = [
    ("Taylor", "pass", (1, 2), f", order 1.000, then 2.000 {ORDERS}"),
    ("Jacobian", "FAIL", (0.5, np.nan), f", order 0.500, then noise {ORDERS}"),
    (
        *("central difference", "FAIL", (np.nan, np.nan)),
        ", relative error 1e-01 (required: relative error ≤ 1e-07)",
    ),
    (
        *("transpose", "FAIL", (np.nan, np.nan)),
        ", relative error 1e-01 (required: relative error ≤ 1e-13)",
    ),
    ("shape", "FAIL", (np.nan, np.nan), " (required: the shape of the argument)"),
]


@pytest.mark.parametrize(("kind", "verdict", "orders", "line"), LINES)
def test_a_check_is_one_line_in_columns(kind, verdict, orders, line):
    check = checks.Check(
        kind, verdict, 2.5, 2.25, 0.1, orders, reason="why", function="f", block="W"
    )
    start, found = f"{kind:18} {'f: W':34} ", f"claimed 2.5, measured 2.25{line}"
    assert str(check) == f"{verdict:7} {start}{found}: why"
    assert str(replace(check, reason="")) == f"{verdict:7} {start}{found}"
    assert str(replace(check, verdict="refused")) == f"refused {start}why"


def test_residuals_are_norms_without_and_with_the_derivative():
    D = []

    def twice_too_large(d):
        D.append(d)
        return 2 * last(d)

    arguments = lambda x: last(x + x**3), np.zeros(4), twice_too_large
    taylor = checks.taylor_test(*arguments, rng())
    central = checks.central_difference_test(*arguments, rng())
    slope, cube = last(np.array(D[:4])), last(np.array(D[:4]) ** 3)
    quotients = slope + STEPS[:, None] ** 2 * cube
    for factor, check in ((STEPS[:, None], taylor), (1, central)):
        values = [factor * quotients, factor * (quotients - 2 * slope)]
        expected = np.linalg.norm(values, axis=-1)
        np.testing.assert_allclose(check.residuals, expected, rtol=1e-6)
        np.testing.assert_array_equal(check.steps, STEPS)


def test_the_claim_shown_is_the_one_furthest_from_what_was_measured():
    claimed = np.array([[1.0, 5], [-2, 4], [3, 4]])
    measured = np.array([[1.0, 5], [2, 4], [3, 3]])
    check = checks.conclude("transpose", claimed, measured)
    assert (check.claimed, check.measured) == (-2, 2)
    assert type(check.claimed) is type(check.measured) is float


@pytest.mark.parametrize(
    ("level", "verdict"),
    [(1, "pass"), (0.99, "refused"), (0.0401, "refused"), (0.0399, "FAIL")],
)
def test_near_the_rounding_of_f_nothing_is_called_wrong(level, verdict):
    check = checks.conclude("transpose", np.ones(1), 2 * np.ones(1), level)
    reasons = {
        "pass": "both are the same within the rounding of f",
        "refused": "the derivative is lost in f's rounding: scale x",
        "FAIL": "",
    }
    assert (check.verdict, check.reason) == (verdict, reasons[verdict])


def test_a_transpose_may_differ_by_the_rounding_of_f():
    A = rng().normal(size=(5, 3))

    def transposed(u):
        return (1 + 2e-10) * A.T @ u

    large = 1e6 * np.ones(5)
    tests = [
        checks.transpose_test((3,), lambda v: A @ v, transposed, value, rng())
        for value in (large, np.ones(5))
    ]
    assert [test.verdict for test in tests] == ["pass", "FAIL"]


def test_the_relative_error_is_over_the_larger_norm():
    a, zero = np.array([3.0, 4.0]), np.zeros(2)
    pairs = (a, a / 2), (a / 2, a), (a, -a), (a, zero), (zero, zero)
    assert [checks.relative_error(*pair) for pair in pairs] == [0.5, 0.5, 2, 1, 0]


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
        taylor(lambda x: np.full(2, np.sum(x)), np.ones(3), np.sum)
    assert str(error.value) == (
        "a tested function must treat leading axes as replicas: for an argument of the "
        "shape (32, 4, 3) it returned (2,), not (32, 4, 2)"
    )


class NotSummed(OutputLayer):
    """It would pass in an inner product, by broadcasting."""

    def backward(self, kept, dy):
        dx, (dW, _) = super().backward(kept, dy)
        return dx, (dW, dy)


def test_a_sum_over_samples_left_out_fails_by_its_shape(draw):
    x, C = draw()
    tests = checks.layer_tests("layer", NotSummed(3, 4), x, rng())
    (bad,) = [test for test in tests if not test.passed]
    assert kinds([bad]) == [("layer: b", "shape", "FAIL")]
    assert "claimed (4, 8), measured (4, 1) (required: the shape" in str(bad)
    network = Network([NotSummed(3, 4)], rng(), dtype=float)
    (bad,) = checks.network_tests("net", network, x, C, rng())
    assert kinds([bad]) == [("net: all parameters", "shape", "FAIL")]
    assert (bad.claimed, bad.measured) == ((44,), (16,))


def test_a_gradient_of_another_shape_is_told_by_both_shapes():
    (bad,) = gradient(last, np.ones(3), np.ones(2))
    assert (bad.kind, bad.claimed, bad.measured) == ("shape", (2,), (3,))


@pytest.mark.parametrize("count", [1, 3])
def test_one_gradient_per_argument_is_asked_for(count):
    with pytest.raises(ValueError, match=r"shorter|longer"):
        gradients(last, lambda x: (count - 1) * [x], x=np.ones(2))


@pytest.mark.parametrize(
    "factor", [(1.001, 1, 1), (1, 1.001, 1), (1, 1, 1.001), (1.5, 0.5, 1), (1, 1, 1)]
)
def test_each_replica_is_judged_by_its_own_gradient(factor):
    x, power = rng().normal(size=(3, 5)), np.array([[1], [2], [3]])
    g = np.array(factor)[:, None] * power * x ** (power - 1)
    verdict = "pass" if set(factor) == {1} else "FAIL"
    tests = gradient(lambda x: last(x**power), x, g)
    assert [test.verdict for test in tests] == [verdict] * 2


@both
def test_every_block_is_tested_by_name(draw, analytic):
    (X, C), sigma = draw(), None if analytic else ReLU()
    layers = [ResNetLayer(3, 5, sigma), OutputLayer(3, 4)]
    network = Network(layers, rng(3), dtype=float)
    network.parameters += 0.1
    tests = checks.network_tests("net", network, X, C, rng(), analytic)
    tests += checks.layer_tests("layer", layers[0], X, rng(), analytic)
    others = ["complex step"] if analytic else []
    first = [
        [kind] if analytic else ["central difference"] for kind in thresholds.TAYLOR
    ]
    names = [f"{block} of layer 1" for block in ("W1", "b1", "W2", "b2")]
    names = ["X", *names, "W of layer 2", "b of layer 2", "all parameters"]
    assert kinds(tests) == [
        *(
            (f"net: {name}", kind, "pass")
            for name in names
            for kind in first[0] + others
        ),
        ("net: all parameters and X", "transpose", "pass"),
        *(
            (f"layer: {block}", kind, "pass")
            for block in ("x", "W1", "b1", "W2", "b2")
            for kind in [*first[1], *others, "transpose"]
        ),
        ("layer: stack", "stack", "pass"),
    ]


# --- what is right is never called wrong ----------------------------------------------


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


def test_normalisation_alone_and_after_a_bias_whose_derivative_is_zero(draw):
    X, C = draw(classes=3, m=32)
    for layers in ([Normal(3)], [OutputLayer(3, 6), Normal(6), OutputLayer(6, 3)]):
        network = Network(layers, rng(), dtype=float)
        tests = checks.network_tests("net", network, X, C, rng())
        assert verdicts(tests) == {"pass"}, [str(t) for t in tests if not t.passed]


def least_squares(X, C):
    def f(W, b):
        return ((W @ X + b - C) ** 2).sum(axis=(-2, -1)) / 2

    def gradients(W, b):
        R = W @ X + b - C
        return R @ X.mT, R.sum(axis=-1, keepdims=True)

    return f, gradients


@both
def test_the_gradient_at_a_minimum_passes(draw, analytic):
    X, C = draw(m=32)
    ones = np.vstack([X, np.ones(32)]).T
    S = np.linalg.lstsq(ones, C.T, rcond=None)[0].T
    tests = gradients(*least_squares(X, C), analytic, W=S[:, :-1], b=S[:, -1:])
    assert verdicts(tests) == {"pass"}, [str(t) for t in tests]
    assert str(tests[-1]).endswith("): both are the same within the rounding of f")


@both
@pytest.mark.parametrize("replicas", [(), (3,)])
def test_samples_of_zero_and_unused_arguments_pass(draw, analytic, replicas):
    X, C = draw(replicas=replicas)
    W, b = rng().normal(size=(*replicas, 4, 3)), np.ones((*replicas, 4, 1))
    tests = gradients(*least_squares(0 * X, C), analytic, W=W, b=b)
    tests += gradients(
        lambda x, unused: last(np.exp(x)),
        lambda x, unused: [np.exp(x), 0 * unused],
        analytic,
        x=np.ones((*replicas, 3)),
        unused=np.ones((*replicas, 2)),
    )
    assert verdicts(tests) == {"pass"}, [str(t) for t in tests]


def mixed(W, X, C):
    """Return the cross-entropy of a softmax that counts its axis from the first."""
    E = np.exp(W @ X - (W @ X).max(axis=0))
    return -(C * np.log(E / E.sum(axis=0))).sum(axis=(-2, -1))


@both
def test_a_function_that_mixes_replicas_is_refused_by_a_sentence(draw, analytic):
    X, C = draw()
    tests = gradients(
        lambda W: mixed(W, X, C),
        lambda W: [(softmax(W @ X) - C) @ X.mT],
        analytic,
        W=rng().normal(size=(4, 3)),
    )
    assert kinds(tests) == [("f: W", "gradient", "refused")]
    assert str(tests[0]).endswith(
        " f of a stack differs from f of its parts, so it mixes replicas: count its "
        "axes from the last (axis=-2 for classes, .mT for .T)"
    )


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
    assert kinds(tests) == [
        ("layer: x", "Jacobian", "refused"),
        ("layer: stack", "stack", "refused"),
    ]
    said = " f called twice with the same x differs: draw its random numbers once"
    assert all(str(test).endswith(said) for test in tests)


def test_a_layer_that_fails_on_stacks_is_told_in_a_sentence(draw):
    class RowsOnly(HiddenLayer):
        def forward(self, x, W, b):
            return super().forward(x.T.T, W.T.mT, b)

    with pytest.raises(ValueError, match=r"^a tested .* axes as replicas.* fails with"):
        checks.layer_tests("layer", RowsOnly(3, 4), draw()[0], rng())


def test_what_is_not_finite_is_refused_by_a_sentence():
    with np.errstate(invalid="ignore"):
        (test,) = gradient(lambda x: last(np.sqrt(x)), np.full(3, 0.1), np.ones(3))
    assert test.verdict == "refused"
    assert test.reason == "f is not finite between x − 0.5 and x + 0.5: move x"


def test_single_precision_is_converted(draw):
    X, C = (A.astype(np.float32) for A in draw())
    network = Network([HiddenLayer(3, 6), OutputLayer(6, 4)], rng())
    before = network.parameters.copy()
    tests = checks.network_tests("net", network, X, C, rng())
    np.testing.assert_array_equal(network.parameters, before)
    for layer in (HiddenLayer(3, 6), Normal(3)):
        tests += checks.layer_tests("layer", layer, X, rng())
    W, b = np.ones((4, 3), np.float32), np.ones((4, 1), np.float32)
    tests += gradients(*least_squares(X, C), W=W, b=b)
    assert verdicts(tests) == {"pass"}


@pytest.mark.parametrize(
    ("f", "g", "what"),
    [
        (float, np.float32, "the gradient is float32"),
        (np.float32, float, "f computes in float32"),
    ],
)
def test_single_precision_is_refused_where_it_is_computed(f, g, what):
    def sine(x):
        return last(np.sin(x)).astype(f)

    g = np.cos(np.ones(3)).astype(g)
    tests = gradient(sine, np.ones(3), g)
    tests += gradients(sine, lambda x: (g,), x=np.ones(3))
    assert verdicts(tests) == {"refused"}
    assert {test.reason for test in tests} == {f"{what}: the tests need float64"}


KINKED = {
    "ReLU": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    "L1": (abs, np.sign),
    "clip": (lambda x: np.clip(x, -0.1, 0.1), lambda x: 1.0 * (abs(x) < 0.1)),
}


@pytest.mark.parametrize(("sigma", "g"), KINKED.values(), ids=KINKED)
def test_a_kink_is_refused_as_analytic_and_the_line_says_what_is_meant(sigma, g):
    def f(x):
        return last(sigma(x))

    x = 0.2 * rng(1).normal(size=40)
    right, wrong = gradient(f, x, g(x)), gradient(f, x, 1.1 * g(x))[0]
    assert "FAIL" not in verdicts(right)
    assert "central differences agree, so f has kinks or" in str(right[0])
    assert (wrong.verdict, wrong.reason) == ("FAIL", "")
    assert verdicts(gradient(f, x, g(x), False)) == {"pass"}


def into_floats(x):
    y = np.zeros(x.shape)
    y[...] = np.real(x) ** 3
    return y


UNREAL = {  # right, but for real numbers only
    "array of floats": (into_floats, lambda x: 3 * x**2),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "expit": (expit, lambda x: expit(x) * (1 - expit(x))),
}


@pytest.mark.parametrize(("sigma", "g"), UNREAL.values(), ids=UNREAL)
def test_what_loses_complex_numbers_is_refused_as_analytic(sigma, g):
    def f(x):
        return last(sigma(x))

    x = 1 + rng(1).random(40)
    taylor, step = gradient(f, x, g(x))
    assert (taylor.verdict, step.verdict) == ("pass", "refused")
    assert step.kind == "complex step"
    assert "analytic=False is meant" in step.reason
    assert "FAIL" in verdicts(gradient(f, x, (1 + 1e-6) * g(x)))
    assert verdicts(gradient(f, x, g(x), False)) == {"pass"}


def test_a_slope_a_little_wrong_is_not_taken_for_a_kink():
    found = gradient(lambda x: last(2 * x), np.ones(3), (2 + 1e-9) * np.ones(3))[0]
    assert (found.verdict, found.reason) == ("FAIL", "")


class Flat(HiddenLayer):
    """Right for one network and wrong for a stack: .T, and axes from the first."""

    def backward(self, kept, dy):
        x, W, y = kept
        dz = self.activation.derivative(y) * dy
        return W.T @ dz, (dz @ x.T, dz.sum(axis=1, keepdims=True))


class OneForAll(HiddenLayer):
    """All replicas are given the weights of the first."""

    def backward(self, kept, dy):
        x, W, y = kept
        first = W if W.ndim == 2 else W[:1]
        return super().backward((x, first, y), dy)


@pytest.mark.parametrize(("width", "samples"), [(2, 8), (8, 2), (4, 4)])
@pytest.mark.parametrize("layer", [Flat, OneForAll])
def test_a_layer_right_for_one_network_alone_fails_as_a_stack(layer, width, samples):
    x = rng().normal(size=(width, samples))
    *_, stack = checks.layer_tests("layer", layer(width, width), x, rng())
    assert (stack.block, stack.verdict) == ("stack", "FAIL")
    assert "nan" not in str(stack)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-6, 1e-2, 5])
@pytest.mark.parametrize("layer", [HiddenLayer(3, 3), ResNetLayer(3, 4), Normal(3)])
def test_right_derivatives_pass_or_are_refused_at_any_scale(draw, layer, scale):
    X, C = draw(m=16)
    for seed in range(3):
        tests = checks.layer_tests("layer", layer, scale * X, rng(seed))
        network = Network([layer, OutputLayer(3, 4)], rng(seed))
        tests += checks.network_tests("net", network, scale * X, C, rng(seed))
        tests += checks.network_tests("net", network, scale * X, C, rng(seed), False)
        assert "FAIL" not in verdicts(tests), [str(t) for t in tests if not t.passed]
        assert all(test.reason for test in tests if not test.passed)
        assert scale < 1e-6 or np.mean([test.passed for test in tests]) > 0.85


@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_wrong_derivatives_fail_at_any_scale(scale):
    tests = gradients(
        lambda W, x: ((W @ x) ** 2).sum(axis=(-2, -1)),
        lambda W, x: [2.02 * W @ x @ x.mT, 1.98 * W.mT @ W @ x],
        W=rng().normal(size=(4, 3)),
        x=scale * rng(1).normal(size=(3, 8)),
    )
    assert verdicts(tests) == {"FAIL"}, [str(t) for t in tests]


@pytest.mark.parametrize("scale", 10.0 ** np.arange(-6, 7, 2))
def test_right_derivatives_pass_at_every_scale_and_wrong_ones_fail(scale):
    for seed in range(3):
        source = rng(seed)
        x = scale * source.normal(size=(3, 4))
        right = checks.layer_tests("right", HiddenLayer(3, 4), x, source)
        right += checks.layer_tests("right", ResNetLayer(3, 4), x, source)
        assert "FAIL" not in verdicts(right)
        wrong = checks.layer_tests(
            "wrong", mistakes.ForgottenSkip(3, 4, outer=False), x, source
        )
        assert "FAIL" in verdicts(wrong)


@both
@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize("depth", range(16, 34, 2))
def test_what_is_lost_beside_a_1_is_not_called_wrong(analytic, scale, depth):
    """A saturated loss log(1 + eᶻ), like its gradient 1 − 1/(1 + eᶻ), jumps by EPS."""

    def f(x):
        return np.log(1 + np.exp(scale * last(x) - depth))

    g = scale * (1 - 1 / (1 + np.exp(-depth))) * np.ones(3)
    assert "FAIL" not in verdicts(gradient(f, np.zeros(3), g, analytic))
    assert verdicts(gradient(f, np.zeros(3), 1.1 * g, analytic)) != {"pass"}


@pytest.mark.parametrize("scale", [1e-17, 1e-20])
def test_an_f_below_the_rounding_is_refused_and_not_passed(scale):
    def f(x):
        return scale * last(x**2)

    (found,) = gradient(f, np.ones(3), 5 * scale * np.ones(3))
    assert found.verdict == "refused"
    assert "f is below 2e-14 around x" in found.reason
