"""What a test of a derivative says, and what it takes to pass.

"FAIL" is said of a derivative that is wrong. What lies at the level of the rounding, or
belongs to an f that is no function of x alone, cannot be judged and is "refused".
"""

from dataclasses import dataclass, replace

import numpy as np

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
TAYLOR = ("Taylor", "Jacobian")  # the kinds of test that are judged by orders


@dataclass(frozen=True)
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
    reason: str = ""  # why it was refused, or what a failure may mean
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

    def __str__(self):
        """Return one line: verdict, test, function and block, numbers, threshold."""
        title = f"{self.verdict:<7} {self.kind:<18} {self.name:<34}"
        if self.verdict == "refused":
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


def conclude(kind, claimed, measured, level=0, **fields):
    """Return the Check of a claimed derivative and of what was measured instead.

    Their relative error must be small, or their difference no more than the `level` of
    the rounding of f; near it neither can be called wrong. `fields` override this.
    """
    error, distance = relative_error(claimed, measured), abs(claimed - measured)
    worst = np.unravel_index(np.argmax(distance), claimed.shape)
    verdict, reason = "FAIL", ""
    if error <= LIMITS.get(kind, EXACT) or np.linalg.norm(distance) <= level:
        verdict = "pass"
    elif np.linalg.norm(distance) <= ROUNDING / LAST_PLACES * level:
        verdict, reason = "refused", "the derivative is lost in f's rounding: scale x"
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
