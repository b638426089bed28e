"""What a test of a derivative says, and what it takes to pass.

"FAIL" is said of a derivative that is wrong. What lies at the level of the rounding, or
belongs to an f that is no function of x alone, cannot be judged and is "refused".
"""

from dataclasses import dataclass, replace

import numpy as np

STEPS = 2.0 ** -np.arange(1, 33)
EPS = np.finfo(float).eps
FIRST_ORDER = (0.95, 1.05)  # without the derivative the residual falls like ε
SECOND_ORDER = 1.95  # with it, like ε²
RISE = 0.05  # an order that rises by more as ε falls is not on its way down to 1
ROUNDING = 100 * EPS  # or, where f is affine, it is rounding noise from the start
LAST_PLACES = 4 * EPS  # what the rounding of f alone leaves of a difference
SAME = np.sqrt(EPS)  # two ways to one value differ by far less, mixed replicas by more
CENTRAL_DIFFERENCE = 1e-7  # largest relative error
EXACT = 1e-13  # the same where nothing is truncated: transpose, complex step
LIMITS = {"central difference": CENTRAL_DIFFERENCE, "stack": SAME}  # of others: EXACT
ALIKE = "both are the same within the rounding of f"
LOST = "the derivative is lost in f's rounding: scale x"
TAYLOR = ("Taylor", "Jacobian")  # the kinds of test that are judged by orders


@dataclass(frozen=True, repr=False)
class Check:
    """The outcome of one test of the derivative of a function in one of its blocks."""

    kind: str
    verdict: str  # "pass", "FAIL", or "refused" where the test cannot tell
    claimed: float = np.nan  # the derivative along a direction, and what was measured
    measured: float = np.nan  # of it, where the two differ most
    error: float = np.nan  # of all that was claimed, relative
    orders: tuple = (np.nan, np.nan)  # of the residuals
    steps: np.ndarray = None
    residuals: np.ndarray = None  # (2, steps): without and with the derivative
    fitted: np.ndarray = None  # which steps were used
    reason: str = ""  # why it was refused, or passed or failed in spite of its numbers
    function: str = "f"
    block: str = "x"

    @property
    def name(self):
        """Return "function: block"."""
        return f"{self.function}: {self.block}"

    @property
    def passed(self):
        """Return whether the derivative was found right."""
        return self.verdict == "pass"

    @property
    def threshold(self):
        """Return in words what is required to pass."""
        if self.kind in TAYLOR:
            low, high = FIRST_ORDER
            return f"{low} to {high}, then at least {SECOND_ORDER} or rounding noise"
        if self.kind == "shape":
            return "the shape of the argument"
        return f"relative error ≤ {LIMITS.get(self.kind, EXACT):.0e}"

    def __repr__(self):
        """Return the same as text, not the arrays."""
        return str(self)

    def __str__(self):
        """Return one line: verdict, test, function and block, numbers, threshold."""
        title = f"{self.verdict:<7} {self.kind:<18} {self.name:<34}"
        if self.verdict == "refused" or (self.reason and np.isnan(self.error)):
            return f"{title} {self.reason}"
        found = f"claimed {self.claimed}, measured {self.measured}"
        if self.kind in TAYLOR:
            second = "noise" if np.isnan(self.orders[1]) else f"{self.orders[1]:.3f}"
            found += f", order {self.orders[0]:.3f}, then {second}"
        elif self.kind != "shape":
            found += f", relative error {self.error:.0e}"
        hint = f": {self.reason}" if self.reason else ""
        return f"{title} {found} (required: {self.threshold}){hint}"


def name_tests(function, block, tests):
    """Return the tests as those of this block of this function."""
    return [replace(test, function=function, block=block) for test in tests]


def relative_error(a, b):
    """Return ‖a − b‖ over the larger of both norms; 0 if both are zero."""
    size = max(np.linalg.norm(a), np.linalg.norm(b), np.finfo(float).tiny)
    return float(np.linalg.norm(a - b) / size)


def decide(residuals, size, zero):
    """Return verdict, reason, orders and fitted steps for the residuals of f.

    With a wrong derivative the second falls like ε down to the smallest fitted steps,
    and not ever faster, or breaks off at a plateau of f unless `zero` is claimed. Close
    to the rounding of values of this `size` only a slope of 1 is told from noise.
    """
    (first, second), (low, high) = residuals, FIRST_ORDER
    noise = max(second[-2:].max(), EPS / 4 * size)  # too small to show curvature
    affine = second.max() <= ROUNDING * size
    fitted = fit_range(first if affine else second, noise)
    orders = order(first, fit_range(first, noise)), order(second, fitted & ~affine)
    four, last = (order(second, fit_range(second, noise, n)) for n in (4, 3))
    seen = second.max() > SAME * size or low <= orders[1] <= high
    rises = last >= min(orders[1], max(four, 1)) + RISE
    falls = max(orders[1], last) < SECOND_ORDER and not rises
    wrong = not zero if breaks_off(second, fitted) else seen and falls
    verdict, reason = "refused", ""
    if wrong and not affine:
        verdict = "FAIL"
    elif not (affine or orders[1] >= SECOND_ORDER):
        reason = "too few small steps show f above its rounding: scale x or f"
    elif not (zero or low <= orders[0] <= high):
        reason = "the derivative is too small beside the curvature: move x"
    else:
        verdict = "pass"
    return {"verdict": verdict, "reason": reason, "orders": orders, "fitted": fitted}


def cancellation(value):
    """Return what may be lost where f is zero: a term beside a 1 that cancels."""
    return EPS if np.linalg.norm(value) < EPS else 0.0


def breaks_off(residual, fitted):
    """Return if the residual ends at once: a smooth one falls to a quarter or so."""
    last = np.flatnonzero(fitted[:-1])[-1:]
    return bool((residual[last + 1] < residual[last] / 32).any())


def fit_range(residual, noise, length=6):
    """Choose the steps to fit: the smallest `length` well above the rounding noise."""
    above = np.flatnonzero(residual > 100 * noise)
    return np.isin(np.arange(residual.size), above[-length:])


def order(residual, fitted):
    """Return the slope of log residual over log ε on the fitted steps."""
    fitted = fitted & (residual > 0)
    if np.count_nonzero(fitted) < 3:
        return np.nan
    return float(np.polyfit(np.log(STEPS[fitted]), np.log(residual[fitted]), 1)[0])


def conclude(kind, claimed, measured, level=0, drift=0, **fields):
    """Return the Check of a claimed derivative and of what was measured instead.

    Their relative error must be small, or their difference no more than the `level` of
    the rounding of f; near it, or within the drift of what was measured from one step
    to the next, neither can be called wrong. `fields` override this.
    """
    error, distance = relative_error(claimed, measured), abs(claimed - measured)
    worst = np.unravel_index(np.argmax(distance), claimed.shape)
    verdict, reason = "FAIL", ""
    if error <= LIMITS.get(kind, EXACT):
        verdict = "pass"
    elif np.linalg.norm(distance) <= level:
        verdict, reason = "pass", ALIKE
    elif np.linalg.norm(distance) <= max(ROUNDING / LAST_PLACES * level, drift):
        verdict, reason = "refused", LOST
    fields = {"verdict": verdict, "error": error, "reason": reason} | fields
    numbers = {"claimed": float(claimed[worst]), "measured": float(measured[worst])}
    return Check(kind, **numbers, **fields)


def shape_test(array, shape):
    """Return the FAIL of an array that has not this shape, or None.

    An inner product would broadcast, and so forgive a sum over samples left out.
    """
    if np.shape(array) != shape:
        return Check("shape", "FAIL", np.shape(array), shape)
    return None
