"""The checks themselves: what passes, what fails, and on which side of a threshold.

A table says what is found of known functions, three properties what is found of layers
of any size, at any scale. Wrong derivatives of the real losses, layers and networks are
in test_mistakes.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from helpers import checks, mistakes, thresholds
from helpers.checks import STEPS
from helpers.layers import HiddenLayer, Layer, OutputLayer, ReLU, ResNetLayer
from helpers.network import Network

both = pytest.mark.parametrize("analytic", [True, False])
NAN = np.nan


def rng(seed=0):
    return np.random.default_rng(seed)


def last(values):
    """Sum over the last axis: any axes before it are replicas."""
    return np.sum(values, axis=-1)


def gradients(f, g, analytic=True, **arguments):
    return checks.gradient_tests("f", f, g, arguments, rng(), analytic)


def verdicts(tests):
    return {test.verdict for test in tests}


def kinds(tests):
    return [(test.name, test.kind, test.verdict) for test in tests]


# --- a table: function, x, derivative, kind of test, verdict, words -------------------


def entries(sigma, slope):
    """Return f(x) = Σ σ(xᵢ) and its gradient."""
    return lambda x: last(sigma(x)), slope


def moved(pair, factor=1, level=0):
    """Return factor·f + level and its gradient."""
    f, g = pair
    return lambda x: factor * f(x) + level, lambda x: factor * g(x)


def bent(distance):
    """Return a smooth function plus one with a kink at x₀ = distance."""

    def f(x):
        return last(np.exp(x)) + 3 * np.maximum(x[..., 0] - distance, 0)

    return f, lambda x: np.exp(x) + 3 * np.array([x[0] > distance, 0, 0, 0])


def ramp(distance, slope=1):
    """Return a function that is flat around zero, as far as a kink."""
    return entries(lambda x: slope * np.maximum(x - distance, 0), np.zeros_like)


def floats(x):
    y = np.zeros(x.shape)
    y[...] = np.real(x) ** 3
    return y


LINE = entries(lambda x: x, np.ones_like)
SQUARE = entries(lambda x: x * x, lambda x: 2 * x)
CUBE = entries(lambda x: x**3, lambda x: 3 * x**2)
RISE = entries(lambda x: x + x**3, lambda x: 1 + 3 * x**2)
CURVE = entries(lambda x: x + x * x, lambda x: 1 + 2 * x)
FLAT = entries(lambda x: 0 * x, np.zeros_like)
SINE = entries(np.sin, np.cos)
ROOT = entries(np.sqrt, lambda x: 1 / np.sqrt(x) / 2)
SINGLE = entries(lambda x: np.sin(x).astype(np.float32), np.cos)
SINGLES = entries(np.sin, lambda x: np.cos(x).astype(np.float32))
DRAWN = rng()
NOISE = entries(lambda x: x * DRAWN.random(), np.ones_like)
MIXED = entries(  # counts its axis from the first
    lambda x: (x - x.mean(axis=0)) ** 2, lambda x: 2 * (x - x.mean())
)
# Large steps are spoiled by the curvature, and small ones by the rounding.
LATE = entries(lambda x: np.sin(10 * x) + np.maximum(x - 1e-3, 0), lambda x: 10 + 0 * x)
KINK = entries(abs, np.zeros_like)  # at its kink
KINKED = {
    "ReLU": entries(lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    "L1": entries(abs, np.sign),
    "clip": entries(lambda x: np.clip(x, -0.1, 0.1), lambda x: 1.0 * (abs(x) < 0.1)),
}
REAL = {  # right, but for real numbers only
    "array of floats": entries(floats, CUBE[1]),
    "softsign": entries(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "expit": entries(expit, lambda x: expit(x) * (1 - expit(x))),
}
EPS, LIMIT = thresholds.EPS, thresholds.CENTRAL_DIFFERENCE
ONE, ZEROS, ONES, TENTHS = np.zeros(1), np.zeros(4), np.ones(4), np.full(4, 0.1)
NEAR, FAR = 0.2 * rng(1).normal(size=40), 1 + rng(1).random(40)
TAYLOR, CENTRAL, STEP = "Taylor", "central difference", "complex step"
REFUSAL = "gradient"  # before any test

ALIKE = "both are the same within the rounding of f"
LOST = "the derivative is lost in f's rounding: scale x"
NO_STEP = "no step clears both the kinks of f and the rounding noise: move x"
KINKS = "central differences agree, so f has kinks or loses complex numbers (abs, std, "
KINKS += "an array of floats): analytic=False is meant"
COMPLEX = "f takes no complex numbers (ufunc 'expit' not supported "
BELOW = "f is below 2e-14 around x, where rounding hides it: scale f"
AXES = "f of a stack differs from f of its parts, so it mixes replicas: count its axes "
AXES += "from the last (axis=-2 for classes, .mT for .T)"

TABLE = [  # f and g, x, what of g is claimed (times, plus), kind, verdict, words
    # The orders are those of known polynomials.
    (CUBE, ONES, (1, 0), TAYLOR, "pass", "order 1.000, then 2.00"),
    (RISE, ZEROS, (1, 0), TAYLOR, "pass", "order 1.000, then 3.000"),
    (SQUARE, ONES, (1.01, 0), TAYLOR, "FAIL", "order 1.000, then 1.000"),
    (LINE, ONES, (1, 0), TAYLOR, "pass", "order 1.000, then noise"),
    (LINE, ONES, (1.001, 0), TAYLOR, "FAIL", "order 1.000, then 1.000"),
    (moved(LINE, 2), ONES, (1 + 1e-9, 0), TAYLOR, "FAIL", ""),  # and no kink
    # In one dimension a direction is 1 or −1, and nothing is rounded.
    (LINE, ONE, (1 + 100 * EPS, 0), TAYLOR, "pass", "noise"),
    (LINE, ONE, (1 + 101 * EPS, 0), TAYLOR, "FAIL", ""),
    # The thresholds of the others, at any scale.
    *[
        (moved(pair, scale), x, (1 + error, 0), kind, verdict, f"error {error:.0e}")
        for pair, x, kind, right, wrong in (
            (bent(0.1), ZEROS, CENTRAL, 5e-8, 2e-7),
            (SINE, NEAR, STEP, 5e-14, 2e-13),
        )
        for scale in (1e-6, 1e6)
        for error, verdict in ((right, "pass"), (wrong, "FAIL"))
    ],
    # A derivative of zero where f is flat, and where it is not.
    *[
        (pair, ZEROS, (0, claim), kind, verdict, "")
        for pair in (FLAT, moved(FLAT, level=1), SQUARE, moved(CUBE, level=7))
        for kind in (TAYLOR, STEP, CENTRAL)
        for claim, verdict in ((0, "pass"), (1e-3, "FAIL"))
    ],
    *[
        (pair, ZEROS, (0, claim), kind, "FAIL", "")
        for pair in (LINE, moved(CURVE, level=5))
        for kind in (TAYLOR, STEP, CENTRAL)
        for claim in (0, 1e-3)
    ],
    *[
        (ramp(distance, slope), ZEROS, (0, slope * claim), CENTRAL, verdict, "")
        for distance in (0.1, 1e-4)
        for slope in (1, 1e-6)
        for claim, verdict in ((0, "pass"), (1e-20, "pass"), (1e-3, "FAIL"))
    ],
    # Kinks, near and far, and what may be seen of one, or of the rounding.
    *[(bent(d), ZEROS, (1, 0), CENTRAL, "pass", "") for d in (1e-5, -1e-5, -0.3)],
    *[(bent(d), ZEROS, (1, 0), CENTRAL, "refused", NO_STEP) for d in (0, -1e-10)],
    (moved(KINK, LIMIT / 4), ONE, (1, 0), CENTRAL, "pass", ""),
    (moved(KINK, 1.01 * LIMIT / 4), ONE, (1, 0), CENTRAL, "refused", NO_STEP),
    (moved(LINE, level=6e6), ONE, (1, 0), CENTRAL, "pass", ""),
    (moved(LINE, level=8e6), ONE, (1, 0), CENTRAL, "refused", NO_STEP),
    (moved(SINE, level=1e9), ONE, (1, 0), CENTRAL, "refused", NO_STEP),
    (moved(LATE, level=1e5), ZEROS, (1, 0), CENTRAL, "refused", LOST),
    (moved(LATE, level=1e5), ZEROS, (1.01, 0), CENTRAL, "FAIL", ""),
    # A kink, or what is right for real numbers only, is not called wrong as analytic.
    *[(pair, NEAR, (1, 0), TAYLOR, "refused", KINKS) for pair in KINKED.values()],
    *[(pair, NEAR, (1.1, 0), TAYLOR, "FAIL", "") for pair in KINKED.values()],
    *[(pair, NEAR, (1, 0), CENTRAL, "pass", "") for pair in KINKED.values()],
    *[(pair, FAR, (1, 0), TAYLOR, "pass", "") for pair in REAL.values()],
    *[(pair, FAR, (1 + 1e-4, 0), TAYLOR, "FAIL", "") for pair in REAL.values()],
    *[(pair, FAR, (1 + 1e-6, 0), CENTRAL, "FAIL", "") for pair in REAL.values()],
    *[(pair, FAR, (1, 0), CENTRAL, "pass", "") for pair in REAL.values()],
    (REAL["array of floats"], FAR, (1, 0), STEP, "refused", KINKS),
    (REAL["softsign"], FAR, (1, 0), STEP, "refused", KINKS),
    (REAL["expit"], FAR, (1, 0), STEP, "refused", COMPLEX),
    (REAL["array of floats"], FAR, (1 + 1e-6, 0), STEP, "FAIL", ""),
    (REAL["softsign"], FAR, (1 + 1e-6, 0), STEP, "FAIL", ""),
    # What is no function of x alone, or cannot be seen, is refused before.
    (ROOT, TENTHS, (1, 0), REFUSAL, "refused", "f is not finite between x − 0.5 and x"),
    (SINGLE, ONES, (1, 0), REFUSAL, "refused", "f computes in float32: the tests need"),
    (SINGLES, ONES, (1, 0), REFUSAL, "refused", "the gradient is float32: the tests"),
    (NOISE, ONES, (1, 0), REFUSAL, "refused", checks.RANDOM),
    (MIXED, NEAR, (1, 0), REFUSAL, "refused", AXES),
    (moved(SQUARE, 1e-17), ONES, (2, 0), REFUSAL, "refused", BELOW),
    (moved(SQUARE, 1e-20), ONES, (2, 0), REFUSAL, "refused", BELOW),
]


@pytest.mark.parametrize("row", TABLE)
def test_the_verdict_and_the_words_for_known_functions(row):
    (f, g), x, (times, plus), kind, verdict, words = row
    with np.errstate(invalid="ignore"):
        found = [
            test
            for seed in range(3)
            for test in checks.gradient_test(
                f, x, times * g(x) + plus, rng(seed), kind != CENTRAL
            )
            if test.kind == kind
        ]
    assert len(found) == 3
    assert verdicts(found) == {verdict}, [str(test) for test in found]
    for test in found:
        assert words in str(test)
        assert test.reason.startswith(words if verdict == "refused" else "")
        assert not (test.reason and verdict == "FAIL")
        assert kind not in {TAYLOR, CENTRAL} or test.residuals.shape == (2, STEPS.size)


# --- three properties -----------------------------------------------------------------


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


LAYERS = st.sampled_from(
    [HiddenLayer(3, 3), ResNetLayer(3, 4), ResNetLayer(3, 2, outer=False), Normal(3)]
)
SEEDS = st.integers(0, 2**32 - 1)


@given(LAYERS, st.floats(-300, 1), SEEDS)
def test_right_derivatives_pass_or_are_refused_at_any_scale(draw, layer, power, seed):
    X, C = draw(m=16, seed=seed)
    X = 10.0**power * X
    network = Network([layer, OutputLayer(3, 4)], rng(seed))
    tests = checks.layer_tests("layer", layer, X, rng(seed))
    for analytic in (True, False):
        tests += checks.network_tests("net", network, X, C, rng(seed), analytic)
    assert "FAIL" not in verdicts(tests), [str(t) for t in tests if not t.passed]
    assert all(test.reason for test in tests if not test.passed)
    assert power < -6 or np.mean([test.passed for test in tests]) > 0.85


@given(
    st.sampled_from(["W", "x"]),
    st.floats(-3, 0),
    st.sampled_from([-1, 1]),
    st.floats(-4, 4),
    SEEDS,
)
def test_wrong_derivatives_fail_at_any_scale(spoiled, error, sign, power, seed):
    """From a thousandth of a gradient on, in the wrong block and nowhere else."""
    arguments = {
        "W": rng(seed).normal(size=(4, 3)),
        "x": 10.0**power * rng([1, seed]).normal(size=(3, 8)),
    }
    factors = [1 + (block == spoiled) * sign * 10.0**error for block in arguments]

    def square(W, x):
        return ((W @ x) ** 2).sum(axis=(-2, -1))

    def slopes(W, x):
        return [2 * factors[0] * W @ x @ x.mT, 2 * factors[1] * W.mT @ W @ x]

    for analytic in (True, False):
        tests = gradients(square, slopes, analytic, **arguments)
        assert mistakes.failed(tests) == {spoiled}, [str(test) for test in tests]
        assert not any(test.passed for test in tests if test.block == spoiled)
    skip = mistakes.ForgottenSkip(3, 4, outer=False)
    assert mistakes.failed(checks.layer_tests("", skip, arguments["x"], rng(seed)))


@given(LAYERS, st.sampled_from([(), (2,)]), st.sampled_from(["f4", "f8"]), SEEDS)
def test_nothing_is_written_into_and_a_seed_finds_the_same(
    draw, layer, replicas, dtype, seed
):
    """What is given in float32 is converted, and left as it is."""
    X, C = draw(replicas=replicas, dtype=dtype, seed=seed, m=16)
    rngs = rng(seed).spawn(2) if replicas else rng(seed)
    network = Network([layer, OutputLayer(3, 4)], rngs, dtype=dtype)
    network.parameters.setflags(write=False)
    before = network.parameters.copy()

    def lines():
        tests = checks.layer_tests("layer", layer, X, rng(seed))
        tests += checks.network_tests("net", network, X, C, rng(seed))
        assert verdicts(tests) == {"pass"}, [str(t) for t in tests if not t.passed]
        return [str(test) for test in tests]

    assert lines() == lines()
    np.testing.assert_array_equal(network.parameters, before)


@both
@given(st.sampled_from([1, 300]), st.floats(16, 32))
def test_what_is_lost_beside_a_1_is_not_called_wrong(analytic, scale, depth):
    """A saturated loss log(1 + eᶻ), like its gradient 1 − 1/(1 + eᶻ), jumps by EPS."""

    def f(x):
        return np.log(1 + np.exp(scale * last(x) - depth))

    g = scale * (1 - 1 / (1 + np.exp(-depth))) * np.ones(3)
    right, wrong = (
        checks.gradient_test(f, np.zeros(3), factor * g, rng(), analytic)
        for factor in (1, 1.1)
    )
    assert "FAIL" not in verdicts(right)
    assert verdicts(wrong) != {"pass"}


# --- orders, sizes, levels: on which side of a threshold ------------------------------


def tail(*slopes):
    """Return a residual whose last fitted steps fall with these slopes, then noise."""
    residual = 2.0 ** -np.cumsum([*(16 - len(slopes)) * [1], *slopes, *16 * [1]])
    residual[16:] = residual[15] / 3
    residual[-2:] = residual[15] / 101
    return residual


def plateau(factor):
    """Return a residual that breaks off, to this part of a 32nd."""
    residual = np.where(STEPS > 1e-3, STEPS, 0)
    cut = np.count_nonzero(residual)
    residual[cut:] = factor * residual[cut - 1] / 32
    residual[-2:] /= 90
    return residual


DROP = STEPS**2.5 / np.where(STEPS < 2.0**-14, 64, 1)
FEW = "too few small steps show f above its rounding: scale x or f"
SMALL = "the derivative is too small beside the curvature: move x"
JUDGED = {  # both residuals, the size of f; verdict, the same if zero is claimed, words
    "1, 2": (STEPS, STEPS**2, 1, "pass", "pass", ""),
    "low": (STEPS**0.951, STEPS**1.951, 1, "pass", "pass", ""),
    "high": (STEPS**1.049, STEPS**1.951, 1, "pass", "pass", ""),
    "too low": (STEPS**0.949, STEPS**2, 1, "refused", "pass", SMALL),
    "too high": (STEPS**1.051, STEPS**2, 1, "refused", "pass", SMALL),
    "nothing": (0 * STEPS, STEPS**2, 1, "refused", "pass", SMALL),
    "wrong": (STEPS, STEPS, 1, "FAIL", "FAIL", ""),
    "a little wrong": (STEPS, STEPS**1.949, 1, "FAIL", "FAIL", ""),
    "wrong near the rounding": (STEPS, STEPS, 1e9, "FAIL", "FAIL", ""),
    "lost near the rounding": (STEPS, STEPS**1.06, 1e9, "refused", "refused", FEW),
    "right near the rounding": (STEPS, 1e-9 * STEPS**1.951, 1, "pass", "pass", ""),
    "a drop within": (STEPS, DROP, 1, "pass", "pass", ""),
    "too few": (STEPS, 1e-13 * STEPS**2, 1, "refused", "refused", FEW),
    "affine": (STEPS, 2e-14 + 0 * STEPS, 1, "pass", "pass", ""),
    "affine, too high": (
        *(STEPS**1.06, 2e-14 + 0 * STEPS, 1, "refused", "pass", SMALL),
    ),
    # An error shows in six steps and in the last three, unless the order rises past 1.
    "1 at last": (STEPS, tail(1.9, 1.9, 1.9, 1, 1), 1, "FAIL", "FAIL", ""),
    "1.84": (STEPS, tail(1.8, 1.8, 1.8, 1.84, 1.84), 1, "FAIL", "FAIL", ""),
    "rises": (STEPS, tail(1.7, 1.7, 1.7, 1.9, 1.9), 1, "refused", "refused", FEW),
    "1.9 at last": (STEPS, tail(2.1, 2.1, 2.1, 1.9, 1.9), 1, "pass", "pass", ""),
    "past 1": (STEPS, tail(4.6, 1.45, 1.36, 1.54, 1.72), 1, "refused", "refused", FEW),
    "up to 1": (STEPS, tail(4.6, 0.2, 0.5, 0.8, 0.95), 1, "FAIL", "FAIL", ""),
    # One that breaks off shows an error, unless zero is claimed.
    "broken": (STEPS, plateau(0.99), 1, "FAIL", "refused", ""),
    "not broken": (STEPS, plateau(1.01), 1, "FAIL", "FAIL", ""),
}


@pytest.mark.parametrize("row", JUDGED.values(), ids=JUDGED)
def test_orders_and_sizes_decide_the_verdict(row):
    first, second, size, verdict, verdict_of_zero, reason = row
    found, of_zero = (
        thresholds.decide(np.stack([first, second]), size, zero)
        for zero in (False, True)
    )
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    assert of_zero["verdict"] == verdict_of_zero


def test_the_smallest_six_steps_well_above_the_noise_are_fitted():
    """Here the residual is proportional to ε, so 2⁻²⁴ is the last above 100·2⁻³¹."""
    check = checks.taylor_test(LINE[0], np.zeros(1), lambda d: 2 * last(d), rng())
    assert np.flatnonzero(check.fitted).tolist() == [*range(18, 24)]
    fitted = thresholds.fit_range(np.array([400, 200, 100.5, 100.0]), noise=1.0)
    assert fitted.tolist() == [True, True, True, False]
    assert checks.taylor_test(LINE[0], ONES, last, rng()).fitted.sum() == 6


def test_an_order_needs_three_steps():
    fitted = np.arange(STEPS.size) < 3
    assert thresholds.order(STEPS**1.5, fitted) == pytest.approx(1.5)
    assert np.isnan(thresholds.order(STEPS**1.5, fitted & (STEPS < 0.5)))
    assert np.isnan(thresholds.order(0 * STEPS, fitted))


@pytest.mark.parametrize(("kind", "limit"), [(CENTRAL, 1e-7), ("transpose", 1e-13)])
def test_the_thresholds_themselves_are_passed(monkeypatch, kind, limit):
    for error, passed in ((limit, True), (1.01 * limit, False)):
        monkeypatch.setattr(thresholds, "relative_error", lambda *_: error)  # noqa: B023
        assert checks.conclude(kind, np.ones(3), np.zeros(3)).passed == passed


@pytest.mark.parametrize(
    ("level", "verdict", "reason"),
    [
        (1, "pass", ALIKE),
        (0.99, "refused", LOST),
        (0.0401, "refused", LOST),
        (0.0399, "FAIL", ""),
    ],
)
def test_near_the_rounding_of_f_nothing_is_called_wrong(level, verdict, reason):
    check = checks.conclude("transpose", np.ones(1), 2 * np.ones(1), level)
    assert (check.verdict, check.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("error", "value", "verdict"),
    [(0, 1, "pass"), (5e-14, 1, "pass"), (2e-13, 1, "FAIL"), (2e-10, 1e6, "pass")],
)
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_a_transpose_is_exact_but_for_the_rounding_of_f(error, value, verdict, scale):
    A = scale * rng().normal(size=(5, 3))
    check = checks.transpose_test(
        *((3,), lambda v: A @ v, lambda u: (1 + error) * A.T @ u),
        *(scale * value * np.ones(5), rng()),
    )
    assert check.verdict == verdict
    assert check.error == pytest.approx(error, abs=2e-15)


@pytest.mark.parametrize(("number", "level"), [(27, 2e-12), (26, 1e-12), (25, 0)])
def test_rounding_shows_in_the_second_differences_of_the_smallest_steps(number, level):
    changes = STEPS[:, None] * np.ones(4)
    changes[number, 0] += 1e-12
    found = checks.rounding_level(np.zeros(()), changes)
    assert found == pytest.approx(level, rel=1e-3, abs=1e-15)


def test_a_step_is_chosen_that_is_clear_of_the_kink():
    for distance in (1e-5, -1e-5, -0.3):
        f, g = bent(distance)
        (check,) = checks.gradient_test(f, ZEROS, g(ZEROS), rng(), analytic=False)
        assert check.error < 1e-9
        assert check.steps[check.fitted].size == 1
        assert check.steps[check.fitted] < abs(distance) * 10
    f, g = bent(0)
    (check,) = checks.gradient_test(f, ZEROS, g(ZEROS), rng(), analytic=False)
    assert np.isnan(check.error)
    assert check.residuals.shape == (2, check.steps.size)


def test_the_relative_error_is_over_the_larger_norm():
    a, zero = np.array([3.0, 4.0]), np.zeros(2)
    pairs = (a, a / 2), (a / 2, a), (a, -a), (a, zero), (zero, zero)
    assert [checks.relative_error(*pair) for pair in pairs] == [0.5, 0.5, 2, 1, 0]


# --- what a test is given and what it returns -----------------------------------------

ORDERS = "(required: 0.95 to 1.05, then at least 1.95 or rounding noise)"
ERROR = ", relative error 1e-01 (required: relative error ≤"
LINES = [
    (TAYLOR, "pass", (1, 2), f", order 1.000, then 2.000 {ORDERS}"),
    ("Jacobian", "FAIL", (0.5, NAN), f", order 0.500, then noise {ORDERS}"),
    (CENTRAL, "FAIL", (NAN, NAN), f"{ERROR} 1e-07)"),
    ("transpose", "FAIL", (NAN, NAN), f"{ERROR} 1e-13)"),
    ("shape", "FAIL", (NAN, NAN), " (required: the shape of the argument)"),
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
    assert repr(check) == str(check)


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
    assert taylor.error == pytest.approx(0.5, abs=1e-6)
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
    (bad,) = checks.gradient_test(last, np.ones(3), np.ones(2), rng())
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
    tests = checks.gradient_test(lambda x: last(x**power), x, g, rng())
    assert [test.verdict for test in tests] == [verdict] * 2


@both
def test_every_block_is_tested_by_name(draw, analytic):
    (X, C), sigma = draw(), None if analytic else ReLU()
    layers = [ResNetLayer(3, 5, sigma), OutputLayer(3, 4)]
    network = Network(layers, rng(3), dtype=float)
    network.parameters += 0.1
    tests = checks.network_tests("net", network, X, C, rng(), analytic)
    tests += checks.layer_tests("layer", layers[0], X, rng(), analytic)
    first = ["Taylor", "Jacobian"] if analytic else 2 * ["central difference"]
    others = ["complex step"] if analytic else []
    names = [f"{block} of layer 1" for block in ("W1", "b1", "W2", "b2")]
    names = ["X", *names, "W of layer 2", "b of layer 2", "all parameters"]
    expected = [(f"net: {name}", k) for name in names for k in first[:1] + others]
    expected += [("net: all parameters and X", "transpose")]
    for block in ("x", "W1", "b1", "W2", "b2"):
        expected += [(f"layer: {block}", k) for k in [first[1], *others, "transpose"]]
    expected += [("layer: stack", "stack")]
    assert kinds(tests) == [(*pair, "pass") for pair in expected]


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
