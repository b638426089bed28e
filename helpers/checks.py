"""Is a derivative right? Numerical tests that answer with numbers and a verdict.

Every test takes functions and arrays in float64, draws random normal directions from
`rng`, changes nothing, draws no picture, and returns a `Check`: the notebooks plot and
tabulate them, the tests of the project assert on them. A tested function must treat
leading axes as replicas: it is called once, with all steps and directions at a time.

"FAIL" is said of a derivative that is wrong. What lies at the level of the rounding, or
belongs to an f that is no function of x alone, cannot be judged and is "refused".
"""

from dataclasses import dataclass, replace

import numpy as np

from helpers.network import join

STEPS = 2.0 ** -np.arange(1, 33)
DIRECTIONS = 4  # one alone may lie across the gradient, or where the curvature is zero
EPS = np.finfo(float).eps
TINY = np.finfo(float).tiny

FIRST_ORDER = (0.95, 1.05)  # without the derivative the residual falls like ε
SECOND_ORDER = 1.95  # with it, like ε²
ROUNDING = 100 * EPS  # or, where f is affine, it is rounding noise from the start
LAST_PLACES = 4 * EPS  # what the rounding of f alone leaves of a difference
SAME = np.sqrt(EPS)  # two ways to one value differ by far less, mixed replicas by more
CENTRAL_DIFFERENCE = 1e-7  # largest relative error
EXACT = 1e-13  # the same where nothing is truncated: transpose, complex step
RANDOM = "f called twice with the same x differs: draw its random numbers once"
TAYLOR = ("Taylor", "Jacobian")  # the kinds of test that are judged by orders


@dataclass(frozen=True)
class Check:
    """The outcome of one test of one derivative; `name` is "function: block"."""

    name: str
    kind: str
    verdict: str  # "pass", "FAIL", or "refused" where the test cannot tell
    claimed: float  # the derivative along a direction, and what was measured of it,
    measured: float  # where the two differ most
    error: float  # of all that was claimed, relative
    orders: tuple = (np.nan, np.nan)  # of the residuals
    steps: np.ndarray = None
    residuals: np.ndarray = None  # (2, steps): without and with the derivative
    fitted: np.ndarray = None  # which steps were used
    reason: str = ""  # why it was refused, or what a failure may mean

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
        if self.kind == "stack":
            return f"relative error ≤ {SAME:.0e}"
        central = self.kind == "central difference"
        return f"relative error ≤ {CENTRAL_DIFFERENCE if central else EXACT:.0e}"

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


def all_pass(tests):
    """Return True if all tests pass, False if any fails, None if it cannot be told."""
    verdicts = [test.verdict for test in tests]
    if "FAIL" in verdicts:
        return False
    return True if verdicts and "refused" not in verdicts else None


# Directions, values, norms ------------------------------------------------------------


def directions(x, rng):
    """Return random normal directions (DIRECTIONS, *x.shape), each of length 1."""
    D = rng.standard_normal((DIRECTIONS, *x.shape))
    return D / like(norms(D), x)


def norms(A):
    """Return the norm of each A[i], whatever its shape."""
    return np.linalg.norm(A.reshape(len(A), -1), axis=1)


def like(steps, values):
    """Return one number per step in a shape that broadcasts with (steps, *values)."""
    return steps.reshape(-1, *(1 for _ in values.shape))


def along(f, x, D, steps):
    """Return f(x + εd) for all steps and directions: (steps, DIRECTIONS, ...).

    Raises ValueError if f does not treat these two leading axes as replicas.
    """
    stack = x + like(np.asarray(steps), D) * D
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


def compared(name, kind, verdict, claimed, measured, **numbers):
    """Return the Check of a claimed derivative and of what was measured instead."""
    worst = np.unravel_index(np.argmax(abs(claimed - measured)), claimed.shape)
    return Check(
        name=name,
        kind=kind,
        verdict=verdict,
        claimed=float(claimed[worst]),
        measured=float(measured[worst]),
        error=relative(claimed, measured),
        **numbers,
    )


def relative(a, b):
    """Return ‖a − b‖ over the larger of both norms; 0 if both are zero."""
    size = max(np.linalg.norm(a), np.linalg.norm(b), TINY)
    return float(np.linalg.norm(a - b) / size)


def refusal(f, x):
    """Return why f cannot be tested at x, or "": it must be a function of x alone."""
    h = like(np.array([-STEPS[0], STEPS[0]]), x)
    value, again = f(x), f(x)
    if np.result_type(value) in (np.float16, np.float32):
        return f"f computes in {np.result_type(value)}: the tests need float64"
    parts = np.stack([f(x + one) for one in h])
    if not (np.isfinite(value).all() and np.isfinite(parts).all()):
        return f"f is not finite between x − {STEPS[0]} and x + {STEPS[0]}: move x"
    if relative(value, again) > SAME:
        return RANDOM
    if relative(parts, along(f, x, np.ones((1, *x.shape)), h.ravel())[:, 0]) > SAME:
        return (
            "f of a stack differs from f of its parts, so it mixes replicas: count its "
            "axes from the last (axis=-2 for classes, .mT for .T)"
        )
    return ""


def refused(name, kind, reason):
    """Return the Check of a function that cannot be tested."""
    return Check(name, kind, "refused", np.nan, np.nan, np.nan, reason=reason)


# The tests ----------------------------------------------------------------------------


def taylor_test(name, f, x, derivative, rng, kind="Taylor"):
    """Test f(x + εd) = f(x) + ε f′(x)d + O(ε²) along random directions d.

    `derivative(d)` returns f′(x)d: the inner product ⟨g, d⟩ of a gradient, or J d. The
    residuals ‖f(x + εd) − f(x)‖ and ‖f(x + εd) − f(x) − ε f′(x)d‖, norms over entries
    and directions, must fall with the orders 1 and 2 in ε. Where f is affine the second
    is rounding noise at every step, which passes as such; so does a derivative of zero,
    to rounding, whose first residual need not fall like ε.
    """
    D = directions(x, rng)
    claimed = np.stack([derivative(d) for d in D])
    changes = along(f, x, D, STEPS) - f(x)
    steps = like(STEPS, claimed)
    residuals = np.stack([norms(changes), norms(changes - steps * claimed)])
    size = max(np.linalg.norm(f(x)), residuals[0].max())
    # The last steps are too small to show curvature.
    noise = max(residuals[1, -2:].max(), EPS / 4 * size)
    affine = residuals[1].max() <= ROUNDING * size
    zero = STEPS[0] * np.linalg.norm(claimed) <= ROUNDING * size
    fitted = fit_range(residuals[0 if affine else 1], noise)
    first = order(residuals[0], fit_range(residuals[0], noise))
    second = np.nan if affine else order(residuals[1], fitted)
    seen = like_a_wrong_one(residuals[1], fitted, second, size)
    verdict, reason = judge_orders(first, second, affine, zero, seen)
    if not (affine or zero) and cliff(residuals[1], fitted):
        verdict, reason = "FAIL", ""
    return compared(
        name,
        kind,
        verdict,
        claimed,
        (changes / steps)[np.argmin(abs(STEPS - np.sqrt(EPS)))],
        orders=(first, second),
        steps=STEPS,
        residuals=residuals,
        fitted=fitted,
        reason=reason,
    )


def judge_orders(first, second, affine, zero, seen):
    """Return verdict and reason of a Taylor test; a NaN is an order without steps."""
    if not affine and not second >= SECOND_ORDER:
        if seen and second < SECOND_ORDER:
            return "FAIL", ""
        return "refused", "too few small steps show f above its rounding: scale x or f"
    if zero or is_first(first):
        return "pass", ""
    return "refused", "the derivative is too small beside the curvature: move x"


def is_first(slope):
    """Return whether a fitted order is 1, within FIRST_ORDER."""
    low, high = FIRST_ORDER
    return low <= slope <= high


def like_a_wrong_one(residual, fitted, second, size):
    """Return whether the second residual falls as a wrong derivative lets it fall.

    That is like ε, down to the smallest fitted steps; with a right one it falls faster
    there, or, next to f's plateaus, ends at once. Near the rounding, beside values of
    this `size`, only a slope of 1 is told from noise.
    """
    if cliff(residual, fitted):
        return False
    if residual.max() <= SAME * size and not is_first(second):
        return False
    last = np.isin(np.arange(residual.size), np.flatnonzero(fitted)[-3:])
    return not order(residual, last) >= SECOND_ORDER


def cliff(residual, fitted, power=5):
    """Return whether the residual ends all at once, as between the kinks of f.

    From step to step a smooth one falls to a quarter or so, down to the rounding.
    """
    last = np.flatnonzero(fitted[:-1])[-1:]
    return bool((residual[last + 1] < residual[last] / 2**power).any())


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


def central_difference_test(name, f, x, derivative, rng):
    """Test (f(x + hd) − f(x − hd)) / 2h = f′(x)d + O(h²): for functions with kinks.

    A kink between x − hd and x + hd spoils the quotient by at most twice what

        κ(h) = b(2h) − b(4h)/2,   b(h) = (f(x + hd) − 2 f(x) + f(x − hd)) / 2h,

    shows of it, while for a smooth f, where b is proportional to h, κ is almost zero.
    So only steps with a small κ are trusted; among them the one whose quotient changes
    least is taken. If there is none, x lies at a kink, and the test refuses to judge.
    """
    D = directions(x, rng)
    claimed = np.stack([derivative(d) for d in D])
    ahead, behind = along(f, x, D, STEPS), along(f, x, D, -STEPS)
    steps = like(STEPS, claimed)
    quotients = (ahead - behind) / (2 * steps)
    rounding = LAST_PLACES * np.linalg.norm(f(x)) / STEPS
    bends = (ahead - 2 * f(x) + behind) / (2 * steps)
    scale = norms(quotients)
    # Below f's rounding all are zero; with a dead ReLU all are, and that is right.
    scale[scale == 0] = scale.max() or 1
    noise = rounding / scale  # a few units in the last place can agree by luck
    bent, kinks, drift = np.full((3, STEPS.size), np.inf)
    bent[2:] = norms(bends[1:-1] - bends[:-2] / 2)
    kinks[2:] = bent[2:] / scale[2:] + noise[2:]
    drift[1:] = norms(np.diff(quotients, axis=0)) / scale[1:] + noise[1:]
    smooth = kinks <= CENTRAL_DIFFERENCE / 4
    best = np.argmin(np.where(smooth, drift, np.inf))
    right = relative(claimed, quotients[best]) <= CENTRAL_DIFFERENCE
    residuals = np.stack([norms(quotients), norms(quotients - claimed)])
    check = compared(
        name,
        "central difference",
        "pass" if right else "FAIL",
        claimed,
        quotients[best],
        steps=STEPS,
        residuals=residuals,
        fitted=np.arange(STEPS.size) == best,
    )
    # Where both are zero to rounding, all differences are noise, and no step is best.
    if (np.stack([*residuals, bent / 4]) <= rounding)[:, 2 : STEPS.size // 2].all():
        return replace(check, verdict="pass")
    if smooth.any():
        return check
    reason = "no step clears both the kinks of f and the rounding noise: move x"
    return replace(check, verdict="refused", error=np.nan, reason=reason)


def complex_step_test(name, f, x, derivative, rng, h=1e-30):
    """Test Im f(x + ihd) / h = f′(x)d: no subtraction, no truncation, so exact.

    The rounding of f shows in other steps, in what its size and slopes allow, and in
    second differences whose steps are too small for curvature.
    """
    D = directions(x, rng)
    claimed = np.stack([derivative(d) for d in D])
    steps = h / np.array([1, 3, 7])
    measured = np.imag(along(f, x, D, 1j * steps)) / like(steps, claimed)
    ahead, behind = along(f, x, D, STEPS), along(f, x, D, -STEPS[-5:])
    slopes = norms(ahead - f(x)) / STEPS
    level = max(
        LAST_PLACES * max(np.linalg.norm(f(x)), slopes.max()),
        norms(measured - measured[0]).max(),
        norms(ahead[-5:] - 2 * f(x) + behind).max(),
    )
    return agreement(name, "complex step", claimed, measured[0], level)


def transpose_test(name, shape, jvp, vjp, value, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ with random normal u, of the shape of `value`, and v."""
    claimed, measured, sizes = [], [], []
    for _ in range(DIRECTIONS):
        u, v = rng.standard_normal(value.shape), rng.standard_normal(shape)
        back = vjp(u)  # first, so that a backward pass that writes into u is found out
        if np.shape(back) != shape:
            return misfit(name, np.shape(back), shape)
        claimed.append(np.sum(back * v))
        measured.append(np.sum(u * jvp(v)))
        sizes.append(np.linalg.norm(u) * np.linalg.norm(v))
    level = LAST_PLACES * np.linalg.norm(value) * np.linalg.norm(sizes)
    kind = "transpose"
    return agreement(name, kind, np.array(claimed), np.array(measured), level)


def agreement(name, kind, claimed, measured, level=0):
    """Compare two ways to the same numbers: they must agree to f's own rounding.

    A difference of up to `level` passes; near it, neither of them can be called wrong.
    """
    difference, verdict, reason = np.linalg.norm(claimed - measured), "FAIL", ""
    if relative(claimed, measured) <= EXACT or difference <= level:
        verdict = "pass"
    elif difference <= ROUNDING / LAST_PLACES * level:
        verdict, reason = "refused", "the derivative is lost in f's rounding: scale x"
    return compared(name, kind, verdict, claimed, measured, reason=reason)


def misfit(name, shape, expected):
    """Return the FAIL of a gradient that has not the shape of its argument.

    An inner product would broadcast, and so forgive a sum over samples left out.
    """
    return Check(name, "shape", "FAIL", shape, expected, np.nan)


# Every block of a function, a layer, a network ----------------------------------------


def gradient_test(name, f, x, gradient, rng, analytic=True):
    """Test the gradient of f: a number, or one of each replica.

    An analytic f gets a Taylor and a complex step test, one with kinks (ReLU) central
    differences.
    """
    x, single = np.asarray(x, float), np.result_type(gradient) == np.float32
    if np.shape(gradient) != x.shape:
        return [misfit(name, np.shape(gradient), x.shape)]
    reason = "the gradient is float32: the tests need float64" if single else ""
    if reason := reason or refusal(f, x):
        return [refused(name, "gradient", reason)]
    own_axes = tuple(range(np.ndim(f(x)), x.ndim))

    def derivative(d):
        return np.sum(gradient * d, axis=own_axes)

    return derivative_tests(name, f, x, derivative, rng, "Taylor", analytic)


def derivative_tests(name, f, x, derivative, rng, kind, analytic):
    """Test f′(x)d by a Taylor test of this kind and a complex step, or by differences.

    A Taylor test whose residual ends at once, and where central differences agree, has
    met a kink.
    """
    if not analytic:
        return [central_difference_test(name, f, x, derivative, rng)]
    taylor = taylor_test(name, f, x, derivative, rng, kind)
    step = complex_step_test(name, f, x, derivative, rng)
    if taylor.verdict == "FAIL" and cliff(taylor.residuals[1], taylor.fitted):
        again = np.random.default_rng(0)
        if central_difference_test(name, f, x, derivative, again).passed:
            reason = "central differences agree, f has kinks: analytic=False is meant"
            taylor = replace(taylor, reason=reason)
    return [taylor, step]


def gradient_tests(name, f, gradients, arguments, rng, analytic=True):
    """Test the gradient of f with respect to each of its arguments.

    `arguments` are named arrays {"W": W, …}, `f(*arrays)` a number and
    `gradients(*arrays)` the gradients in the same order.
    """
    arguments = in_float64(arguments)
    found = zip(arguments, gradients(*arguments.values()), strict=True)
    return [
        check
        for block, gradient in found
        for check in gradient_test(
            f"{name}: {block}",
            replicated(vary(f, arguments, block), arguments[block]),
            arguments[block],
            gradient,
            rng,
            analytic,
        )
    ]


def in_float64(arguments):
    """Return the named arrays in float64, as the tests need them."""
    return {name: np.asarray(array, float) for name, array in arguments.items()}


def vary(f, arguments, block):
    """Return f as a function of one argument, the others held."""
    return lambda value: f(*{**arguments, block: value}.values())


def replicated(f, x):
    """Return f with one number per replica of x, also where it does not use x."""
    own = (1,) * np.ndim(f(x))
    return lambda X: f(X) + np.zeros((*X.shape[: X.ndim - x.ndim], *own))


def jacobian_tests(name, f, jvp, vjp, arguments, rng, analytic=True):
    """Test J and Jᵀ of an array-valued f with respect to each of its arguments.

    `jvp(*directions)` returns J applied to one direction per argument, `vjp(u)` returns
    Jᵀu as one array per argument. J is tested against f, Jᵀ against J.
    """
    results, arguments = [], in_float64(arguments)
    value = f(*arguments.values())
    for number, (block, x) in enumerate(arguments.items()):
        zeros = [np.zeros_like(other) for other in arguments.values()]

        def push(d, number=number, zeros=zeros):
            return jvp(*zeros[:number], d, *zeros[number + 1 :])

        def pull(u, number=number):
            return vjp(u)[number]

        title, along_block = f"{name}: {block}", vary(f, arguments, block)
        if reason := refusal(along_block, x):
            results.append(refused(title, "Jacobian", reason))
            continue
        results += derivative_tests(
            title, along_block, x, push, rng, "Jacobian", analytic
        )
        results.append(transpose_test(title, x.shape, push, pull, value, rng))
    return results


def layer_tests(name, layer, x, rng, analytic=True):
    """Test a layer for x (..., inputs, m) and for every block, drawn at random.

    One more test asks whether a stack of replicas gives what each of them gives alone.
    """
    replicas = x.shape[:-2]
    arguments = {"x": np.asarray(x, float)} | {
        block: rng.standard_normal((*replicas, *shape)) / np.sqrt(shape[1])
        for block, shape in layer.shapes.items()
    }
    kept = layer.forward(*arguments.values())[1]

    def vjp(u):
        dx, blocks = layer.backward(kept, u)
        return dx, *blocks

    tests = jacobian_tests(
        name,
        lambda *values: layer.forward(*values)[0],
        lambda *directions: layer.jvp(kept, *directions),
        vjp,
        arguments,
        rng,
        analytic,
    )
    return [*tests, stack_test(name, layer, arguments, rng)]


def stack_test(name, layer, arguments, rng):
    """Test that two stacked replicas of a layer give what each of them gives alone.

    Networks train as stacks: axes must be counted from the last one.
    """
    title, kind = f"{name}: stack", "stack"
    x, *blocks = arguments.values()
    stacked = [np.stack([a, rng.permuted(a, axis=-1)]) for a in (x, *blocks)]
    u = rng.standard_normal((2, *layer.forward(x, *blocks)[0].shape))
    one, two, again = (
        passes(layer, u[i].copy(), *(a[i] for a in stacked)) for i in (0, 1, 0)
    )
    if relative(entries(one), entries(again)) > SAME:
        return refused(title, kind, RANDOM)
    try:
        both = passes(layer, u, *stacked)
    except ValueError as error:
        check = Check(title, kind, "FAIL", np.nan, np.nan, np.nan)
        return replace(check, reason=f"a stack of two replicas ends in “{error}”")
    for whole, alone in zip(both, one, strict=True):
        if whole.shape != (2, *alone.shape):
            return misfit(title, whole.shape, (2, *alone.shape))
    claimed = np.stack([entries(whole[i] for whole in both) for i in range(2)])
    measured = np.stack([entries(one), entries(two)])
    right = relative(claimed, measured) <= SAME
    return compared(title, kind, "pass" if right else "FAIL", claimed, measured)


def entries(arrays):
    """Return the entries of all arrays as one vector."""
    return np.concatenate([array.ravel() for array in arrays])


def passes(layer, u, x, *blocks):
    """Return y, dx and the blocks' gradients for dy = u, and J applied to (x, θ)."""
    y, kept = layer.forward(x, *blocks)
    dx, gradients = layer.backward(kept, u)
    return y, dx, *gradients, layer.jvp(kept, x, *blocks)


def network_tests(name, network, X, C, rng, analytic=True):
    """Test the gradient of a network's loss for every block of every layer, and for X.

    One more test goes through the whole flat parameter vector, along directions in
    which all blocks change together, and one is the transpose test of the whole
    network. A stack of networks needs samples of its own for each, X (R, features, m).
    Raises ValueError when X or C does not fit the network.
    """
    network.check_samples(X, C)
    network = network.with_parameters(network.parameters.astype(float))
    X, C = np.asarray(X, float), np.asarray(C, float)
    flat, gradient = network.parameters, network.gradient(X, C)
    if gradient.shape != flat.shape:
        return [misfit(f"{name}: all parameters", gradient.shape, flat.shape)]
    blocks = {
        f"{block} of layer {number}": value
        for number, (layer, own) in enumerate(
            zip(network.layers, network.split(flat), strict=True), start=1
        )
        for block, value in zip(layer.shapes, own, strict=True)
    }

    def loss(X, *blocks):
        lead = np.broadcast_shapes(*(block.shape[:-2] for block in blocks))
        whole = [np.broadcast_to(b, (*lead, *b.shape[-2:])) for b in blocks]
        return network.with_parameters(join(whole, lead)).value(X, C)

    def gradients(X, *blocks):
        g, dX = network.gradients(X, C)
        return dX, *(block for own in network.split(g) for block in own)

    tests = gradient_tests(name, loss, gradients, {"X": X} | blocks, rng, analytic)
    if flat.size:
        title = f"{name}: all parameters"
        whole = [lambda flat: network.with_parameters(flat).value(X, C), flat, gradient]
        tests += gradient_test(title, *whole, rng, analytic)
    return [*tests, network_transpose_test(name, network, X, rng)]


def network_transpose_test(name, network, X, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ for the scores, v running through parameters and X."""
    scores, kept = network.forward(X)
    flat = network.parameters

    def push(v):
        d, dX = np.split(v, [flat.size])
        return network.jvp(kept, dX.reshape(X.shape), d.reshape(flat.shape))

    def pull(u):
        return entries(network.backward(kept, u))

    shape = (flat.size + X.size,)
    title = f"{name}: all parameters and X"
    return transpose_test(title, shape, push, pull, scores, rng)
