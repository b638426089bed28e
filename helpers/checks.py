"""Is a derivative right? Numerical tests that answer with numbers and a verdict.

Every test takes functions and arrays in float64, draws random normal directions from
`rng`, changes nothing, draws no picture, and returns a `Check`: the notebooks plot and
tabulate them, the tests of the project assert on them. A tested function must treat
leading axes as replicas: it is called once, with all steps and directions at a time.

"FAIL" is said of a derivative that is wrong. What lies at the level of the rounding, or
belongs to an f that is no function of x alone, cannot be judged and is "refused".
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from helpers.network import join

STEPS = 2.0 ** -np.arange(1, 33)
DIRECTIONS = 4  # one alone may lie across the gradient, or where the curvature is zero
EPS = np.finfo(float).eps

FIRST_ORDER = (0.95, 1.05)  # without the derivative the residual falls like ε
SECOND_ORDER = 1.95  # with it, like ε²
ROUNDING = 100 * EPS  # or, where f is affine, it is rounding noise from the start
LAST_PLACES = 4 * EPS  # what the rounding of f alone leaves of a difference
SAME = np.sqrt(EPS)  # two ways to one value differ by far less, mixed replicas by more
CENTRAL_DIFFERENCE = 1e-7  # largest relative error
EXACT = 1e-13  # the same where nothing is truncated: transpose, complex step
LIMITS = {"central difference": CENTRAL_DIFFERENCE, "stack": SAME}  # of others: EXACT
TAYLOR = ("Taylor", "Jacobian")  # the kinds of test that are judged by orders
MIXED = (
    "f of a stack differs from f of its parts, so it mixes replicas: count its axes "
    "from the last (axis=-2 for classes, .mT for .T)"
)
RANDOM = "f called twice with the same x differs: draw its random numbers once"


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


def conclude(kind, claimed, measured, level=0, **fields):
    """Return the Check of a claimed derivative and of what was measured instead.

    Their relative error must be small, or their difference no more than the `level` of
    the rounding of f; near it neither can be called wrong. `fields` override this.
    """
    worst = np.unravel_index(np.argmax(abs(claimed - measured)), claimed.shape)
    error, difference = relative_error(claimed, measured), claimed - measured
    verdict, reason = "FAIL", ""
    if error <= LIMITS.get(kind, EXACT) or np.linalg.norm(difference) <= level:
        verdict = "pass"
    elif np.linalg.norm(difference) <= ROUNDING / LAST_PLACES * level:
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


# Directions, values, norms ------------------------------------------------------------


def directions(x, derivative, rng):
    """Return random normal directions d of length 1, and f′(x)d for each."""
    D = rng.standard_normal((DIRECTIONS, *x.shape))
    D /= expand(norms(D), x)
    return D, np.stack([derivative(d) for d in D])


def norms(A):
    """Return the norm of each A[i], whatever its shape."""
    return np.linalg.norm(A.reshape(len(A), -1), axis=1)


def relative_error(a, b):
    """Return ‖a − b‖ over the larger of both norms; 0 if both are zero."""
    size = max(np.linalg.norm(a), np.linalg.norm(b), np.finfo(float).tiny)
    return float(np.linalg.norm(a - b) / size)


def expand(steps, values):
    """Return one number per step in a shape that broadcasts with (steps, *values)."""
    return steps.reshape(-1, *(1 for _ in values.shape))


def perturb(f, x, D, steps):
    """Return f(x + εd) for all steps ε and directions d: (steps, DIRECTIONS, ...).

    Raises ValueError if f does not treat these two leading axes as replicas.
    """
    stack = x + expand(steps, D) * D
    rule = "a tested function must treat leading axes as replicas: for an argument of "
    rule += f"the shape {stack.shape} it "
    try:
        values = f(stack)
    except ValueError as error:
        raise ValueError(f"{rule}fails with “{error}”") from error
    expected = (*stack.shape[:2], *np.shape(f(x)))
    if np.shape(values) != expected:
        raise ValueError(f"{rule}returned {np.shape(values)}, not {expected}")
    return values


def reason_to_refuse(f, x):
    """Return why f cannot be tested at x, or "": it must be a function of x alone."""
    h, value, again = STEPS[0], f(x), f(x)
    if np.result_type(value) in (np.float16, np.float32):
        return f"f computes in {np.result_type(value)}: the tests need float64"
    parts = np.stack([f(x - h), f(x + h)])
    if not (np.isfinite(value).all() and np.isfinite(parts).all()):
        return f"f is not finite between x − {h} and x + {h}: move x"
    if relative_error(value, again) > SAME:
        return RANDOM
    stack = perturb(f, x, np.ones((1, *x.shape)), np.array([-h, h]))[:, 0]
    if relative_error(parts, stack) > SAME:
        return MIXED
    return ""


# The tests ----------------------------------------------------------------------------


def taylor_test(f, x, derivative, rng, kind="Taylor"):
    """Test f(x + εd) = f(x) + ε f′(x)d + O(ε²) along random directions d.

    `derivative(d)` returns f′(x)d: the inner product ⟨g, d⟩ of a gradient, or J d. The
    residuals ‖f(x + εd) − f(x)‖ and ‖f(x + εd) − f(x) − ε f′(x)d‖, norms over entries
    and directions, must fall with the orders 1 and 2 in ε. Where f is affine the second
    is rounding noise at every step, which passes as such; so does a derivative of zero,
    to rounding, whose first residual need not fall like ε.
    """
    D, claimed = directions(x, derivative, rng)
    changes = perturb(f, x, D, STEPS) - f(x)
    steps = expand(STEPS, claimed)
    residuals = np.stack([norms(changes), norms(changes - steps * claimed)])
    size = max(np.linalg.norm(f(x)), residuals[0].max())
    # The last steps are too small to show curvature.
    noise = max(residuals[1, -2:].max(), EPS / 4 * size)
    affine = residuals[1].max() <= ROUNDING * size
    zero = STEPS[0] * np.linalg.norm(claimed) <= ROUNDING * size
    fitted = fit_range(residuals[0 if affine else 1], noise)
    first = order(residuals[0], fit_range(residuals[0], noise))
    second = np.nan if affine else order(residuals[1], fitted)
    wrong = not affine and shows_error(residuals[1], noise, size, zero)
    verdict, reason = judge_orders(first, second, affine, zero, wrong)
    fields = {"verdict": verdict, "reason": reason, "orders": (first, second)}
    fields |= {"steps": STEPS, "residuals": residuals, "fitted": fitted}
    measured = (changes / steps)[np.argmin(abs(STEPS - np.sqrt(EPS)))]
    return conclude(kind, claimed, measured, **fields)


def judge_orders(first, second, affine, zero, wrong):
    """Return verdict and reason of a Taylor test; a NaN is an order without steps."""
    if wrong:
        return "FAIL", ""
    if not (affine or second >= SECOND_ORDER):
        return "refused", "too few small steps show f above its rounding: scale x or f"
    low, high = FIRST_ORDER
    if zero or low <= first <= high:
        return "pass", ""
    return "refused", "the derivative is too small beside the curvature: move x"


def shows_error(residual, noise, size, zero):
    """Return whether the second residual falls as a wrong derivative lets it fall.

    That is like ε, down to the smallest fitted steps; with a right one it falls faster
    there, or, next to plateaus of f, where it claims `zero`, breaks off. Close to the
    rounding, beside values of this `size`, only a slope of 1 is told from noise.
    """
    if breaks_off(residual, fit_range(residual, noise)):
        return not zero
    slopes = [order(residual, fit_range(residual, noise, n)) for n in (6, 3)]
    low, high = FIRST_ORDER
    seen = residual.max() > SAME * size or low <= slopes[0] <= high
    return seen and max(slopes) < SECOND_ORDER


def breaks_off(residual, fitted):
    """Return whether the residual ends all at once, as between the kinks of f.

    From step to step a smooth one falls to a quarter or so, down to the rounding.
    """
    last = np.flatnonzero(fitted[:-1])[-1:]
    return bool((residual[last + 1] < residual[last] / 32).any())


def fit_range(residual, noise, length=6):
    """Choose the steps to fit: the smallest `length` well above the rounding noise."""
    above = np.flatnonzero(residual > 100 * noise)
    fitted = np.zeros(residual.size, bool)
    fitted[above[-length:]] = True
    return fitted


def order(residual, fitted):
    """Return the slope of log residual over log ε on the fitted steps."""
    fitted = fitted & (residual > 0)
    if np.count_nonzero(fitted) < 3:
        return np.nan
    return float(np.polyfit(np.log(STEPS[fitted]), np.log(residual[fitted]), 1)[0])


def central_difference_test(f, x, derivative, rng):
    """Test (f(x + hd) − f(x − hd)) / 2h = f′(x)d + O(h²): for functions with kinks.

    A kink between x − hd and x + hd spoils the quotient by at most twice what

        κ(h) = b(2h) − b(4h)/2,   b(h) = (f(x + hd) − 2 f(x) + f(x − hd)) / 2h,

    shows of it, while for a smooth f, where b is proportional to h, κ is almost zero.
    So only steps with a small κ are trusted; among them the one whose quotient changes
    least is taken. If there is none, x lies at a kink, and the test refuses to judge.
    """
    D, claimed = directions(x, derivative, rng)
    ahead, behind = perturb(f, x, D, STEPS), perturb(f, x, D, -STEPS)
    steps = expand(STEPS, claimed)
    quotients = (ahead - behind) / (2 * steps)
    bends = (ahead - 2 * f(x) + behind) / (2 * steps)
    kinks = np.append([np.inf, np.inf], norms(bends[1:-1] - bends[:-2] / 2))
    rounding = LAST_PLACES * np.linalg.norm(f(x)) / STEPS
    residuals = np.stack([norms(quotients), norms(quotients - claimed)])
    best = choose_step(quotients, kinks, rounding)
    fields = {"steps": STEPS, "residuals": residuals, "fitted": STEPS[best] == STEPS}
    # Where both are zero to rounding, all differences are noise, and no step is best.
    if (np.stack([*residuals, kinks / 4]) <= rounding)[:, 2 : STEPS.size // 2].all():
        fields["verdict"] = "pass"
    elif best == 0:
        reason = "no step clears both the kinks of f and the rounding noise: move x"
        fields |= {"verdict": "refused", "error": np.nan, "reason": reason}
    return conclude("central difference", claimed, quotients[best], **fields)


def choose_step(quotients, kinks, rounding):
    """Return the number of the trusted step with the steadiest quotient, or else 0.

    To what a quotient shows of kinks, and to its change since the step before, a few
    units in the last place of f are added: differences can also agree by luck. All is
    relative. The first two steps have no κ and are never trusted.
    """
    scale = norms(quotients)
    # Below f's rounding all are zero; with a dead ReLU all are, and that is right.
    scale[scale == 0] = scale.max() or 1
    noise = rounding / scale
    drift = np.append(np.inf, norms(np.diff(quotients, axis=0))) / scale + noise
    trusted = kinks / scale + noise <= CENTRAL_DIFFERENCE / 4
    return np.argmin(np.where(trusted, drift, np.inf))


def complex_step_test(f, x, derivative, rng, h=1e-30):
    """Test Im f(x + ihd) / h = f′(x)d: no subtraction, no truncation, so exact.

    The rounding of f shows in other steps, in what its size and slopes allow, and in
    second differences whose steps are too small for curvature.
    """
    D, claimed = directions(x, derivative, rng)
    steps = h / np.array([1, 3, 7])
    measured = np.imag(perturb(f, x, D, 1j * steps)) / expand(steps, claimed)
    ahead, behind = perturb(f, x, D, STEPS), perturb(f, x, D, -STEPS[-5:])
    slopes = norms(ahead - f(x)) / STEPS
    level = max(
        LAST_PLACES * max(np.linalg.norm(f(x)), slopes.max()),
        norms(measured - measured[0]).max(),
        norms(ahead[-5:] - 2 * f(x) + behind).max(),
    )
    return conclude("complex step", claimed, measured[0], level)


def transpose_test(shape, jvp, vjp, value, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ with random normal u, of the shape of `value`, and v."""
    claimed, measured, sizes = [], [], []
    for _ in range(DIRECTIONS):
        u, v = rng.standard_normal(value.shape), rng.standard_normal(shape)
        back = vjp(u)  # first, so that a backward pass that writes into u is found out
        if wrong := shape_test(back, shape):
            return wrong
        claimed.append(np.sum(back * v))
        measured.append(np.sum(u * jvp(v)))
        sizes.append(np.linalg.norm(u) * np.linalg.norm(v))
    level = LAST_PLACES * np.linalg.norm(value) * np.linalg.norm(sizes)
    return conclude("transpose", np.array(claimed), np.array(measured), level)


# Every block of a function, a layer, a network ----------------------------------------


def gradient_test(f, x, gradient, rng, analytic=True):
    """Test the gradient of f: a number, or one of each replica.

    An analytic f gets a Taylor and a complex step test, one with kinks (ReLU) central
    differences.
    """
    x, single = np.asarray(x, float), np.result_type(gradient) == np.float32
    if wrong := shape_test(gradient, x.shape):
        return [wrong]
    reason = "the gradient is float32: the tests need float64" if single else ""
    if reason := reason or reason_to_refuse(f, x):
        return [Check("gradient", "refused", reason=reason)]
    axes = tuple(range(np.ndim(f(x)), x.ndim))

    def derivative(d):
        return np.sum(gradient * d, axis=axes)

    return derivative_tests(f, x, derivative, rng, "Taylor", analytic)


def jacobian_test(f, x, jvp, vjp, value, rng, analytic=True):
    """Test J and Jᵀ of an array-valued f: J against f, then Jᵀ against J.

    `jvp(d)` returns J d, `vjp(u)` returns Jᵀu, and `value` is f(x).
    """
    if reason := reason_to_refuse(f, x):
        return [Check("Jacobian", "refused", reason=reason)]
    tests = derivative_tests(f, x, jvp, rng, "Jacobian", analytic)
    return [*tests, transpose_test(x.shape, jvp, vjp, value, rng)]


def derivative_tests(f, x, derivative, rng, kind, analytic):
    """Test f′(x)d by a Taylor test of this kind and a complex step, or by differences.

    A Taylor test whose residual breaks off, and where central differences agree, has
    met a kink.
    """
    if not analytic:
        return [central_difference_test(f, x, derivative, rng)]
    taylor = taylor_test(f, x, derivative, rng, kind)
    step = complex_step_test(f, x, derivative, rng)
    if taylor.verdict == "FAIL" and breaks_off(taylor.residuals[1], taylor.fitted):
        again = central_difference_test(f, x, derivative, np.random.default_rng(0))
        reason = "central differences agree, f has kinks: analytic=False is meant"
        taylor = replace(taylor, reason=reason if again.passed else "")
    return [taylor, step]


def gradient_tests(function, f, gradients, arguments, rng, analytic=True):
    """Test the gradient of f with respect to each of its arguments.

    `arguments` are named arrays {"W": W, …}, `f(*arrays)` a number and
    `gradients(*arrays)` the gradients in the same order.
    """
    arguments = {block: np.asarray(x, float) for block, x in arguments.items()}
    found, results = gradients(*arguments.values()), []
    for (block, x), gradient in zip(arguments.items(), found, strict=True):
        own = broadcast(restrict(f, arguments, block), x)
        tests = gradient_test(own, x, gradient, rng, analytic)
        results += name_tests(function, block, tests)
    return results


def restrict(f, arguments, block):
    """Return f as a function of one argument, the others held."""
    return lambda value: f(*{**arguments, block: value}.values())


def broadcast(f, x):
    """Return f with one number per replica of x, also where it does not use x."""
    value = np.asarray(f(x))
    own, zero = (1,) * value.ndim, value.dtype.type(0)  # float32 is to stay visible
    return lambda X: f(X) + np.full((*X.shape[: X.ndim - x.ndim], *own), zero)


def layer_tests(function, layer, x, rng, analytic=True):
    """Test a layer for x (..., inputs, m) and for every block, drawn at random.

    One more test asks whether a stack of replicas gives what each of them gives alone.
    """
    arguments = {"x": np.asarray(x, float)} | {
        block: rng.standard_normal((*x.shape[:-2], *shape)) / np.sqrt(shape[1])
        for block, shape in layer.shapes.items()
    }
    (y, kept), results = layer.forward(*arguments.values()), []
    for number, (block, value) in enumerate(arguments.items()):
        zeros = {other: np.zeros_like(array) for other, array in arguments.items()}
        f = restrict(lambda *arrays: layer.forward(*arrays)[0], arguments, block)
        jvp = restrict(partial(layer.jvp, kept), zeros, block)

        def vjp(u, number=number):
            dx, blocks = layer.backward(kept, u)
            return (dx, *blocks)[number]

        tests = jacobian_test(f, value, jvp, vjp, y, rng, analytic)
        results += name_tests(function, block, tests)
    stack = stack_test(layer, arguments.values(), rng)
    return results + name_tests(function, "stack", [stack])


def stack_test(layer, arrays, rng):
    """Test that two stacked replicas of a layer give what each of them gives alone.

    `arrays` are x and the blocks of one. Networks train as stacks: axes must be counted
    from the last one.
    """
    stacked = [np.stack([a, rng.permuted(a, axis=-1)]) for a in arrays]
    u = rng.standard_normal((2, *layer.forward(*arrays)[0].shape))
    alone = [passes(layer, u[i], *(a[i] for a in stacked)) for i in (0, 1, 0)]
    first, second, again = (np.concatenate(one, axis=None) for one in alone)
    if relative_error(first, again) > SAME:
        return Check("stack", "refused", reason=RANDOM)
    try:
        both = passes(layer, u, *stacked)
    except ValueError as error:
        reason = f"a stack of two replicas ends in “{error}”"
        return Check("stack", "FAIL", reason=reason)
    for whole, one in zip(both, alone[0], strict=True):
        if wrong := shape_test(whole, (2, *one.shape)):
            return wrong
    claimed = np.hstack([whole.reshape(2, -1) for whole in both])
    return conclude("stack", claimed, np.stack([first, second]))


def passes(layer, u, *arrays):
    """Return y, dx and the blocks' gradients for dy = u, and J applied to (x, θ)."""
    y, kept = layer.forward(*arrays)
    dx, gradients = layer.backward(kept, u.copy())
    return y, dx, *gradients, layer.jvp(kept, *arrays)


def network_tests(function, network, X, C, rng, analytic=True):
    """Test the gradient of a network's loss for every block of every layer, and for X.

    One more test goes through the whole flat parameter vector, along directions in
    which all blocks change together, and one is the transpose test of the whole
    network. A stack of networks needs samples of its own for each, X (R, features, m).
    Raises ValueError when X or C does not fit the network.
    """
    network.check_samples(X, C)
    network = network.with_parameters(network.parameters.astype(float))
    X, C = np.asarray(X, float), np.asarray(C, float)
    flat, (gradient, dX) = network.parameters, network.gradients(X, C)
    if wrong := shape_test(gradient, flat.shape):
        return name_tests(function, "all parameters", [wrong])

    def loss(X, *blocks):
        return network.with_parameters(assemble(blocks)).value(X, C)

    def whole(flat):
        return network.with_parameters(flat).value(X, C)

    arguments = {"X": X} | split_by_name(network, flat)
    parts = dX, *split_by_name(network, gradient).values()
    tests = gradient_tests(function, loss, lambda *_: parts, arguments, rng, analytic)
    if flat.size:
        together = gradient_test(whole, flat, gradient, rng, analytic)
        tests += name_tests(function, "all parameters", together)
    return [*tests, network_transpose_test(function, network, X, rng)]


def assemble(blocks):
    """Return blocks as one flat vector (..., P), their replicas broadcast."""
    lead = np.broadcast_shapes(*(block.shape[:-2] for block in blocks))
    return join([np.broadcast_to(b, (*lead, *b.shape[-2:])) for b in blocks])


def split_by_name(network, flat):
    """Return the blocks of a flat vector (..., P): {"W of layer 1": W, …}."""
    blocks = chain.from_iterable(network.split(flat))
    return {
        f"{block} of layer {number}": next(blocks)
        for number, layer in enumerate(network.layers, start=1)
        for block in layer.shapes
    }


def network_transpose_test(function, network, X, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ for the scores, v running through parameters and X."""
    (scores, kept), flat = network.forward(X), network.parameters

    def jvp(v):
        d, dX = np.split(v, [flat.size])
        return network.jvp(kept, dX.reshape(X.shape), d.reshape(flat.shape))

    def vjp(u):
        return np.concatenate(network.backward(kept, u), axis=None)

    test = transpose_test((flat.size + X.size,), jvp, vjp, scores, rng)
    return replace(test, function=function, block="all parameters and X")
