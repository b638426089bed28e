"""What a notebook hands to the report: tables, verdicts, source code, provenance.

Each function returns an output that JupyterLab shows as Markdown. Tables carry their
name as metadata, by which the text refers to them ("Table `datasets`"); claims,
answers and provenance carry their content, from which the report makes its first and
its last page.
"""

import inspect
import platform
import re
import textwrap
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from data.recipes import RECIPES
from helpers.thresholds import (
    CENTRAL_DIFFERENCE,
    EXACT,
    FIRST_ORDER,
    ROUNDING,
    SECOND_ORDER,
)
from report import files
from report.files import FIGURES, KEPT

VERDICTS = ["FAIL", "refused", "pass"]  # the worst first
ORDERS = ["order 1", "order 2"]  # of the residuals without and with the derivative
ERRORS = {  # columns, by the kind of test
    "central difference": "central",
    "complex step": "complex",
    "transpose": "transpose",
}
LIMITS = {  # of these columns: below them all digits are rounding noise
    "central": CENTRAL_DIFFERENCE,
    "complex": EXACT,
    "transpose": EXACT,
}
HYPHEN = re.compile(r"(?<=\de)-0?(?=\d)|(?<!\w)-(?=[\d.])")  # where a minus is meant


class Output:
    """Markdown to show, with metadata for the report."""

    def __init__(self, markdown, **metadata):
        """Keep the text and the metadata."""
        self.markdown, self.metadata = markdown, metadata

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"text/markdown": self.markdown, "text/plain": self.markdown}
        return data, self.metadata


def write(name, content):
    """Write figures/<name> whole or not at all."""
    files.write(FIGURES / name, content)


def write_csv(frame, name, digits=5):
    """Write the numbers behind a figure or a table to figures/<name>.csv."""
    write(f"{name}.csv", frame.to_csv(index=False, float_format=f"%.{digits}g"))


def read_csv(name, made_by):
    """Return <name>.csv of another notebook, else that of the last full report.

    Raises FileNotFoundError naming the notebook to run first.
    """
    paths = FIGURES / f"{name}.csv", KEPT / f"{name}.csv"
    path = next((path for path in paths if path.exists()), paths[0])
    if not path.exists():
        raise FileNotFoundError(
            f"{path.relative_to(files.ROOT)} is missing: run notebooks/{made_by}.ipynb "
            "first, which writes it"
        )
    return pd.read_csv(path)


def table(frame, name, formats=None):
    """Save `frame` as figures/<name>.csv and show it as a table.

    `formats` maps columns to format strings such as "{:.1f}": their minus signs are
    typeset, a missing value is a dash. The file keeps five digits.
    """
    formats = formats or {}
    write_csv(frame, name)
    shown = frame.astype(object)
    for column, pattern in formats.items():
        shown[column] = [
            "–" if pd.isna(value) else typeset(pattern.format(value))
            for value in frame[column]
        ]
    numeric = [c in formats or pd.api.types.is_numeric_dtype(frame[c]) for c in frame]
    aligned = ["right" if number else "left" for number in numeric]
    return Output(
        shown.to_markdown(index=False, disable_numparse=True, colalign=aligned),
        label=name,
    )


def kept_path(name):
    """Return the path of figures/<name>; raises FileNotFoundError if it is not there.

    `make bench` writes such files. They are measured, and never made anew by a report.
    """
    path = files.ROOT / "figures" / name
    if not path.exists():
        raise FileNotFoundError(f"figures/{name} is missing: `make bench` writes it")
    return path


def show(name, label):
    """Show a table that `make bench` has left, a dash where nothing stands."""
    frame = pd.read_csv(kept_path(f"{name}.csv"), dtype=str).fillna("–")
    shown = frame.to_markdown(index=False, disable_numparse=True)
    return Output(shown, label=label)


def typeset(text):
    """Return text whose numbers have minus signs: 2e−5 for 2e-05."""
    return HYPHEN.sub("−", text)


def check_table(tests, by=("function", "block")):
    """Return a row per derivative, a block of a function, with the worst of its tests.

    That is the order farthest from 1, the smallest order of the second residual, the
    largest relative errors. A missing order is that of an affine function, whose second
    residual is rounding noise. `by` = ("function",) sums up the blocks as well.
    """
    names = [(test.function, test.block) for test in tests]
    frame = pd.DataFrame(names, columns=["function", "block"]).assign(tests=1)
    frame[ORDERS] = [test.orders for test in tests]
    for kind, column in ERRORS.items():
        frame[column] = [t.error if t.kind == kind else np.nan for t in tests]
    frame["verdict"] = [test.verdict for test in tests]
    worst = dict.fromkeys(ERRORS.values(), "max") | {
        "tests": "sum",
        "order 1": lambda orders: max(
            orders.dropna(), key=lambda one: abs(one - 1), default=np.nan
        ),
        "order 2": "min",
        "verdict": lambda verdicts: min(verdicts, key=VERDICTS.index),
    }
    columns = ["tests", *ORDERS, *ERRORS.values(), "verdict"]
    found = frame.groupby(list(by), sort=False).agg(worst)[columns].reset_index()
    return found.dropna(axis="columns", how="all")


def legible(frame):
    """Return a table of checks with those digits that are the same on any processor.

    Orders keep two decimals, errors one digit, or none below their limit.
    """
    shown = frame.copy()
    for column in frame.columns.intersection(ORDERS):
        shown[column] = frame[column].round(2)
    for column in frame.columns.intersection(list(LIMITS)):
        limit = LIMITS[column]
        shown[column] = [error_text(error, limit) for error in frame[column]]
    return shown


def error_text(error, limit):
    """Return an error in words: one digit, "< limit" if it is less, None if unknown."""
    if pd.isna(error):
        return None
    if error < limit:
        return f"< {limit:.0e}"
    return f"{error:.0e}" if error < 0.01 else f"{error:.1g}"


def certificate(tests, name, by=("function", "block"), drop=(), **renamed):
    """Save and show the worst of tests per derivative; see `check_table`.

    `drop` names columns to leave out; function="layer" renames one.
    """
    shown = legible(check_table(tests, by)).drop(columns=list(drop))
    formats = dict.fromkeys(ORDERS, "{:.2f}") | dict.fromkeys(LIMITS, "{}")
    known = {c: formats[c] for c in shown if c in formats}
    return table(shown.rename(columns=renamed), name, known)


def datasets(data, name):
    """Save and show one row per dataset: sizes, source, label noise, ceiling.

    What is known of our recipes alone is missing for files of other origin.
    """
    frame = pd.DataFrame([{"dataset": d.name} | d.summary for d in data.values()])
    ceiling = frame.pop("best possible accuracy")
    own = {True: "file, standardised", False: "file"}
    frame["source"] = [
        own[d.standardised] if d.seed is None else f"seed {d.seed}"
        for d in data.values()
    ]
    frame.columns = frame.columns.str.removesuffix(" samples")
    frame["wrong labels"] = [wrong_labels(dataset) for dataset in data.values()]
    shares = dict.fromkeys(["wrong labels", "ceiling"], "{:.1%}")
    return table(frame.assign(ceiling=ceiling), name, shares)


def wrong_labels(dataset):
    """Return the part of the labels that label noise makes wrong, NaN if unknown."""
    if dataset.seed is None:
        return np.nan
    return RECIPES[dataset.name].redrawn * (1 - 1 / dataset.classes)


def thresholds(name):
    """Save and show what the tests of a derivative require, and why so much."""
    low, high = FIRST_ORDER
    rows = [
        ("order without derivative", f"{low} to {high}", "it is 1 in theory"),
        (
            "order with derivative",
            f"≥ {SECOND_ORDER}",
            "it is 2 in theory, and 1 if the derivative is wrong",
        ),
        (
            "residual, affine function",
            f"≤ {ROUNDING:.0e}",
            "no curvature: only rounding is left",
        ),
        (
            "error of complex step, transpose",
            f"≤ {EXACT:.0e}",
            "nothing is cut off: only rounding is left",
        ),
        (
            "error of central difference",
            f"≤ {CENTRAL_DIFFERENCE:.0e}",
            "far above what is cut off and rounded at the best step",
        ),
    ]
    frame = pd.DataFrame(rows, columns=["quantity", "must be", "because"])
    return table(frame, name, {"must be": "{}"})


def comparisons(compared, names, name):
    """Save and show comparisons {key: Comparison}; `names` are the parts of a key."""
    frame = pd.DataFrame(
        [
            dict(zip(names, key, strict=True))
            | {"difference": c.difference, "low": c.low, "high": c.high}
            | {"d": c.effect, "verdict": c.word}
            for key, c in compared.items()
        ]
    )
    signed = dict.fromkeys(["difference", "low", "high"], "{:+.2f}")
    return table(frame, name, signed | {"d": "{:+.1f}"})


def source(*objects):
    """Show the code of functions or classes where a notebook speaks of them.

    The file they are in stands above it; all must be in the same one.
    """
    (path,) = {Path(inspect.getsourcefile(one)).resolve() for one in objects}
    code = "\n\n".join(textwrap.dedent(inspect.getsource(o)).rstrip() for o in objects)
    file = path.relative_to(files.ROOT.resolve()).as_posix()
    return Output(f"`{file}`\n\n```python\n{code}\n```", listing=file)


def provenance(data, **seeds):
    """List what made the numbers of a notebook: versions, data and seeds."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = {"Python": platform.python_version()}
    rows |= {name: version(name.lower()) for name in ("NumPy", "SciPy", "Matplotlib")}
    rows["BLAS"] = f"{blas['name']} {blas['version']}"
    rows |= {name: dataset.source for name, dataset in data.items()}
    rows |= {f"seeds: {key.replace('_', ' ')}": str(v) for key, v in seeds.items()}
    frame = pd.DataFrame(rows.items(), columns=["what", "value"])
    return Output(frame.to_markdown(index=False), provenance=rows)
