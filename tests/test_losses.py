"""Softmax and losses against SciPy, scikit-learn and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from helpers import checks
from helpers.losses import (
    CrossEntropy,
    LeastSquares,
    linear_gradients,
    linear_loss,
    log_softmax,
    softmax,
)

LOSSES = [CrossEntropy(), LeastSquares()]
both = pytest.mark.parametrize("loss", LOSSES, ids=["cross-entropy", "least squares"])
Z45 = arrays(float, (4, 5), elements=st.floats(-1e4, 1e4))
LABELS = st.lists(st.integers(0, 3), min_size=5, max_size=5)


@pytest.mark.parametrize("shape", [(4, 7), (5, 2, 3, 1)])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_softmax_is_scipys(shape, scale):
    Z = scale * np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(softmax(Z), special.softmax(Z, axis=-2), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(Z), special.log_softmax(Z, -2), rtol=1e-12)


@given(Z45, LABELS)
def test_cross_entropy_is_log_sum_exp_minus_the_score_of_the_label(Z, labels):
    expected = np.mean(special.logsumexp(Z, axis=0) - Z[labels, range(5)])
    loss = CrossEntropy()(Z, np.eye(4)[:, labels])
    assert loss == pytest.approx(expected, abs=1e-9)


def test_least_squares_is_half_the_mean_squared_length():
    Z, C = np.array([[1.0, 2], [3, 4], [0, 0]]), np.array([[0.0, 2], [1, 1], [0, 2]])
    assert LeastSquares()(Z, C) == (1 + 4 + 0 + 0 + 9 + 4) / 4
    assert LeastSquares().gradient(Z, C).tolist() == [[0.5, 0], [1, 1.5], [0, -1]]


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    logits=st.lists(st.sampled_from([-1e4, 0, 1e4]), min_size=20, max_size=20),
    labels=LABELS,
)
def test_huge_logits_give_finite_numbers_of_their_own_type(loss, dtype, logits, labels):
    Z, C = np.array(logits, dtype).reshape(4, 5), np.eye(4, dtype=dtype)[:, labels]
    for found in (loss(Z, C), loss.gradient(Z, C), softmax(Z), log_softmax(Z)):
        assert np.isfinite(found).all()
        assert found.dtype == dtype


@both
@pytest.mark.parametrize(("m", "seed"), [(1, 0), (2, 1), (64, 2)])
def test_linear_gradients_pass_the_checks(draw, loss, m, seed):
    (X, C), rng = draw(m=m, seed=seed), np.random.default_rng(seed)
    arguments = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=(4, 1)), "X": X}
    results = checks.gradient_tests(
        "linear",
        lambda W, b, X: linear_loss(loss, W, b, X, C),
        lambda W, b, X: linear_gradients(loss, W, b, X, C),
        arguments,
        rng,
    )
    assert len(results) == 6
    assert [str(result) for result in results if not result.passed] == []


@both
def test_a_stack_equals_its_replicas(draw, loss):
    (X, C), rng = draw(replicas=(3,)), np.random.default_rng(1)
    W, b = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 4, 1))
    arguments = W, b, X, C
    stacks = linear_loss(loss, *arguments), *linear_gradients(loss, *arguments)
    for r in range(3):
        one = [array[r] for array in arguments]
        singles = linear_loss(loss, *one), *linear_gradients(loss, *one)
        for stack, single in zip(stacks, singles, strict=True):
            np.testing.assert_allclose(stack[r], single, rtol=1e-12, atol=1e-14)


def test_the_minimum_of_cross_entropy_is_scikit_learns_logistic_regression(draw):
    X, C = draw(m=300)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(X.T, C.argmax(axis=0))

    def objective(flat):
        arguments = flat[:12].reshape(4, 3), flat[12:, None], X, C
        dW, db, _ = linear_gradients(CrossEntropy(), *arguments)
        return linear_loss(CrossEntropy(), *arguments), np.append(dW, db)

    found = optimize.minimize(objective, np.zeros(16), jac=True, options={"gtol": 1e-9})
    W, b = found.x[:12].reshape(4, 3), found.x[12:, None]
    theirs = model.predict_proba(X.T)
    np.testing.assert_allclose(softmax(W @ X + b), theirs.T, atol=1e-6)
    assert found.fun == pytest.approx(log_loss(C.argmax(axis=0), theirs), abs=1e-10)


def test_the_minimum_of_least_squares_is_lstsqs(draw):
    X, C = draw(m=50)
    ones = np.vstack([X, np.ones(50)])
    solution, residuals, *_ = np.linalg.lstsq(ones.T, C.T)
    W, b = solution[:3].T, solution[3:].T
    loss = linear_loss(LeastSquares(), W, b, X, C)
    assert loss == pytest.approx(residuals.sum() / 100, rel=1e-12)
    for gradient in linear_gradients(LeastSquares(), W, b, X, C)[:2]:
        np.testing.assert_allclose(gradient, 0, atol=1e-14)
