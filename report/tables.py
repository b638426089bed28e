"""What pictures show, as tidy tables: `figures` draws what a function here returns."""

import numpy as np
import pandas as pd

from report import results

PARTS = "without derivative", "with derivative"
FLOOR = 1e-11  # residuals below change with the processor: rounding has a share in them
APART = slice(None, None, 2)  # of the steps: lines so straight need no more points


def residuals(tests):
    """Return the residuals of Taylor or Jacobian tests, a row per test and step.

    Column "panel" is the title of a panel: that of each test in a list, that of an
    entry in a dict {title: tests}.
    """
    joint = isinstance(tests, dict)
    titled = tests if joint else {title(test): [test] for test in tests}
    frames = []
    for panel, some in titled.items():
        for test in some:
            sizes = two_digits(test.residuals[:, APART])
            sizes = np.where(sizes >= FLOOR, sizes, np.nan)
            name = joint_title(panel, some) if joint else panel
            steps = {"panel": name, "test": test.name, "step": test.steps[APART]}
            frames.append(pd.DataFrame(steps | dict(zip(PARTS, sizes, strict=True))))
    return pd.concat(frames)


@np.vectorize
def two_digits(number):
    """Return numbers with the digits that rounding errors leave the same everywhere."""
    return float(f"{number:.1e}")


def shorten(table, digits=4):
    """Return a table whose numbers keep the digits that processors share."""
    numbers = table.select_dtypes("floating")
    short = numbers.map(lambda one: float(f"{one:.{digits}g}"))
    return table.assign(**short)


def title(test):
    """Say the name of a test, the orders of its residuals and its verdict."""
    first, second = test.orders
    second = "noise" if np.isnan(second) else f"{second:.2f}"
    return results.typeset(
        f"{test.name}: order {first:.2f}, then {second}, {test.verdict}"
    )


def joint_title(name, tests):
    """Say how many of the tests of `name` pass and their lowest order."""
    passed = sum(test.passed for test in tests)
    orders = [t.orders[1] for t in tests if not np.isnan(t.orders[1])]
    least = f"lowest order {min(orders):.1f}" if orders else "rounding noise"
    return f"{name}: {passed} of {len(tests)} pass, {least}"


def curves(found, quantities, most=51):
    """Return mean and sd over replicas of the histories of {(dataset, run): Result}.

    Each of `quantities` names an entry (records[, R]) of a history. Of many records,
    `most` are chosen evenly, with the first and the last.
    """
    frames = []
    for (dataset, run), result in found.items():
        history, count = result.history, len(result.history["epoch"])
        even = np.linspace(0, count - 1, min(count, most))
        records = np.rint(even).astype(int)
        frame = {"dataset": dataset, "run": run, "epoch": history["epoch"][records]}
        for name in quantities:
            values = mask_failed(history[name][records])
            frame[name] = values.mean(axis=1).filled(np.nan)
            frame[f"{name} sd"] = values.std(axis=1, ddof=1).filled(0)
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def ranges(curves, choose=np.arange):
    """Return mean and range over replicas: panel → run → values (records[, R]).

    `choose` takes the number of records and returns those shown, the first being 0.
    """
    frames = []
    for panel, runs in curves.items():
        for run, values in runs.items():
            records = choose(len(values))
            frame = {"panel": panel, "run": run, "epoch": records}
            good = mask_failed(values[records])
            frame["mean"] = good.mean(axis=1).filled(np.nan)
            frame["least"] = good.min(axis=1).filled(np.nan)
            frame["greatest"] = good.max(axis=1).filled(np.nan)
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def mask_failed(values):
    """Return values (records[, R]) as (records, R), failed replicas masked."""
    return np.ma.masked_invalid(values.reshape(len(values), -1))


def log_records(count, most=60):
    """Choose of `count` records, without the first, those a log axis shows apart."""
    if count - 1 <= most:
        return np.arange(1, count)
    return np.unique(np.rint(np.geomspace(1, count - 1, most)).astype(int))


def forest(compared):
    """Return differences and intervals of {(dataset, row): Comparison}, a row each."""
    return pd.DataFrame(
        {"dataset": d, "row": row, "difference": c.difference}
        | {"low": c.low, "high": c.high}
        for (d, row), c in compared.items()
    )


def plane(data, most=500):
    """Return training samples of datasets in two coordinates, as one table.

    Of each at most that many, evenly chosen.
    """
    frames = []
    for name, dataset in data.items():
        some = evenly(dataset.Yt, most)
        first, second = project(dataset, dataset.Yt[:, some])
        labels = dataset.Ct[:, some].argmax(axis=0)
        frame = {"dataset": name, "first": first, "second": second, "class": labels}
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def evenly(X, most):
    """Return a slice that chooses at most that many of the samples X (..., m)."""
    return slice(None, None, -(-X.shape[-1] // most))


def view(dataset, most=2000):
    """Return the centre (n, 1) and the directions (n, 2) of the plane that is drawn.

    It is that of the features if there are one or two, otherwise that of the first two
    principal directions of training samples, through their mean: of at most that many,
    which fix a plane as well as all and take less time.
    """
    if dataset.features <= 2:
        return np.zeros((dataset.features, 1)), np.eye(dataset.features, 2)
    X = dataset.Yt[:, evenly(dataset.Yt, most)].astype(float)
    centre = X.mean(axis=1, keepdims=True)
    return centre, np.linalg.svd(X - centre, full_matrices=False)[0][:, :2]


def project(dataset, X):
    """Return the coordinates (2, m) of samples X (n, m) in the plane that is drawn."""
    centre, directions = view(dataset)
    return directions.T @ (X.astype(float) - centre)  # float32 differs by processor
