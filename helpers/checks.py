"""Is a derivative right? Numerical tests that answer with numbers and a verdict.

Every test takes functions and arrays in float64, draws random normal directions from
`rng`, changes nothing, draws no picture, and returns `Check` objects: the notebooks
plot them, the tests of the project assert on them.
"""

from dataclasses import dataclass

import numpy as np

from helpers.network import join

STEPS = 2.0 ** -np.arange(1, 33)
EPS = np.finfo(float).eps
FIRST_ORDER = (0.95, 1.05)  # without the derivative the residual falls like ε
SECOND_ORDER = 1.95  # with it, like ε²
RELATIVE_ERROR = 1e-13  # where no truncation error exists: transpose, complex step


@dataclass(frozen=True)
class Check:
    """The outcome of one test of one derivative."""

    name: str
    kind: str
    passed: bool
    summary: str
    error: float = np.nan
    steps: np.ndarray = None
    residuals: np.ndarray = None  # (2, steps): without and with the derivative
    orders: tuple = (np.nan, np.nan)
    fitted: np.ndarray = None  # which steps the orders were fitted over

    def __str__(self):
        """Return one line: verdict, test, function and block, and the numbers."""
        word = "pass" if self.passed else "FAIL"
        return f"{word}  {self.kind:<12} {self.name:<34} {self.summary}"


def direction(x, rng):
    """Return a random normal direction with the shape of x, of length 1."""
    d = rng.standard_normal(x.shape)
    return d / np.linalg.norm(d)


def taylor_test(name, f, x, derivative, rng, kind="Taylor"):
    """Test f(x + εd) = f(x) + ε f′(x)d + O(ε²) along one random direction d.

    `derivative(d)` returns f′(x)d: the inner product ⟨g, d⟩ of a gradient, or J d. The
    residuals ‖f(x + εd) − f(x)‖ and ‖f(x + εd) − f(x) − ε f′(x)d‖ must fall with the
    orders 1 and 2 in ε. Where f is affine along d the second is rounding noise at every
    step, which passes as such.
    """
    d = direction(x, rng)
    f0, slope = f(x), derivative(d)
    changes = [f(x + step * d) - f0 for step in STEPS]
    residuals = np.array(
        [
            [np.linalg.norm(change) for change in changes],
            [
                np.linalg.norm(change - step * slope)
                for step, change in zip(STEPS, changes, strict=True)
            ],
        ]
    )
    rounding = 100 * EPS * max(np.linalg.norm(f0), residuals[0, 0])
    fitted = fit_range(residuals[1])
    affine = bool(residuals[1].max() <= rounding)
    first, second = (order(r, ~fitted if affine else fitted) for r in residuals)
    passed = FIRST_ORDER[0] <= first <= FIRST_ORDER[1] and (
        affine or second >= SECOND_ORDER
    )
    summary = f"order {first:.3f}, then " + (
        f"rounding noise ≤ {residuals[1].max():.0e}" if affine else f"{second:.3f}"
    )
    return Check(
        name=name,
        kind=kind,
        passed=bool(passed),
        summary=summary,
        steps=STEPS,
        residuals=residuals,
        orders=(first, np.nan if affine else second),
        fitted=fitted,
    )


def fit_range(residual, length=8):
    """Choose the steps to fit: the smallest `length` above the rounding noise.

    The noise is read off the data: the largest residual of the last five steps.
    """
    above = np.flatnonzero(residual > 100 * residual[-5:].max())
    fitted = np.zeros(residual.size, bool)
    fitted[above[-length:]] = True
    return fitted


def order(residual, fitted):
    """Return the slope of log residual over log ε on the fitted steps."""
    fitted = fitted & (residual > 0)
    if np.count_nonzero(fitted) < 3:
        return np.nan
    return float(np.polyfit(np.log(STEPS[fitted]), np.log(residual[fitted]), 1)[0])


def agreement(name, kind, products):
    """Compare two inner products, each given by its terms; scale by Σ |terms|."""
    a, b = (np.sum(terms) for terms in products)
    scale = max(np.sum(np.abs(terms)) for terms in products)
    error = float(abs(a - b) / max(scale, np.finfo(float).tiny))
    return Check(
        name=name,
        kind=kind,
        passed=error <= RELATIVE_ERROR,
        summary=f"{a:+.6e} and {b:+.6e}, relative error {error:.0e}",
        error=error,
    )


def transpose_test(name, shape, jvp, vjp, value_shape, rng):
    """Test ⟨u, J v⟩ = ⟨Jᵀ u, v⟩ with random normal u and v."""
    u, v = rng.standard_normal(value_shape), rng.standard_normal(shape)
    products = u * jvp(v), fitting(vjp(u), shape, name) * v
    return agreement(name, "transpose", products)


def complex_step_test(name, f, x, gradient, rng, h=1e-30):
    """Test Im f(x + ih d) / h = ⟨g, d⟩: a derivative without subtraction, so exact."""
    d = direction(x, rng)
    return agreement(
        name, "complex step", (gradient * d, np.imag(f(x + 1j * h * d)) / h)
    )


def gradient_tests(name, f, gradients, arguments, rng, analytic=True):
    """Test the gradient of a scalar f with respect to each of its arguments.

    `arguments` are named arrays {"W": W, …}, `f(*arrays)` a number and
    `gradients(*arrays)` the gradients in the same order. Each gets a Taylor test and,
    where f is analytic, a complex step test.
    """
    results = []
    for block, x, g in each(arguments, gradients(*arguments.values())):
        along = vary(f, arguments, block)
        title = f"{name}: {block}"
        results.append(taylor_test(title, along, x, lambda d, g=g: np.sum(g * d), rng))
        if analytic:
            results.append(complex_step_test(title, along, x, g, rng))
    return results


def jacobian_tests(name, f, jvp, vjp, arguments, rng):
    """Test J and Jᵀ of an array-valued f with respect to each of its arguments.

    `jvp(*directions)` returns J applied to one direction per argument, `vjp(u)` returns
    Jᵀu as one array per argument. Each gets a Jacobian test and a transpose test.
    """
    results = []
    value_shape = f(*arguments.values()).shape
    for number, (block, x) in enumerate(arguments.items()):
        zeros = [np.zeros_like(other) for other in arguments.values()]

        def along(d, number=number, zeros=zeros):
            return jvp(*zeros[:number], d, *zeros[number + 1 :])

        title = f"{name}: {block}"
        results += [
            taylor_test(title, vary(f, arguments, block), x, along, rng, "Jacobian"),
            transpose_test(
                title, x.shape, along, lambda u, n=number: vjp(u)[n], value_shape, rng
            ),
        ]
    return results


def each(arguments, gradients):
    """Yield (name, array, gradient) of each argument."""
    for (block, x), g in zip(arguments.items(), gradients, strict=True):
        yield block, x, fitting(g, x.shape, block)


def fitting(gradient, shape, name):
    """Return the gradient if it has the shape of its argument, else raise ValueError.

    An inner product would broadcast, and so forgive a sum over samples left out.
    """
    if gradient.shape != shape:
        raise ValueError(
            f"the gradient of {name} has the shape {gradient.shape}, not {shape}"
        )
    return gradient


def vary(f, arguments, block):
    """Return f as a function of one argument, the others held."""
    return lambda value: f(*{**arguments, block: value}.values())


def layer_tests(name, layer, x, rng):
    """Run the Jacobian tests of a layer for x and every parameter block."""
    arguments = {"x": x} | {
        block: rng.standard_normal(shape) for block, shape in layer.shapes.items()
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
    )


def network_tests(name, network, X, C, rng, analytic=True):
    """Run the gradient tests of a network's loss for every block of every layer and X.

    The last row goes along one direction through the whole flat parameter vector.
    """
    blocks = network.split(network.parameters)
    layers = enumerate(zip(network.layers, blocks, strict=True), start=1)
    arguments = {
        f"{block} of layer {number}": value
        for number, (layer, values) in layers
        for block, value in zip(layer.shapes, values, strict=True)
    } | {"X": X}

    def loss(*values):
        return network.with_parameters(join(values[:-1])).value(values[-1], C)

    def gradients(*values):
        flat, dX = network.gradients(X, C)
        return *(block for blocks in network.split(flat) for block in blocks), dX

    whole = gradient_tests(
        name,
        lambda flat: network.with_parameters(flat).value(X, C),
        lambda flat: (network.gradient(X, C),),
        {"all parameters": network.parameters},
        rng,
        analytic,
    )
    return gradient_tests(name, loss, gradients, arguments, rng, analytic) + whole
