"""The checks themselves: right derivatives pass, every wrong one FAILS by name."""

import numpy as np
import pytest

from helpers import checks
from helpers.layers import HiddenLayer, OutputLayer, ReLU, ResNetLayer
from helpers.losses import CrossEntropy, linear_loss, softmax
from helpers.network import Network

LOSS = CrossEntropy()


def failed(results):
    """Return the blocks that failed at least one check."""
    return {r.name.partition(": ")[2] for r in results if not r.passed}


# --- wrong gradients of the linear classifier: (W, b, X, C, G) → dW, db, dX ----------


def linear(W, b, X, C, G):
    return G @ X.T, G.sum(axis=1, keepdims=True), W.T @ G


def off_by_a_thousandth(dW):
    dW = dW.copy()
    largest = np.unravel_index(np.abs(dW).argmax(), dW.shape)
    dW[largest] *= 1.001
    return dW


def rows_normalised(W, b, X, C, G):
    E = np.exp(W @ X + b)
    return linear(W, b, X, C, (E / E.sum(axis=1, keepdims=True) - C) / X.shape[1])


def scaled(factor):
    return lambda W, b, X, C, G: linear(W, b, X, C, factor(X) * G)


def probabilities_alone(W, b, X, C, G):
    return linear(W, b, X, C, softmax(W @ X + b) / X.shape[1])


def changed(dW=None, db=None, dX=None):
    """Return gradients of which one is replaced; each change sees (W, b, X, G)."""

    def gradients(W, b, X, C, G):
        right = linear(W, b, X, C, G)
        changes = zip((dW, db, dX), right, strict=True)
        return [change(W, b, X, G) if change else g for change, g in changes]

    return gradients


WRONG_LINEAR = {  # the gradients, and the blocks that must fail
    "missing 1/m": (scaled(lambda X: X.shape[1]), "W b X"),
    "divided by the features": (scaled(lambda X: X.shape[1] / X.shape[0]), "W b X"),
    "flipped sign": (scaled(lambda X: -1), "W b X"),
    "all off by 0.1 %": (scaled(lambda X: 1.001), "W b X"),
    "labels not subtracted": (probabilities_alone, "W b X"),
    "rows normalised instead of columns": (rows_normalised, "W b X"),
    "bias not summed": (changed(db=lambda W, b, X, G: G[:, :1]), "b"),
    "bias left out": (changed(db=lambda W, b, X, G: 0 * b), "b"),
    "weight transposed in dX": (changed(dX=lambda W, b, X, G: W @ G), "X"),
    "dW transposed": (changed(dW=lambda W, b, X, G: X @ G.T), "W"),
    "one entry off by 0.1 %": (
        changed(dW=lambda W, b, X, G: off_by_a_thousandth(G @ X.T)),
        "W",
    ),
    "none": (linear, ""),
}


def linear_tests(draw, gradients, seed, kind=slice(None)):
    (X, C), rng = draw(features=4, m=7, seed=seed), np.random.default_rng(seed)
    arguments = {"W": rng.normal(size=(4, 4)), "b": rng.normal(size=(4, 1)), "X": X}
    results = checks.gradient_tests(
        "linear",
        lambda W, b, X: linear_loss(LOSS, W, b, X, C),
        lambda W, b, X: gradients(W, b, X, C, LOSS.gradient(W @ X + b, C)),
        arguments,
        rng,
    )
    return results[kind]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [slice(0, None, 2), slice(1, None, 2)])
@pytest.mark.parametrize(
    ("gradients", "blocks"), WRONG_LINEAR.values(), ids=WRONG_LINEAR.keys()
)
def test_wrong_gradients_fail_by_taylor_and_by_complex_step(
    draw, gradients, blocks, kind, seed
):
    assert failed(linear_tests(draw, gradients, seed, kind)) == set(blocks.split())


# --- wrong layers: Jᵀ alone (transpose test), or J alone (both tests) ----------------


class ForgottenSkip(ResNetLayer):
    def backward(self, kept, dy):
        dx, gradients = super().backward(kept, dy)
        return dx - self.outer.derivative(kept[-1]) * dy, gradients


class SwappedWeights(ResNetLayer):
    def backward(self, kept, dy):
        dx, (dW1, db1, dW2, db2) = super().backward(kept, dy)
        return dx, (dW2, db1, dW1, db2)


class LastBiasLeftOut(ResNetLayer):
    def backward(self, kept, dy):
        dx, (dW1, db1, dW2, db2) = super().backward(kept, dy)
        return dx, (dW1, db1, dW2, 0 * db2)


class DerivativeAtTheInput(HiddenLayer):
    def backward(self, kept, dy):
        x, W, y = kept
        return super().backward((x, W, np.arctanh(y)), dy)


class DerivativeLeftOut(HiddenLayer):
    def backward(self, kept, dy):
        x, W, y = kept
        return super().backward((x, W, 0 * y), dy)


class InvertedMask(ReLU):
    def derivative(self, y):
        return y <= 0


class JvpWithoutSkip(ResNetLayer):
    def jvp(self, kept, dx, *blocks):
        return super().jvp(kept, dx, *blocks) - self.outer.derivative(kept[-1]) * dx


class JvpOfZeros(OutputLayer):
    def jvp(self, kept, dx, dW, db):
        return 0 * super().jvp(kept, dx, dW, db)


WRONG_LAYERS = {
    "forgotten skip": (ForgottenSkip(4, 4), {"x"}),
    "W1 and W2 swapped": (SwappedWeights(4, 4), {"W1", "W2"}),
    "last bias left out": (LastBiasLeftOut(4, 4), {"b2"}),
    "σ′ at the wrong argument": (DerivativeAtTheInput(4, 4), {"x", "W", "b"}),
    "σ′ left out": (DerivativeLeftOut(4, 4), {"x", "W", "b"}),
    "inverted ReLU mask": (HiddenLayer(4, 6, InvertedMask()), {"x", "W", "b"}),
    "J without the skip": (JvpWithoutSkip(4, 4), {"x"}),
    "J of zeros": (JvpOfZeros(4, 4), {"x", "W", "b"}),
    "none": (ResNetLayer(4, 4), set()),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("layer", "blocks"), WRONG_LAYERS.values(), ids=WRONG_LAYERS.keys()
)
def test_wrong_layers_fail_by_name(draw, layer, blocks, seed):
    x, _ = draw(features=4, m=5, seed=seed)
    results = checks.layer_tests("layer", layer, x, np.random.default_rng(seed))
    assert failed(results) == blocks


def test_a_gradient_that_only_broadcasts_is_refused(draw):
    """A sum over samples left out would pass in an inner product, by broadcasting."""

    class NotSummed(OutputLayer):
        def backward(self, kept, dy):
            dx, (dW, _) = super().backward(kept, dy)
            return dx, (dW, dy)

    (x, C), rng = draw(), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"of layer: b has the shape \(4, 8\), not"):
        checks.layer_tests("layer", NotSummed(3, 4), x, rng)
    with pytest.raises(ValueError, match=r"of b has the shape \(4, 8\), not \(4, 1\)"):
        checks.gradient_tests(
            "linear",
            lambda b: LOSS(x[:1] + b, C),
            lambda b: [LOSS.gradient(x[:1] + b, C)],
            {"b": np.ones((4, 1))},
            rng,
        )


@pytest.mark.parametrize("analytic", [True, False])
def test_a_wrong_layer_fails_inside_a_network(draw, analytic):
    layers = [HiddenLayer(3, 4), LastBiasLeftOut(4, 6), OutputLayer(4, 4)]
    network = Network(layers, np.random.default_rng(0), dtype=float)
    results = checks.network_tests(
        "net", network, *draw(), np.random.default_rng(0), analytic
    )
    assert failed(results) == {"b2 of layer 2", "all parameters"}
    assert len(results) == (9 + 1) * (2 if analytic else 1)


# --- right derivatives ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_right_derivatives_pass_whatever_the_seed(draw, seed):
    assert failed(linear_tests(draw, linear, 1000 + seed)) == set()
    x, _ = draw(m=3, seed=seed)
    for layer in (HiddenLayer(3, 2), ResNetLayer(3, 5)):
        results = checks.layer_tests("layer", layer, x, np.random.default_rng(seed))
        assert failed(results) == set()


POLYNOMIALS = {  # f, f′, x, the orders of both residuals
    "quadratic": (lambda x: x @ x, lambda x: 2 * x, np.ones(4), (1, 2)),
    "cubic": (lambda x: np.sum(x**3), lambda x: 3 * x**2, np.ones(4), (1, 2)),
    "cubic at its inflection": (
        lambda x: np.sum(x + x**3),
        lambda x: 1 + 3 * x**2,
        np.zeros(4),
        (1, 3),
    ),
    "wrong by 1 %": (lambda x: x @ x, lambda x: 2.02 * x, np.ones(4), (1, 1)),
}


@pytest.mark.parametrize("case", POLYNOMIALS.values(), ids=POLYNOMIALS.keys())
@pytest.mark.parametrize("seed", range(5))
def test_orders_are_those_of_known_polynomials(case, seed):
    f, derivative, x, orders = case
    g, rng = derivative(x), np.random.default_rng(seed)
    check = checks.taylor_test("f", f, x, lambda d: g @ d, rng)
    assert check.orders == pytest.approx(orders, abs=0.15)
    assert check.passed == (orders[1] >= 2)
    assert check.residuals.shape == (2, check.steps.size)
    assert check.fitted.sum() == 8


@pytest.mark.parametrize("factor", [1, 1.001])
def test_affine_functions_are_told_as_rounding_noise(factor):
    rng = np.random.default_rng(0)
    A, x = rng.normal(size=(5, 3)), rng.normal(size=3)
    check = checks.taylor_test(
        "f", lambda x: A @ x + 7, x, lambda d: factor * A @ d, rng
    )
    assert check.passed == (factor == 1)
    assert ("rounding noise" in check.summary) == (factor == 1)
    assert check.orders[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(check.orders[1]) == (factor == 1)


@pytest.mark.parametrize("f", [lambda x: 1.0, lambda x: x @ x])
def test_the_first_order_must_be_one(f):
    """Where f does not change to first order, a derivative of zero proves nothing."""
    rng = np.random.default_rng(0)
    check = checks.taylor_test("f", f, np.zeros(3), lambda d: 0.0, rng)
    assert not check.passed


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize("factor", [1, 1 + 1e-9])
def test_transpose_and_complex_step_see_a_billionth_at_any_scale(scale, factor):
    rng = np.random.default_rng(0)
    A, x = scale * rng.normal(size=(5, 3)), rng.normal(size=3)
    transpose = checks.transpose_test(
        "A", (3,), lambda v: A @ v, lambda u: factor * A.T @ u, (5,), rng
    )
    gradient = factor * scale * np.cos(x)
    step = checks.complex_step_test(
        "f", lambda x: scale * np.sin(x).sum(), x, gradient, rng
    )
    for check in (transpose, step):
        assert check.passed == (factor == 1)
        assert check.error < 1e-8


def test_directions_are_random_normal_of_length_one():
    d = checks.direction(np.zeros((40, 50)), np.random.default_rng(0))
    assert np.linalg.norm(d) == pytest.approx(1)
    assert d.mean() == pytest.approx(0, abs=1e-3)
    kurtosis = np.mean(d**4) / np.mean(d**2) ** 2
    assert kurtosis == pytest.approx(3, abs=0.3)


def test_equal_generators_give_equal_checks_and_no_global_state_is_used(draw):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (linear_tests(draw, linear, 5) for _ in range(2))
    assert [str(check) for check in one] == [str(check) for check in two]
    np.testing.assert_array_equal(one[0].residuals, two[0].residuals)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_checks_change_nothing(draw):
    (X, C), rng = draw(), np.random.default_rng(0)
    network = Network([ResNetLayer(3, 5), OutputLayer(3, 4)], rng, dtype=float)
    network.parameters.setflags(write=False)
    layers, blocks, theta = network.layers, network._blocks, network.parameters
    assert failed(checks.network_tests("net", network, X, C, rng)) == set()
    assert network.parameters is theta
    assert network._blocks is blocks
    assert network.layers is layers


def test_a_check_prints_verdict_kind_name_and_numbers(draw):
    good = str(linear_tests(draw, linear, 0)[0])
    bad = str(linear_tests(draw, WRONG_LINEAR["flipped sign"][0], 0)[1])
    assert good.startswith("pass  Taylor       linear: W ")
    assert "order 1.0" in good
    assert bad.startswith("FAIL  complex step linear: W ")
    assert "relative error" in bad
