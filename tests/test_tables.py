"""Tidy tables: what pictures show, with failed replicas left out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from report import tables
from report.claims import Comparison

EPOCHS = np.array([0, 2, 4, 6, 8, 9])  # every second of 9, and the last


@pytest.fixture
def losses():
    return np.random.default_rng(1).uniform(0.1, 0.9, (6, 3))


def one(values, epochs=EPOCHS):
    return {("A", "x"): SimpleNamespace(history={"epoch": epochs, "loss": values})}


def test_residuals_are_those_of_the_tests_to_two_digits_above_rounding(taylor_tests):
    found = tables.residuals(taylor_tests)
    assert found["test"].unique().tolist() == [test.name for test in taylor_tests]
    for test, (_, rows) in zip(
        taylor_tests, found.groupby("test", sort=False), strict=True
    ):
        np.testing.assert_array_equal(rows["step"], test.steps[::2])
        drawn, residuals = rows[list(tables.PARTS)].to_numpy().T, test.residuals[:, ::2]
        assert drawn[0, 0] == float(f"{residuals[0, 0]:.1e}")
        seen = residuals >= 2 * tables.FLOOR
        np.testing.assert_allclose(drawn[seen], residuals[seen], rtol=0.05)
        assert np.isnan(drawn[residuals < tables.FLOOR / 2]).all()


def test_a_last_digit_changes_no_residual(taylor_tests):
    nudged = [
        replace(test, residuals=test.residuals * (1 + 1e-12) + 1e-16)
        for test in taylor_tests
    ]
    assert tables.residuals(nudged).equals(tables.residuals(taylor_tests))


def test_panels_say_orders_and_verdicts(taylor_tests):
    titles = tables.residuals(taylor_tests)["panel"].unique().tolist()
    assert titles == [tables.title(test) for test in taylor_tests]
    assert [t.split(": order")[0] for t in titles] == [t.name for t in taylor_tests]
    assert [t[-4:] for t in titles] == ["pass", "FAIL", "pass", "pass"]
    assert "then noise" in titles[3]
    joint = tables.residuals({"all": taylor_tests, "one": taylor_tests[3:]})
    first, second = joint["panel"].unique()
    assert first.startswith("all: 3 of 4 pass, lowest order 1.0")
    assert second == "one: 1 of 1 pass, rounding noise"
    assert len(joint["test"].unique()) == 4


def test_curves_are_mean_and_sd_of_every_epoch(losses):
    found = tables.curves(one(losses), ["loss"])
    assert found.columns.tolist() == ["dataset", "run", "epoch", "loss", "loss sd"]
    assert found["epoch"].tolist() == EPOCHS.tolist()
    np.testing.assert_allclose(found["loss"], losses.mean(axis=1))
    np.testing.assert_allclose(found["loss sd"], losses.std(axis=1, ddof=1))


def test_long_curves_keep_records_evenly_with_their_ends():
    found = tables.curves(one(np.arange(501.0), 5 * np.arange(501)), ["loss"])
    assert found["epoch"].tolist() == list(range(0, 2501, 50))
    np.testing.assert_allclose(found["loss"], found["epoch"] / 5)
    assert (found["loss sd"] == 0).all()  # a single network


def test_a_failed_replica_is_left_out(losses):
    """And all of them failed leave a gap, not an error."""
    failed = losses.copy()
    failed[2:, 0] = np.nan
    found = tables.curves(one(failed), ["loss"])[2:]
    np.testing.assert_allclose(found["loss"], losses[2:, 1:].mean(axis=1))
    np.testing.assert_allclose(found["loss sd"], losses[2:, 1:].std(axis=1, ddof=1))
    failed[3:] = np.nan
    gap = 3 * [False] + 3 * [True]
    assert tables.curves(one(failed), ["loss"])["loss"].isna().tolist() == gap
    assert tables.ranges({"A": {"x": failed}})["mean"].isna().tolist() == gap


def test_ranges_are_mean_least_and_greatest(losses):
    found = tables.ranges({"A": {"x": losses}, "B": {"y": 2 * losses}})
    rows = found[(found["panel"] == "B") & (found["run"] == "y")]
    expected = [2 * f(losses, axis=1) for f in (np.mean, np.min, np.max)]
    np.testing.assert_allclose(rows[["mean", "least", "greatest"]].T, expected)
    assert rows["epoch"].tolist() == list(range(6))


@pytest.mark.parametrize("count", [6, 61, 401])
def test_log_records_are_those_a_log_axis_shows_apart(count):
    found = tables.log_records(count)
    assert len(found) == min(count - 1, len(np.unique(found))) <= 60
    assert found[[0, -1]].tolist() == [1, count - 1]
    assert np.diff(np.log(found)).max() < 1


def test_forest_has_a_row_per_comparison():
    found = tables.forest({("A", "x"): Comparison(1.0, -1.0, 3.0, 0.5)})
    assert found.to_dict("records") == [
        {"dataset": "A", "row": "x", "difference": 1, "low": -1, "high": 3}
    ]


def test_plane_keeps_two_features_and_projects_more(blobs, draw):
    data = blobs()
    X, C = draw(features=5, m=80)
    X = X * np.array([5, 1, 1, 3, 1])[:, None]
    many = type(data)("many", X, C, X, C)
    points = tables.plane({"two": data, "five": many})
    two, five = (points[points["dataset"] == name] for name in ("two", "five"))
    np.testing.assert_array_equal(two[["first", "second"]].T, data.Yt)
    np.testing.assert_array_equal(five["class"], C.argmax(axis=0))
    largest = np.sort(np.linalg.eigvalsh(np.cov(X)))[::-1][:2]
    np.testing.assert_allclose(five[["first", "second"]].var(), largest)


def test_numbers_of_a_picture_keep_four_digits():
    table = pd.DataFrame(
        {"a": [1.23456, 1e-9 / 3], "n": [7, 25000], "word": ["x", "y"]}
    )
    found = tables.shorten(table)
    assert found["a"].tolist() == [1.235, 3.333e-10]
    assert found["n"].tolist() == [7, 25000]
    assert found["word"].tolist() == ["x", "y"]


def test_one_feature_lies_on_a_line(blobs):
    data = blobs()
    one = replace(data, Yt=data.Yt[:1], Yv=data.Yv[:1])
    points = tables.plane({"one": one})
    np.testing.assert_array_equal(points["first"], one.Yt[0])
    assert (points["second"] == 0).all()
