"""Every picture of the report, drawn at the size it is printed.

Functions take arrays and tables and return a figure; `save` writes it to `figures/` as
SVG with its numbers beside it as CSV, and shows it in the notebook.
"""

import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import SVG
from matplotlib.ticker import LogLocator, NullFormatter

from helpers import results

plt.style.use(Path(__file__).with_suffix(".mplstyle"))

WIDTH = 6.3  # inches: the text width of the page
COLOURS = plt.rcParams["axes.prop_cycle"].by_key()["color"]
STYLES = plt.rcParams["axes.prop_cycle"].by_key()["linestyle"]
MARKERS = "os^Dv"
# A hundredth of a point is finer than any printer; more digits only fill the disk.
COORDINATES = re.compile(r'\b(?:d|x|y)="[^"]*"')
DIGITS = re.compile(r"(\.\d\d)\d+")


def save(fig, name, numbers):
    """Write figures/<name>.svg and the table `numbers` as .csv; show the figure."""
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(fig)
    svg = COORDINATES.sub(lambda m: DIGITS.sub(r"\1", m[0]), buffer.getvalue())
    results.write(f"{name}.svg", svg)
    results.write_csv(numbers, name)
    return SVG(svg)


def panels(rows, columns, height=2.1, **options):
    """Return a figure of text width and its axes, always (rows, columns)."""
    return plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **options
    )


def taylor(tests, columns, height=1.75):
    """Draw the residuals of Taylor or Jacobian tests against ε, one panel each.

    Grey guides have the slopes 1 and 2; filled markers are the fitted steps.
    """
    rows = -(-len(tests) // columns)
    fig, axes = panels(rows, columns, height, sharex=True, sharey=True)
    for ax, test in zip(axes.flat, tests, strict=False):
        anchor = np.argmax(test.fitted)  # the largest fitted step, if there is one
        for power, residual in enumerate(test.residuals, start=1):
            guide = residual[anchor] * (test.steps / test.steps[anchor]) ** power
            ax.loglog(test.steps, guide, color="0.75", linestyle="-", linewidth=2.5)
        for residual, colour, marker, label in zip(
            test.residuals, COLOURS[1:], "o^", ("without", "with"), strict=False
        ):
            positive = np.where(residual > 0, residual, np.nan)
            ax.loglog(test.steps, positive, marker, color=colour, mfc="none", mew=0.6)
            ax.loglog(
                test.steps[test.fitted],
                positive[test.fitted],
                marker,
                color=colour,
                label=f"{label} derivative",
            )
        first, second = test.orders
        second = "noise" if np.isnan(second) else f"{second:.3f}"
        ax.set_title(f"{test.name}\norder {first:.3f}, then {second}: {test.verdict}")
    label_residuals(axes, len(tests))
    legend_below(fig, axes[0])
    return fig


def label_residuals(axes, used):
    """Name the axes of panels that show residuals against ε; hide those not used."""
    axes[0, 0].set_ylim(1e-18, 1e2)
    axes[0, 0].set_xticks([1e-9, 1e-6, 1e-3, 1])
    for ax in axes.flat[used:]:
        ax.set_visible(False)
    for ax in axes.flat[:used][-axes.shape[1] :]:
        ax.set_xlabel("step ε")
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("residual")


def overlay(groups, columns=3):
    """Draw the residuals of many Taylor tests over each other, a panel per group.

    `groups` maps titles to tests; the title also says how many pass, and the smallest
    order with the derivative.
    """
    fig, axes = panels(-(-len(groups) // columns), columns, sharex=True, sharey=True)
    for ax, (title, tests) in zip(axes.flat, groups.items(), strict=False):
        for number, test in enumerate(tests):
            for residual, style, label in zip(
                test.residuals, STYLES[1:], ("without", "with"), strict=False
            ):
                ax.loglog(
                    test.steps,
                    np.where(residual > 0, residual, np.nan),
                    linestyle=style,
                    linewidth=0.6,
                    color=COLOURS[1:][label == "with"],
                    label=f"{label} derivative" if number == 0 else None,
                )
        passed = sum(test.passed for test in tests)
        orders = [t.orders[1] for t in tests if not np.isnan(t.orders[1])]
        least = f"order ≥ {min(orders):.3f}" if orders else "rounding noise"
        ax.set_title(f"{title}\n{passed} of {len(tests)} pass, {least}")
    label_residuals(axes, len(groups))
    legend_below(fig, axes[0])
    return fig


def step_errors(errors):
    """Draw the relative errors of difference quotients against their step.

    `errors` is a table with a column "step" and one column for each quotient.
    """
    fig, axes = panels(1, 1, height=2.6)
    (ax,) = axes[0]
    for name, marker in zip(errors.columns[1:], MARKERS, strict=False):
        ax.loglog(errors["step"], errors[name], marker=marker, mfc="none", label=name)
    ax.set_xlabel("step")
    ax.set_ylabel("relative error")
    legend_below(fig, axes[0])
    return fig


def taylor_numbers(tests):
    """Return the numbers behind `taylor`, one row per test and step."""
    return pd.concat(
        pd.DataFrame(
            {
                "test": test.name,
                "step": test.steps,
                "without derivative": test.residuals[0],
                "with derivative": test.residuals[1],
                "fitted": test.fitted,
            }
        )
        for test in tests
    )


def learning_curves(curves, quantities, ceilings=None, every=1):
    """Draw quantities against the epoch: one row each, one column per dataset.

    `curves` maps dataset → label → history; a quantity such as "validation_accuracy"
    names a history entry (records, replicas), drawn as mean and a band of one sd, a
    loss on a log axis. `ceilings` maps datasets to the best possible accuracy, drawn
    where it is known; `every` is the number of epochs from record to record.
    """
    fig, axes = panels(len(quantities), len(curves), sharex="col", sharey="row")
    for column, (dataset, histories) in zip(axes.T, curves.items(), strict=True):
        column[0].set_title(dataset)
        column[-1].set_xlabel("epoch")
        for ax, quantity in zip(column, quantities, strict=True):
            scale = 100 if quantity.endswith("accuracy") else 1
            for label, history in histories.items():
                band(ax, scale * history[quantity], label, every)
            if quantity.endswith("loss"):
                ax.set_yscale("log")
            if scale == 100 and ceilings and ceilings[dataset]:
                ceiling_line(ax, ceilings[dataset])
    for ax, quantity in zip(axes[:, 0], quantities, strict=True):
        unit = " / %" if quantity.endswith("accuracy") else ""
        ax.set_ylabel(quantity.replace("_", " ") + unit)
    legend_below(fig, axes.flat)
    return fig


def training(curves, ceilings):
    """Draw accuracy and, on a log axis, training loss: one column per dataset.

    `curves` maps dataset → label → history. Training accuracy is solid, validation
    dashed; bands are one sd over replicas; known ceilings are drawn.
    """
    fig, axes = panels(2, len(curves), height=1.75, sharex=True, sharey="row")
    for (top, bottom), (dataset, histories) in zip(axes.T, curves.items(), strict=True):
        top.set_title(dataset)
        bottom.set_xlabel("epoch")
        for colour, (label, history) in zip(
            COLOURS[1:], histories.items(), strict=False
        ):
            for part, style in (("train", "-"), ("validation", "--")):
                look = {"color": colour, "linestyle": style}
                percent = 100 * history[f"{part}_accuracy"]
                band(top, percent, f"{label}, {part}", **look)
            band(bottom, history["train_loss"], label, color=colour, linestyle="-")
        bottom.set_yscale("log")
        bottom.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        bottom.yaxis.set_major_formatter("{x:g}")
        bottom.yaxis.set_minor_formatter(NullFormatter())
        if ceilings[dataset]:
            ceiling_line(top, ceilings[dataset])
    axes[0, 0].set_ylabel("accuracy / %")
    axes[1, 0].set_ylabel("training loss")
    legend_below(fig, axes[0])
    return fig


def convergence(curves, ylabel, levels=None, shared=False):
    """Draw what should fall, on a log axis against the epoch, one panel per title.

    `curves` maps title → label → values (epochs + 1, replicas): the mean and, as a
    band, their range. `levels` maps titles to labels' predicted levels, drawn dotted.
    """
    fig, axes = panels(1, len(curves), height=2.6, sharey=True)
    for ax, (title, lines) in zip(axes[0], curves.items(), strict=True):
        for label, values in lines.items():
            (line,) = ax.semilogy(values.mean(axis=1), label=label)
            low, high = values.min(axis=1), values.max(axis=1)
            look = {"color": line.get_color()}
            ax.fill_between(np.arange(len(values)), low, high, alpha=0.2, **look)
            if label in (levels or {}).get(title, {}):
                ax.axhline(levels[title][label], linestyle=(0, (1, 1)), **look)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if not shared:
            ax.legend()
    axes[0, 0].set_ylabel(ylabel)
    if shared:
        legend_below(fig, axes[0])
    return fig


def convergence_numbers(curves):
    """Return the numbers behind `convergence`: mean, least, greatest of each epoch."""
    return pd.concat(
        pd.DataFrame(
            {
                "panel": title,
                "run": label,
                "epoch": np.arange(len(values)),
                "mean": values.mean(axis=1),
                "least": values.min(axis=1),
                "greatest": values.max(axis=1),
            }
        )
        for title, lines in curves.items()
        for label, values in lines.items()
    )


def spread(values):
    """Return mean and sd over replicas of values (records[, R]); no sd of one alone."""
    values = values.reshape(len(values), -1)
    return values.mean(axis=1), values.std(axis=1, ddof=int(values.shape[1] > 1))


def band(ax, values, label, every=1, **look):
    """Draw mean ± sd over replicas against the epoch; values (records[, R])."""
    mean, sd = spread(values)
    epochs = every * np.arange(len(mean))
    (line,) = ax.plot(epochs, mean, label=label, **look)
    thin = slice(None, None, max(1, len(mean) // 50))
    # On a log axis mean − sd may fall below zero: stay above the least replica.
    low = np.maximum(mean - sd, values.reshape(len(values), -1).min(axis=1))
    look = {"color": line.get_color(), "alpha": 0.2}
    ax.fill_between(epochs[thin], low[thin], (mean + sd)[thin], **look)


def ceiling_line(ax, ceiling):
    """Draw the best possible accuracy, a fraction, as a line in %."""
    ax.axhline(
        100 * ceiling, color="0.4", linestyle=(0, (1, 1)), linewidth=1, label="ceiling"
    )


def legend_below(fig, axes):
    """Put one legend of these panels under all of them, each label once."""
    pairs = [zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes]
    entries = {label: handle for panel in pairs for handle, label in panel}
    fig.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=min(len(entries), 4),
    )


def curve_numbers(curves, quantities, every=1):
    """Return the numbers behind `learning_curves`: mean and sd of every record."""
    frames = []
    for dataset, histories in curves.items():
        for label, history in histories.items():
            frame = {"dataset": dataset, "run": label}
            for name in quantities:
                frame[name], frame[f"{name} sd"] = spread(history[name])
            frame = pd.DataFrame(frame)
            frame.insert(2, "epoch", every * np.arange(len(frame)))
            frames.append(frame)
    return pd.concat(frames)


def accuracies(table, ceilings):
    """Draw train and validation accuracy (mean ± sd) per network, a panel per dataset.

    `table` is `experiments.summary`; `ceilings` maps datasets to fractions or None.
    """
    datasets = list(table["dataset"].unique())
    fig, axes = panels(1, len(datasets), height=2.8)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        rows = table[table["dataset"] == dataset]
        place = np.arange(len(rows))
        for part, shift, colour, marker in (
            ("train", -0.12, COLOURS[2], "s"),
            ("validation", 0.12, COLOURS[1], "o"),
        ):
            ax.errorbar(
                place + shift,
                rows[part],
                rows[f"{part} sd"],
                fmt=marker,
                color=colour,
                capsize=2,
                label=part,
            )
        if ceilings[dataset]:
            ceiling_line(ax, ceilings[dataset])
        ax.set_xticks(place, rows["network"], rotation=40, ha="right")
        ax.set_title(dataset)
    axes[0, 0].set_ylabel("accuracy / %")
    legend_below(fig, axes[0])
    return fig


def regions(rows, resolution=200, shown=600):
    """Draw decision regions with validation points: a row of panels per dataset.

    `rows` maps dataset name → (dataset, {title: predict}), where predict(X) returns
    probabilities (classes, m) for X (2, m).
    """
    fig, axes = panels(len(rows), len(next(iter(rows.values()))[1]), height=1.55)
    for line, (name, (data, networks)) in zip(axes, rows.items(), strict=True):
        low, high = data.Yt.min(), data.Yt.max()
        side = np.linspace(low, high, resolution, dtype=data.Yt.dtype)
        grid = np.stack(np.meshgrid(side, side)).reshape(2, -1)
        for ax, (title, predict) in zip(line, networks.items(), strict=True):
            image = predict(grid).argmax(axis=0).reshape(resolution, resolution)
            ax.imshow(image, extent=(low, high, low, high), **CLASSES, alpha=0.45)
            points, labels = data.Yv[:, :shown], data.Cv[:, :shown].argmax(axis=0)
            ax.scatter(*points, c=labels, s=1.2, linewidths=0, rasterized=True, **DOTS)
            ax.set_title(title)
            ax.set_xticks([])
            ax.set_yticks([])
        line[0].set_ylabel(name)
    return fig


def plane(data):
    """Return the training samples of datasets in two coordinates, as one table.

    More than two features are projected on their first two principal directions.
    """
    frames = []
    for name, dataset in data.items():
        X = dataset.Yt
        if dataset.features > 2:
            X = X - X.mean(axis=1, keepdims=True)
            X = np.linalg.svd(X, full_matrices=False)[0][:, :2].T @ X
        labels = dataset.Ct.argmax(axis=0)
        frame = {"dataset": name, "first": X[0], "second": X[1], "class": labels}
        frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def scatter(points):
    """Draw what `plane` returns, one panel per dataset, a colour per class."""
    groups = points.groupby("dataset", sort=False)
    fig, axes = panels(1, groups.ngroups)
    for ax, (name, rows) in zip(axes[0], groups, strict=True):
        style = {"s": 2.5, "linewidths": 0, "rasterized": True, **DOTS}
        ax.scatter(rows["first"], rows["second"], c=rows["class"], **style)
        ax.set_title(name)
        ax.set_aspect("equal", adjustable="datalim")
    return fig


PALETTE = plt.matplotlib.colors.ListedColormap(
    [
        "#E69F00",
        "#0072B2",
        "#009E73",
        "#CC79A7",
        "#56B4E9",
        "#D55E00",
        "#F0E442",
        "#999999",
    ]
)
DOTS = {"cmap": PALETTE, "vmin": 0, "vmax": 7}
CLASSES = {**DOTS, "origin": "lower", "interpolation": "nearest"}
