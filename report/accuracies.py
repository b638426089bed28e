"""What trained networks reach: accuracies in %, one value per replica, and tables.

A replica whose training failed has the value NaN: means are those of the others, and
tables say how many failed.
"""

from itertools import product

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
    It is 3/m at least: as many errors may stay unseen where all m answers are right.
    """
    p, m = np.clip(np.asarray(accuracy) / 100, 0, 1), dataset.Yv.shape[-1]
    return 100 * np.maximum(1.96 * np.sqrt(p * (1 - p) / m), 3 / m)


def leads(found, pairs, comparisons):
    """Return how far one network leads over another, seed by seed.

    `found` are the Results {(dataset, network): Result}, `pairs` of networks are (one,
    other). Returns {(dataset, (one, other)): Comparison}, all on every dataset.
    """
    values = {key: validation(result) for key, result in found.items()}
    return {
        (d, pair): claims.compare(*(values[d, n] for n in pair), comparisons)
        for d, pair in product(dict.fromkeys(d for d, _ in found), pairs)
    }


def gains(one, other):
    """Return how much more `one` reaches than `other` with the same key, seed by seed.

    Both are {key: Result}; returns {key: Comparison}, which hold together.
    """
    return {
        key: claims.compare(validation(result), validation(other[key]), len(one))
        for key, result in one.items()
    }


def by_seed(found):
    """Return a table with one row per replica of the Results: final accuracies in %."""
    return pd.concat(
        pd.DataFrame(
            {"dataset": result.run.dataset, "network": result.run.architecture}
            | {"seed": result.run.seeds, "train": percent(result, "train")}
            | {"validation": validation(result)}
        )
        for result in found
    )


def summary(found, data=None):
    """Return a table with one row per Result: final accuracies in %, mean and sd.

    "failed" counts the replicas that have failed; all else is about the others. "low"
    and "high" bound the mean validation accuracy, with a confidence of 95 %. With
    `data` its sampling error, the best possible accuracy and the distance to that stand
    beside it.
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
        bounds = claims.interval(validation(result))[1:]
        row["low"], row["high"] = np.clip(bounds, 0, 100)
        if data:
            dataset = data[result.run.dataset]
            row["error"] = sampling_error(dataset, row["validation"])
            row["ceiling"] = 100 * (dataset.ceiling or np.nan)
            row["to ceiling"] = row["ceiling"] - row["validation"]
        rows.append(row)
    return pd.DataFrame(rows)


def averages(found, data):
    """Return what `summary` does, and what the averaged replicas reach.

    Column "averaged" is their validation accuracy, "error" its sampling error.
    """
    frame = summary(found, data)
    sets = [data[result.run.dataset] for result in found]
    reached = [averaged(result, one) for result, one in zip(found, sets, strict=True)]
    frame.insert(frame.columns.get_loc("ceiling"), "averaged", reached)
    return frame.assign(error=list(map(sampling_error, sets, reached)))


def beside_ceiling(frame):
    """Say what `averages` returns beside the best possible accuracy."""
    told = [
        f"{row.dataset} {row.averaged:.1f} ± {row.error:.1f} % (best possible "
        f"{'unknown' if np.isnan(row.ceiling) else f'{row.ceiling:.1f} %'})"
        for row in frame.itertuples()
    ]
    return "; ".join(told)


def table(frame, name, digits=2):
    """Save what `summary` returns, with columns added or dropped, and show it.

    Validation accuracies read "mean ± sd", with the number of failed replicas if there
    are any, and "95 %" is the interval of their mean.
    """
    failed = frame["failed"].map(lambda n: f" ({n} failed)" if n else "")
    told = {
        "validation": pair_columns(frame, "validation", " ± ", "validation sd", digits),
        "95 %": pair_columns(frame, "low", " to ", "high", digits),
    }
    told["validation"] += failed
    away = ["replicas", "failed", "train sd", "validation sd", "high", "error"]
    shown = frame.drop(columns=away, errors="ignore").rename(columns={"low": "95 %"})
    shown = shown.assign(**told)
    plain, signed = f"{{:.{digits}f}}", f"{{:+.{digits}f}}"
    formats = dict.fromkeys(["train", "averaged", "gap", "ceiling"], plain)
    formats["to ceiling"] = signed
    return results.table(shown, name, {c: formats[c] for c in shown if c in formats})


def tries(tried, choices, data, name):
    """Save and show the losses and accuracies of tries, a column for each rate.

    `tried` maps (dataset, batch size) to a Result whose replicas are rates times
    seeds, `choices` a dataset to the `search.Choice` among them, in the same order.
    A cell has the loss of the worst seed and the mean accuracy in %, both on what took
    the validation samples' place; the chosen try is bold.
    """
    rows, left = [], {d: choice.tries.iterrows() for d, choice in choices.items()}
    for (d, batch_size), result in tried.items():
        rates = dict.fromkeys(result.run.learning_rate)
        right = result.final("validation_accuracy").reshape(len(rates), -1).mean(axis=1)
        chance = 100 * data[d].Ct.mean(axis=1).max()
        row = {"dataset (chance)": f"{d} ({chance:.0f} %)", "batch": batch_size}
        for rate, part, (_, one) in zip(rates, right, left[d], strict=False):
            loss = (
                f"{one['worst']:.3f}" if one["worst"] < 100 else f"{one['worst']:.0e}"
            )
            text = f"{loss} / {100 * part:.1f}"
            text = "diverged" if np.isnan(one["worst"]) else text
            row[f"η = {rate:g}"] = f"**{text}**" if one["chosen"] else text
        rows.append(row)
    return results.table(pd.DataFrame(rows), name)


def grid(frame, name, rows, column, digits=1):
    """Save and show what `summary` returns as "mean ± sd", a column per `column`.

    `rows` are the columns that name a row. Failed replicas are counted in a cell.
    """
    cells = pair_columns(frame, "validation", " ± ", "validation sd", digits)
    cells += frame["failed"].map(lambda n: f" ({n} failed)" if n else "")
    cells.index = pd.MultiIndex.from_frame(frame[[*rows, column]])
    wide = cells.unstack(sort=False).add_prefix(f"{column} ")
    return results.table(wide.reset_index().rename_axis(columns=None), name)


def pair_columns(frame, one, between, other, digits):
    """Return two columns of numbers as one of text."""
    write = f"{{:.{digits}f}}".format
    return frame[one].map(write) + between + frame[other].map(write)
