"""What trained networks reach: accuracies in %, one value per replica, and tables.

A replica whose training failed has the value NaN: means are those of the others, and
tables say how many failed.
"""

import numpy as np
import pandas as pd

from helpers.network import is_correct
from report import claims, results

CHUNK = 512  # samples that a stack answers at a time


def percent(result, part):
    """Return final accuracies in %, one per replica, NaN where it has failed."""
    return 100 * np.where(result.failed(), np.nan, result.final(f"{part}_accuracy"))


def validation(result):
    """Return the final validation accuracies in %, NaN where a replica has failed."""
    return percent(result, "validation")


def gap(result):
    """Return training − validation accuracy in points, one value per replica."""
    return percent(result, "train") - validation(result)


def averaged(result, data):
    """Return the validation accuracy in % of the replicas' averaged probabilities.

    Samples go through in chunks that fit a cache; failed replicas have no voice.
    """
    m, right, sound = data.Yv.shape[1], 0, ~result.failed()
    for start in range(0, m, CHUNK):
        part = slice(start, start + CHUNK)
        probabilities = result.network.probabilities(data.Yv[:, part])[sound]
        right += np.count_nonzero(
            is_correct(probabilities.mean(axis=0), data.Cv[:, part])
        )
    return 100 * right / m


def sampling_error(dataset, accuracy):
    """Return the half width, in points, of the 95 % interval that sampling leaves.

    An accuracy p (in %) seen on m validation samples is known to ± 1.96 √(p(1 − p)/m):
    other validation samples would change it by as much, however many seeds there are.
    """
    p = np.clip(np.asarray(accuracy) / 100, 0, 1)
    return 100 * 1.96 * np.sqrt(p * (1 - p) / dataset.Yv.shape[-1])


def summary(found, data=None):
    """Return a table with one row per Result: final accuracies in %, mean and sd.

    "failed" counts the replicas that have failed; all else is about the others. "low"
    and "high" bound the mean validation accuracy, with a confidence of 95 %. With
    `data` the best possible accuracy, and the distance to it, stand beside it.
    """
    rows = []
    for result in found:
        row = {
            "dataset": result.run.dataset,
            "network": result.run.architecture,
            "parameters": result.network.parameters.shape[-1],
            "replicas": len(result.run.seeds),
            "failed": int(result.failed().sum()),
        }
        for part in ("train", "validation"):
            values = pd.Series(percent(result, part))
            row[part], row[f"{part} sd"] = values.mean(), values.std()
        row["low"], row["high"] = claims.interval(validation(result))[1:]
        if data:
            row["ceiling"] = 100 * (data[result.run.dataset].ceiling or np.nan)
            row["to ceiling"] = row["ceiling"] - row["validation"]
        rows.append(row)
    return pd.DataFrame(rows)


def table(frame, name, digits=2):
    """Save what `summary` returns, with columns added or dropped, and show it.

    Validation accuracies read "mean ± sd", with the number of failed replicas if there
    are any, and "95 %" is the interval of their mean.
    """
    failed = frame["failed"].map(lambda n: f" ({n} failed)" if n else "")
    told = {
        "validation": joined(frame, "validation", " ± ", "validation sd", digits),
        "95 %": joined(frame, "low", " to ", "high", digits),
    }
    told["validation"] += failed
    away = ["replicas", "failed", "train sd", "validation sd", "low", "high"]
    shown = frame.drop(columns=away, errors="ignore").assign(**told)
    plain, signed = f"{{:.{digits}f}}", f"{{:+.{digits}f}}"
    formats = dict.fromkeys(["train", "averaged", "gap", "ceiling"], plain)
    formats["to ceiling"] = signed
    return results.table(shown, name, {c: formats[c] for c in shown if c in formats})


def joined(frame, one, between, other, digits):
    """Return two columns of numbers as one of text."""
    write = f"{{:.{digits}f}}".format
    return frame[one].map(write) + between + frame[other].map(write)
