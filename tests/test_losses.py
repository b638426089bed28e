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


def one_hot(labels, dtype=float):
    return np.eye(4, dtype=dtype)[:, labels]


@pytest.mark.parametrize("shape", [(4, 7), (2, 3, 7), (5, 2, 3, 1)])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_softmax_is_scipys(shape, scale):
    Z = scale * np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(softmax(Z), special.softmax(Z, axis=-2), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(Z), special.log_softmax(Z, -2), rtol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 64])
def test_cross_entropy_is_scikit_learns_log_loss(draw, m):
    Z, C = draw(features=4, m=m)
    expected = log_loss(C.argmax(axis=0), special.softmax(Z, axis=0).T, labels=range(4))
    assert CrossEntropy()(Z, C) == pytest.approx(expected, rel=1e-12)


@given(Z45, LABELS)
def test_cross_entropy_is_log_sum_exp_minus_the_score_of_the_label(Z, labels):
    expected = np.mean(special.logsumexp(Z, axis=0) - Z[labels, range(5)])
    assert CrossEntropy()(Z, one_hot(labels)) == pytest.approx(expected, abs=1e-9)


def test_least_squares_is_half_the_mean_squared_length():
    Z, C = np.array([[1.0, 2], [3, 4], [0, 0]]), np.array([[0.0, 2], [1, 1], [0, 2]])
    assert LeastSquares()(Z, C) == (1 + 4 + 0 + 0 + 9 + 4) / 4
    assert LeastSquares().gradient(Z, C).tolist() == [[0.5, 0], [1, 1.5], [0, -1]]


@given(Z45)
def test_columns_of_softmax_sum_to_one(Z):
    np.testing.assert_allclose(softmax(Z).sum(axis=0), 1, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_softmax(Z)), softmax(Z), rtol=1e-9)


@given(Z45, arrays(float, (1, 5), elements=st.floats(-1e4, 1e4)), LABELS)
def test_a_shift_of_a_samples_logits_changes_nothing(Z, shift, labels):
    C = one_hot(labels)
    np.testing.assert_allclose(softmax(Z + shift), softmax(Z), rtol=1e-9, atol=1e-12)
    before, after = CrossEntropy()(Z, C), CrossEntropy()(Z + shift, C)
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.lists(st.sampled_from([-1e4, 0, 1e4]), min_size=20, max_size=20), LABELS)
def test_huge_logits_give_finite_losses_and_gradients(dtype, logits, labels):
    Z, C = np.array(logits, dtype).reshape(4, 5), one_hot(labels, dtype)
    for loss in LOSSES:
        assert np.isfinite(loss(Z, C))
        assert np.isfinite(loss.gradient(Z, C)).all()


@both
@given(
    Z=Z45,
    labels=LABELS,
    columns=st.permutations(range(5)),
    rows=st.permutations(range(4)),
)
def test_order_of_samples_and_classes_does_not_matter(loss, Z, labels, columns, rows):
    C, shuffled = one_hot(labels), np.ix_(rows, columns)
    assert loss(Z[shuffled], C[shuffled]) == pytest.approx(
        loss(Z, C), rel=1e-12, abs=1e-9
    )
    np.testing.assert_allclose(
        loss.gradient(Z[shuffled], C[shuffled]),
        loss.gradient(Z, C)[shuffled],
        rtol=1e-9,
        atol=1e-12,
    )


@both
@pytest.mark.parametrize("copies", [2, 5])
def test_duplicated_samples_leave_loss_and_gradients_unchanged(draw, loss, copies):
    X, C = draw(m=9)
    W, b = np.random.default_rng(1).normal(size=(4, 3)), np.ones((4, 1))
    tiled = np.tile(X, copies), np.tile(C, copies)
    assert linear_loss(loss, W, b, *tiled) == pytest.approx(
        linear_loss(loss, W, b, X, C), rel=1e-12
    )
    for many, one in zip(
        linear_gradients(loss, W, b, *tiled)[:2],
        linear_gradients(loss, W, b, X, C)[:2],
        strict=True,
    ):
        np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("classes", [2, 4, 11])
def test_zero_weights_cost_the_log_of_the_number_of_classes(draw, classes):
    X, C = draw(classes=classes)
    W, b = np.zeros((classes, 3)), np.zeros((classes, 1))
    loss = linear_loss(CrossEntropy(), W, b, X, C)
    assert loss == pytest.approx(np.log(classes), rel=1e-14)


@both
@pytest.mark.parametrize("m", [1, 2, 64])
@pytest.mark.parametrize("seed", range(3))
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
    losses = linear_loss(loss, W, b, X, C)
    stacks = linear_gradients(loss, W, b, X, C)
    assert losses.shape == (3,)
    for r in range(3):
        one = (loss, W[r], b[r], X[r], C[r])
        assert losses[r] == pytest.approx(linear_loss(*one), rel=1e-14)
        for stack, single in zip(stacks, linear_gradients(*one), strict=True):
            np.testing.assert_allclose(stack[r], single, rtol=1e-12, atol=1e-14)


@both
def test_float32_stays_float32(draw, loss):
    Z, C = draw(features=4, dtype=np.float32)
    assert loss(Z, C).dtype == loss.gradient(Z, C).dtype == np.float32
    assert softmax(Z).dtype == log_softmax(Z).dtype == np.float32


def test_the_minimum_of_cross_entropy_is_scikit_learns_logistic_regression(draw):
    X, C = draw(m=300)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(X.T, C.argmax(axis=0))

    def objective(flat):
        W, b = flat[:12].reshape(4, 3), flat[12:, None]
        dW, db, _ = linear_gradients(CrossEntropy(), W, b, X, C)
        value = linear_loss(CrossEntropy(), W, b, X, C)
        return value, np.concatenate([dW.ravel(), db.ravel()])

    found = optimize.minimize(objective, np.zeros(16), jac=True, options={"gtol": 1e-9})
    W, b = found.x[:12].reshape(4, 3), found.x[12:, None]
    theirs = model.predict_proba(X.T)
    np.testing.assert_allclose(softmax(W @ X + b), theirs.T, atol=1e-6)
    assert found.fun == pytest.approx(log_loss(C.argmax(axis=0), theirs), abs=1e-10)
    assert found.fun < np.log(4) - 0.001


def test_the_minimum_of_least_squares_is_lstsqs(draw):
    X, C = draw(m=50)
    ones = np.vstack([X, np.ones(50)])
    solution, residuals, *_ = np.linalg.lstsq(ones.T, C.T)
    W, b = solution[:3].T, solution[3:].T
    loss = linear_loss(LeastSquares(), W, b, X, C)
    assert loss == pytest.approx(residuals.sum() / 100, rel=1e-12)
    for gradient in linear_gradients(LeastSquares(), W, b, X, C)[:2]:
        np.testing.assert_allclose(gradient, 0, atol=1e-14)
