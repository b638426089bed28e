"""Is a derivative right? Numerical tests that answer with numbers and a verdict.

Every test takes functions and arrays in float64, draws random normal directions from
`rng`, changes nothing, draws no picture, and returns a `Check`: the notebooks plot and
tabulate them, the tests of the project assert on them. A tested function must treat
leading axes as replicas: it is called once, with all steps and directions at a time.
"""

from dataclasses import dataclass, replace

import numpy as np

STEPS = 2.0 ** -np.arange(1, 33)
DIRECTIONS = 4  # one alone may lie across the gradient, or where the curvature is zero
EPS = np.finfo(float).eps
TINY = np.finfo(float).tiny

FIRST_ORDER = (0.95, 1.05)  # without the derivative the residual falls like ε
SECOND_ORDER = 1.95  # with it, like ε²
ROUNDING = 100 * EPS  # or, where f is affine, it is rounding noise from the start
CENTRAL_DIFFERENCE = 1e-7  # largest relative error
EXACT = 1e-13  # the same where nothing is truncated: transpose, complex step
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
        central = self.kind == "central difference"
        return f"relative error ≤ {CENTRAL_DIFFERENCE if central else EXACT:.0e}"

    def __str__(self):
        """Return one line: verdict, test, function and block, numbers, threshold."""
        found = f"claimed {self.claimed}, measured {self.measured}"
        if self.verdict == "refused":
            found = "no step clears both the kinks of f and the rounding noise: move x"
        elif self.kind in TAYLOR:
            second = "noise" if np.isnan(self.orders[1]) else f"{self.orders[1]:.3f}"
            found += f", order {self.orders[0]:.3f}, then {second}"
        elif self.kind != "shape":
            found += f", relative error {self.error:.0e}"
        title = f"{self.verdict:<7} {self.kind:<18} {self.name:<34}"
        return f"{title} {found} (required: {self.threshold})"


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
    values = f(x + like(np.asarray(steps), D) * D)
    expected = (len(steps), len(D), *np.shape(f(x)))
    if np.shape(values) != expected:
        raise ValueError(
            "a tested function must treat leading axes as replicas: for an argument of "
            f"the shape {(*expected[:2], *x.shape)} it returned {np.shape(values)}, "
            f"not {expected}"
        )
    return values


def compared(name, kind, passed, claimed, measured, **numbers):
    """Return the Check of a claimed derivative and of what was measured instead."""
    worst = np.unravel_index(np.argmax(abs(claimed - measured)), claimed.shape)
    return Check(
        name=name,
        kind=kind,
        verdict="pass" if passed else "FAIL",
        claimed=float(claimed[worst]),
        measured=float(measured[worst]),
        error=relative(claimed, measured),
        **numbers,
    )


def relative(a, b):
    """Return ‖a − b‖ over the larger of both norms; 0 if both are zero."""
    size = max(np.linalg.norm(a), np.linalg.norm(b), TINY)
    return float(np.linalg.norm(a - b) / size)


# The tests ----------------------------------------------------------------------------


def taylor_test(name, f, x, derivative, rng, kind="Taylor"):
    """Test f(x + εd) = f(x) + ε f′(x)d + O(ε²) along random directions d.

    `derivative(d)` returns f′(x)d: the inner product ⟨g, d⟩ of a gradient, or J d. The
    residuals ‖f(x + εd) − f(x)‖ and ‖f(x + εd) − f(x) − ε f′(x)d‖, norms over entries
    and directions, must fall with the orders 1 and 2 in ε. Where f is affine the second
    is rounding noise at every step, which passes as such.
    """
    D = directions(x, rng)
    claimed = np.stack([derivative(d) for d in D])
    changes = along(f, x, D, STEPS) - f(x)
    steps = like(STEPS, claimed)
    residuals = np.stack([norms(changes), norms(changes - steps * claimed)])
    noise = residuals[1, -5:].max()  # the last steps are too small to show curvature
    size = max(np.linalg.norm(f(x)), residuals[0].max())
    affine = residuals[1].max() <= ROUNDING * size
    fitted = fit_range(residuals[0 if affine else 1], noise)
    first = order(residuals[0], fit_range(residuals[0], noise))
    second = np.nan if affine else order(residuals[1], fitted)
    low, high = FIRST_ORDER
    return compared(
        name,
        kind,
        low <= first <= high and (affine or second >= SECOND_ORDER),
        claimed,
        (changes / steps)[np.argmin(abs(STEPS - np.sqrt(EPS)))],
        orders=(first, second),
        steps=STEPS,
        residuals=residuals,
        fitted=fitted,
    )


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
    bends = (ahead - 2 * f(x) + behind) / (2 * steps)
    scale = norms(quotients)
    scale[scale == 0] = 1  # a dead ReLU: f is constant, and zero the right derivative
    # Differences of a few units in the last place can agree by luck.
    noise = 4 * EPS * np.linalg.norm(f(x)) / STEPS / scale
    kinks, drift = np.full((2, STEPS.size), np.inf)
    kinks[2:] = norms(bends[1:-1] - bends[:-2] / 2) / scale[2:] + noise[2:]
    drift[1:] = norms(np.diff(quotients, axis=0)) / scale[1:] + noise[1:]
    smooth = kinks <= CENTRAL_DIFFERENCE / 4
    best = np.argmin(np.where(smooth, drift, np.inf))
    check = compared(
        name,
        "central difference",
        relative(claimed, quotients[best]) <= CENTRAL_DIFFERENCE,
        claimed,
        quotients[best],
        steps=STEPS,
        residuals=np.stack([norms(quotients), norms(quotients - claimed)]),
        fitted=np.arange(STEPS.size) == best,
    )
    return check if smooth.any() else replace(check, verdict="refused", error=np.nan)


def complex_step_test(name, f, x, derivative, rng, h=1e-30):
    """Test Im f(x + ihd) / h = f′(x)d: no subtraction, no truncation, so exact."""
    D = directions(x, rng)
    claimed = np.stack([derivative(d) for d in D])
    measured = np.imag(along(f, x, D, [1j * h])[0]) / h
    return agreement(name, "complex step", claimed, measured)


def transpose_test(name, shape, jvp, vjp, value_shape, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ with random normal u and v."""
    claimed, measured = [], []
    for _ in range(DIRECTIONS):
        u, v = rng.standard_normal(value_shape), rng.standard_normal(shape)
        back = vjp(u)  # first, so that a backward pass that writes into u is found out
        if np.shape(back) != shape:
            return misfit(name, np.shape(back), shape)
        claimed.append(np.sum(back * v))
        measured.append(np.sum(u * jvp(v)))
    return agreement(name, "transpose", np.array(claimed), np.array(measured))


def agreement(name, kind, claimed, measured):
    """Compare two ways to the same numbers, which must agree to rounding."""
    right = relative(claimed, measured) <= EXACT
    return compared(name, kind, right, claimed, measured)


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
    if np.shape(gradient) != x.shape:
        return [misfit(name, np.shape(gradient), x.shape)]
    own_axes = tuple(range(np.ndim(f(x)), x.ndim))

    def derivative(d):
        return np.sum(gradient * d, axis=own_axes)

    tests = [taylor_test, complex_step_test] if analytic else [central_difference_test]
    return [test(name, f, x, derivative, rng) for test in tests]


def gradient_tests(name, f, gradients, arguments, rng, analytic=True):
    """Test the gradient of f with respect to each of its arguments.

    `arguments` are named arrays {"W": W, …}, `f(*arrays)` a number and
    `gradients(*arrays)` the gradients in the same order.
    """
    found = zip(arguments, gradients(*arguments.values()), strict=True)
    return [
        check
        for block, gradient in found
        for check in gradient_test(
            f"{name}: {block}",
            vary(f, arguments, block),
            arguments[block],
            gradient,
            rng,
            analytic,
        )
    ]


def vary(f, arguments, block):
    """Return f as a function of one argument, the others held."""
    return lambda value: f(*{**arguments, block: value}.values())


def jacobian_tests(name, f, jvp, vjp, arguments, rng, analytic=True):
    """Test J and Jᵀ of an array-valued f with respect to each of its arguments.

    `jvp(*directions)` returns J applied to one direction per argument, `vjp(u)` returns
    Jᵀu as one array per argument. J is tested against f, Jᵀ against J.
    """
    results = []
    value_shape = f(*arguments.values()).shape
    for number, (block, x) in enumerate(arguments.items()):
        zeros = [np.zeros_like(other) for other in arguments.values()]

        def push(d, number=number, zeros=zeros):
            return jvp(*zeros[:number], d, *zeros[number + 1 :])

        def pull(u, number=number):
            return vjp(u)[number]

        title, along_block = f"{name}: {block}", vary(f, arguments, block)
        if analytic:
            results += [
                taylor_test(title, along_block, x, push, rng, "Jacobian"),
                complex_step_test(title, along_block, x, push, rng),
            ]
        else:
            results.append(central_difference_test(title, along_block, x, push, rng))
        results.append(transpose_test(title, x.shape, push, pull, value_shape, rng))
    return results


def layer_tests(name, layer, x, rng, analytic=True):
    """Test a layer for x (..., inputs, m) and for every block, drawn at random."""
    replicas = x.shape[:-2]
    arguments = {"x": x} | {
        block: rng.standard_normal((*replicas, *shape)) / np.sqrt(shape[1])
        for block, shape in layer.shapes.items()
    }
    kept = layer.forward(*arguments.values())[1]

    def vjp(u):
        dx, blocks = layer.backward(kept, u)
        return dx, *blocks

    return jacobian_tests(
        name,
        lambda *values: layer.forward(*values)[0],
        lambda *directions: layer.jvp(kept, *directions),
        vjp,
        arguments,
        rng,
        analytic,
    )


def network_tests(name, network, X, C, rng, analytic=True):
    """Test the gradient of a network's loss for every block of every layer, and for X.

    One more test goes through the whole flat parameter vector, along directions in
    which all blocks change together, and one is the transpose test of the whole
    network. A stack of networks needs samples of its own for each, X (R, features, m).
    """
    flat, (gradient, dX) = network.parameters, network.gradients(X, C)
    if gradient.shape != flat.shape:
        return [misfit(f"{name}: all parameters", gradient.shape, flat.shape)]
    rows = [("X", lambda X: network.value(X, C), X, dX)]
    rows += [
        (f"{block} of layer {number}", substituted(network, X, C, index), x, g)
        for number, layer, indices, values, blocks in zip(
            range(1, len(network.layers) + 1),
            network.layers,
            network.split(np.arange(gradient.shape[-1])),
            network.split(flat),
            network.split(gradient),
            strict=True,
        )
        for block, index, x, g in zip(
            layer.shapes, indices, values, blocks, strict=True
        )
    ]
    rows += [
        (
            "all parameters",
            lambda flat: network.with_parameters(flat).value(X, C),
            flat,
            gradient,
        )
    ]
    tests = [
        check
        for block, f, x, g in rows
        for check in gradient_test(f"{name}: {block}", f, x, g, rng, analytic)
    ]
    return [*tests, network_transpose_test(name, network, X, rng)]


def substituted(network, X, C, index):
    """Return the loss as a function of one block, the entries `index` of the vector."""

    def loss(block):
        replicas, kind = block.shape[: -index.ndim], np.result_type(block)
        flat = np.broadcast_to(
            network.parameters, (*replicas, network.parameters.shape[-1])
        ).astype(kind)
        flat[..., index] = block
        return network.with_parameters(flat).value(X, C)

    return loss


def network_transpose_test(name, network, X, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ for the scores, v running through parameters and X."""
    scores, kept = network.forward(X)
    flat = network.parameters

    def push(v):
        d, dX = np.split(v, [flat.size])
        return network.jvp(kept, dX.reshape(X.shape), d.reshape(flat.shape))

    def pull(u):
        return np.concatenate([g.ravel() for g in network.backward(kept, u)])

    shape = (flat.size + X.size,)
    title = f"{name}: all parameters and X"
    return transpose_test(title, shape, push, pull, scores.shape, rng)
