"""Is a derivative right? Numerical tests that answer with numbers and a verdict.

A test takes functions and arrays in float64, draws random normal directions from `rng`
and changes nothing. What it tests must treat leading axes as replicas: it is called
once, with all steps and directions at a time.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from helpers.backstage.contracts import (
    kind,
    real_numbers,
    require_layer,
    require_samples,
)
from helpers.backstage.rehearsal import Strict, advice
from helpers.network import join
from helpers.thresholds import (
    ALIKE,
    CENTRAL_DIFFERENCE,
    EPS,
    LAST_PLACES,
    LOST,
    ROUNDING,
    SAME,
    STEPS,
    Check,
    breaks_off,
    cancellation,
    conclude,
    decide,
    name_tests,
    relative_error,
    shape_test,
)

DIRECTIONS = 4  # one alone may lie across the gradient, or where the curvature is zero
SMALL = f"f is below {ROUNDING:.0e} around x, where rounding hides it: scale f"
LARGEST = 1e150  # of f: norms square it
NO_STEP = "no step clears both the kinks of f and the rounding noise: move x"
AT_KINK = "x lies at a kink of f, where it has no derivative: move x, and "
AT_KINK += "analytic=False is meant"
KINKS = "central differences agree, so f has kinks or loses complex numbers (abs, std, "
KINKS += "an array of floats): analytic=False is meant"
RANDOM = "f called twice with the same x differs: draw its random numbers once"


def directions(x, derivative, rng):
    """Return random normal directions d of length 1, and f′(x)d for each."""
    D = rng.standard_normal((DIRECTIONS, *x.shape))
    D /= expand(norms(D), x)
    return D, np.stack([derivative(d) for d in D])


def norms(A):
    """Return the norm of each A[i], whatever its shape."""
    return np.linalg.norm(A.reshape(len(A), -1), axis=1)


def expand(steps, values):
    """Return one number per step in a shape that broadcasts with (steps, *values)."""
    return steps.reshape(-1, *(1 for _ in values.shape))


def perturb(f, x, D, steps):
    """Return f(x + εd) for all steps ε and directions d: (steps, DIRECTIONS, ...)."""
    stack = x + expand(steps, D) * D
    rule = "a tested function must treat leading axes as replicas: for an argument of "
    rule += f"the shape {stack.shape} it "
    try:
        values = f(stack)
    except ValueError as error:
        raise ValueError(f"{rule}fails with “{error}”{advice(error)}") from error
    expected = (*stack.shape[:2], *np.shape(f(x)))
    if np.shape(values) != expected:
        raise ValueError(f"{rule}returned {np.shape(values)}, not {expected}")
    return values


def reason_to_refuse(f, x):
    """Return why f cannot be tested at x, or "": it must be a function of x alone."""
    h, value = STEPS[0], f(x)
    if np.result_type(value) in (np.float16, np.float32):
        return f"f computes in {np.result_type(value)}: the tests need float64"
    parts = np.stack([f(x - h), f(x + h)])
    if not (np.isfinite(value).all() and np.isfinite(parts).all()):
        return f"f is not finite between x − {h} and x + {h}: move x"
    if max(np.max(abs(value)), np.max(abs(parts))) > LARGEST:
        return f"f is above {LARGEST:.0e} around x, where squares overflow: scale f"
    if relative_error(value, f(x)) > SAME:
        return RANDOM
    if 0 < max(np.linalg.norm(value), np.linalg.norm(parts)) < ROUNDING:
        return SMALL
    stack = perturb(f, x, np.ones((1, *x.shape)), np.array([-h, h]))[:, 0]
    mixed = "f of a stack differs from f of its parts, so it mixes replicas: count its "
    mixed += "axes from the last (axis=-2 for classes, .mT for .T)"
    return mixed if relative_error(parts, stack) > SAME else ""


def rounding_level(value, changes):
    """Return the level of the rounding of f, from f(x) and f(x + εd) − f(x).

    Terms that cancel leave no trace in f(x), but in second differences: of the smallest
    steps, too small for curvature, and of the smallest at which f moves at all, which
    is a quantum of f, or else (beyond ROUNDING) a kink at the end of a plateau.
    """
    second, size = norms(changes[:-1] - 2 * changes[1:]), np.linalg.norm(value)
    quantum = second[norms(changes[:-1]) > 0][-1:].max(initial=0)
    seen = quantum if quantum <= ROUNDING * max(size, 1) else 0
    return max(LAST_PLACES * size, second[-5:].max(), seen)


def taylor_test(f, x, derivative, rng, kind="Taylor"):
    """Test f(x + εd) = f(x) + ε f′(x)d + O(ε²) along random directions d.

    `derivative(d)` returns f′(x)d: the inner product ⟨g, d⟩ of a gradient, or J d. The
    residuals ‖f(x + εd) − f(x)‖ and ‖f(x + εd) − f(x) − ε f′(x)d‖, norms over entries
    and directions, must fall with the orders 1 and 2 in ε. Where f is affine the second
    may be rounding noise at every step, and the first where the derivative is zero.
    """
    D, claimed = directions(x, derivative, rng)
    changes, steps = perturb(f, x, D, STEPS) - f(x), expand(STEPS, claimed)
    residuals = np.stack([norms(changes), norms(changes - steps * claimed)])
    size = max(residuals[0].max(), rounding_level(f(x), changes) / LAST_PLACES)
    size = max(size, cancellation(f(x)) / ROUNDING)
    zero = STEPS[0] * np.linalg.norm(claimed) <= ROUNDING * size
    fields = {"steps": STEPS, "residuals": residuals, **decide(residuals, size, zero)}
    measured = (changes / steps)[np.argmin(abs(STEPS - np.sqrt(EPS)))]
    return conclude(kind, claimed, measured, **fields)


def central_difference_test(f, x, derivative, rng):
    """Test (f(x + hd) − f(x − hd)) / 2h = f′(x)d + O(h²): for functions with kinks.

    A kink between x − hd and x + hd spoils the quotient by at most twice what

        κ(h) = b(2h) − b(4h)/2,   b(h) = (f(x + hd) − 2 f(x) + f(x − hd)) / 2h,

    shows of it, while for a smooth f, where b is proportional to h, κ is almost zero.
    So only steps with a small κ are trusted; among them the one whose quotient changes
    least is taken. If there is none, x lies at a kink, and the test refuses to judge.
    It also refuses where this change, the drift, is as large as the error.
    """
    D, claimed = directions(x, derivative, rng)
    ahead, behind = perturb(f, x, D, STEPS), perturb(f, x, D, -STEPS)
    steps = expand(STEPS, claimed)
    quotients = (ahead - behind) / (2 * steps)
    bends = (ahead - 2 * f(x) + behind) / (2 * steps)
    kinks = np.append([np.inf, np.inf], norms(bends[1:-1] - bends[:-2] / 2))
    rounding = rounding_level(f(x), ahead - f(x)) / STEPS
    residuals = np.stack([norms(quotients), norms(quotients - claimed)])
    best, drift = choose_step(quotients, kinks, rounding)
    fields = {"steps": STEPS, "residuals": residuals, "fitted": STEPS[best] == STEPS}
    # Where both are zero to rounding, all differences are noise, and no step is best.
    least, half = cancellation(f(x)), STEPS.size // 2
    noise = np.stack([*residuals, kinks / 4]) <= np.maximum(rounding, least)
    if noise[:, half // 2 if least else 2 : half].all():
        # A slope that takes f to zero within |x| should show, unless f is too large.
        seen = norms(claimed[None])[0] * max(np.linalg.norm(x), STEPS[0])
        lies = seen > SAME * (1 if least else np.linalg.norm(f(x)))
        fields |= {"verdict": "refused" if lies else "pass"}
        fields |= {"reason": LOST if lies else ALIKE}
    elif best == 0:
        fields |= {"verdict": "refused", "error": np.nan, "reason": NO_STEP}
    levels = max(least, LAST_PLACES * np.linalg.norm(f(x)) / STEPS[best]), drift
    return conclude("central difference", claimed, quotients[best], *levels, **fields)


def choose_step(quotients, kinks, rounding):
    """Return the number of the trusted step (or 0) whose drift is least, and its drift.

    All is relative, and the rounding of f is added: quotients can also agree by luck.
    The first two steps have no κ and are never trusted.
    """
    scale = norms(quotients)
    scale[scale == 0] = scale.max() or 1  # below f's rounding, or with a dead ReLU
    noise = rounding / scale
    drift = np.append(np.inf, norms(np.diff(quotients, axis=0))) / scale + noise
    trusted = kinks / scale + noise <= CENTRAL_DIFFERENCE / 4
    best = np.argmin(np.where(trusted, drift, np.inf))
    return best, drift[best] * scale[best]


def complex_step_test(f, x, derivative, rng, h=1e-30):
    """Test Im f(x + ihd) / h = f′(x)d: no subtraction, no truncation, so exact.

    The rounding of f shows in other steps, in its size and slopes, and in second
    differences too small for curvature.
    """
    D, claimed = directions(x, derivative, rng)
    steps = h / np.array([1, 3, 7])
    try:
        measured = np.imag(perturb(f, x, D, 1j * steps)) / expand(steps, claimed)
    except TypeError as error:
        reason = f"f takes no complex numbers ({error}): analytic=False is meant"
        return Check("complex step", "refused", reason=reason)
    changes = perturb(f, x, D, STEPS) - f(x)
    level = max(
        cancellation(f(x)),
        rounding_level(f(x), changes),
        LAST_PLACES * (norms(changes) / STEPS).max(),
        norms(measured - measured[0]).max(),
    )
    return conclude("complex step", claimed, measured[0], level)


def transpose_test(shape, jvp, vjp, value, rng):
    """Test ⟨Jᵀu, v⟩ = ⟨u, J v⟩ with random normal u, of the shape of `value`, and v."""
    found = []
    for _ in range(DIRECTIONS):
        u, v = rng.standard_normal(value.shape), rng.standard_normal(shape)
        back = vjp(u)  # first, so that a backward pass that writes into u is found out
        if wrong := shape_test(back, shape):
            return wrong
        size = np.linalg.norm(u) * np.linalg.norm(v)
        found.append((np.sum(back * v), np.sum(u * jvp(v)), size))
    claimed, measured, sizes = np.array(found).T
    level = LAST_PLACES * np.linalg.norm(value) * np.linalg.norm(sizes)
    return conclude("transpose", claimed, measured, level)


# Every block of a function, a layer, a network ----------------------------------------


def gradient_test(f, x, gradient, rng, analytic=True):
    """Test the gradient of f, which returns a number, or one for each replica."""
    x, rng = real_numbers("x", x).astype(float), np.random.default_rng(rng)
    gradient = np.asarray(gradient)
    single = gradient.dtype == np.float32
    if wrong := shape_test(gradient, x.shape):
        return [wrong]
    reason = "the gradient is float32: the tests need float64" if single else ""
    if reason := reason or reason_to_refuse(f, x):
        return [Check("gradient", "refused", reason=reason)]
    axes = tuple(range(np.ndim(f(x)), x.ndim))
    return derivative_tests(
        f, x, lambda d: np.sum(gradient * d, axis=axes), rng, "Taylor", analytic
    )


def jacobian_test(f, x, jvp, vjp, value, rng, analytic=True):
    """Test jvp(d) = J d against f, then vjp(u) = Jᵀu against J; `value` is f(x)."""
    x, rng = real_numbers("x", x).astype(float), np.random.default_rng(rng)
    if reason := reason_to_refuse(f, x):
        return [Check("Jacobian", "refused", reason=reason)]
    tests = derivative_tests(f, x, jvp, rng, "Jacobian", analytic)
    return [*tests, transpose_test(x.shape, jvp, vjp, value, rng)]


def derivative_tests(f, x, derivative, rng, kind, analytic):
    """Test f′(x)d: a Taylor and a complex step test, or, with kinks, differences.

    Where central differences agree, a residual that breaks off has met a kink, and a
    complex step far off an f that is not analytic. Where they find a kink at x itself,
    f has no derivative there.
    """
    if not analytic:
        return [central_difference_test(f, x, derivative, rng)]
    tests = (
        taylor_test(f, x, derivative, rng, kind),
        complex_step_test(f, x, derivative, rng),
    )
    taylor, step = tests
    failed = taylor.verdict == "FAIL"
    kinked = failed and breaks_off(taylor.residuals[1], taylor.fitted)
    real = taylor.passed and step.verdict == "FAIL" and step.error > CENTRAL_DIFFERENCE
    if failed or real:
        again = central_difference_test(f, x, derivative, np.random.default_rng(0))
        reason = KINKS if again.passed and (kinked or real) else ""
        reason = AT_KINK if again.reason == NO_STEP and failed else reason
        refusal = {"verdict": "refused", "reason": reason} if reason else {}
        return [t if t.passed else replace(t, **refusal) for t in tests]
    return list(tests)


def gradient_tests(function, f, gradients, arguments, rng, analytic=True):
    """Test the gradient of f with respect to each of its arguments.

    `arguments` are named arrays {"W": W, …}, `f(*arrays)` a number and
    `gradients(*arrays)` the gradients in the same order.
    """
    rng = np.random.default_rng(rng)
    arguments = {b: real_numbers(b, x).astype(float) for b, x in arguments.items()}
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
    """Test a layer for x (..., inputs, m) and random blocks, alone and as a stack.

    Raises ValueError if y has not the shape it should, if the backward pass returns not
    one array each, or if the forward pass writes into what it is given.
    """
    require_layer("the layer", layer, "jvp")
    x, rng = real_numbers("x", x).astype(float), np.random.default_rng(rng)
    arguments = {"x": x} | {
        block: rng.standard_normal((*x.shape[:-2], *shape)) / np.sqrt(shape[1])
        for block, shape in layer.shapes.items()
    }
    zeros = {block: np.zeros_like(array) for block, array in arguments.items()}
    strict = Strict(layer, kind(layer))
    y, kept = strict.forward(*arguments.values())
    strict.arrays(kept, np.ones_like(y))
    results = []

    def backward(u, number):
        dx, blocks = layer.backward(kept, u)
        return (dx, *blocks)[number]

    for number, (block, value) in enumerate(arguments.items()):
        f = restrict(lambda *arrays: layer.forward(*arrays)[0], arguments, block)
        jvp = restrict(partial(layer.jvp, kept), zeros, block)
        vjp = partial(backward, number=number)
        tests = jacobian_test(f, value, jvp, vjp, y, rng, analytic)
        results += name_tests(function, block, tests)
    stack = stack_test(layer, arguments.values(), rng)
    return results + name_tests(function, "stack", [stack])


def stack_test(layer, arrays, rng):
    """Test that two stacked replicas of a layer give what each of them gives alone."""
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

    More tests change all blocks together, along the flat parameter vector, and take the
    transpose of the whole network. A stack of networks needs samples of its own for
    each, X (R, features, m). Raises ValueError when X or C does not fit the network.
    """
    for number, layer in enumerate(network.layers, start=1):
        require_layer(f"layer {number}", layer, "jvp")
    X, C, rng = real_numbers("X", X), real_numbers("C", C), np.random.default_rng(rng)
    require_samples(network, X, C)
    X, C, flat = (np.array(A, float) for A in (X, C, network.parameters))
    network = network.with_parameters(flat)
    gradient, dX = network.gradients(X, C)
    if wrong := shape_test(gradient, flat.shape):
        return name_tests(function, "all parameters", [wrong])

    def loss(X, *blocks):
        return network.with_parameters(assemble(blocks)).value(X, C)

    def whole(flat):
        return network.with_parameters(flat).value(X, C)

    arguments = {"X": X} | split_by_name(network, flat)
    parts = [dX, *split_by_name(network, gradient).values()]
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
    return {
        f"{name} of layer {number}": block
        for number, blocks in enumerate(network.split(flat), start=1)
        for name, block in zip(network.layers[number - 1].shapes, blocks, strict=True)
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
