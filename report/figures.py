"""Every picture of the report, drawn at the size it is printed.

Functions take arrays and tables and return a figure; `save` writes it to `figures/` as
SVG with its numbers beside it as CSV, and shows it in the notebook.
"""

import base64
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import SVG
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from PIL import Image

from report import results

plt.style.use(Path(__file__).with_suffix(".mplstyle"))

WIDTH = 6.3  # inches: the text width of the page
COLOURS = plt.rcParams["axes.prop_cycle"].by_key()["color"]
STYLES = plt.rcParams["axes.prop_cycle"].by_key()["linestyle"]
MARKERS = "os^Dv"
RATE, SIZE = "learning rate", "batch size"
PLAIN = {"facecolor": "white", "linewidth": 0, "pad": 0.5}  # ground for a text
PARTS = "without derivative", "with derivative"
SHADES = 0.1, 100  # % above the lowest of a heat map
FLOOR = 1e-11  # residuals below change with the processor: rounding has a share in them
APART = slice(None, None, 2)  # of the steps: lines so straight need no more points
ANCHOR = 2.0**-7  # the step at which a guide meets its residual
# A tenth of a point is finer than the eye; more digits only fill the disk.
COORDINATES = re.compile(r'\b(?:d|x|y)="[^"]*"')
DECIMAL = re.compile(r"-?\d+\.\d+")
BLANKS = re.compile(r"\s*([MLCQz])\s*")
PNG = re.compile(r"(?<=base64,)[^\"]*")
ID = re.compile(r"\b[mp][0-9a-f]{10}\b")  # Matplotlib's, made of all digits of a place


def save(fig, name, numbers):
    """Write figures/<name>.svg and the table `numbers` as .csv; show the figure."""
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(fig)
    svg = smaller(renamed(buffer.getvalue(), name))
    results.write(f"{name}.svg", svg)
    results.write_csv(numbers, name, digits=4)  # no eye sees more in a picture
    return SVG(svg)


def renamed(svg, name):
    """Return an SVG whose ids count from 1, the same on any processor."""
    number = {found: n for n, found in enumerate(dict.fromkeys(ID.findall(svg)), 1)}
    return ID.sub(lambda m: f"{name}-{number[m[0]]}", svg)


def smaller(svg):
    """Return an SVG that looks the same with fewer digits, blanks and colours."""
    svg = COORDINATES.sub(lambda m: BLANKS.sub(r"\1", rounded(m[0])), svg)
    return PNG.sub(lambda m: few_colours(m[0]), svg)


def rounded(text):
    """Return text with its decimal fractions rounded to tenths."""
    return DECIMAL.sub(lambda m: f"{round(float(m[0]), 1):g}", text)


def few_colours(png, colours=64):
    """Return a picture, PNG in base64, with a palette of its own."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    picture.quantize(colours).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def panels(rows, columns, height=2.1, **options):
    """Return a figure of text width and its axes, always (rows, columns)."""
    return plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **options
    )


def taylor(tests, columns, height=1.75):
    """Draw the residuals of Taylor or Jacobian tests against ε, one panel each.

    Grey guides have the slopes 1 and 2.
    """
    rows = -(-len(tests) // columns)
    fig, axes = panels(rows, columns, height, sharex=True, sharey=True)
    for ax, test in zip(axes.flat, tests, strict=False):
        steps, residuals = drawn(test)
        for number, name, residual, colour, marker in zip(
            (1, 2), PARTS, residuals, COLOURS[1:], "o^", strict=False
        ):
            ends = steps[[0, -1]]
            meeting = residual[steps == ANCHOR] * (ends / ANCHOR) ** number
            ax.loglog(ends, meeting, color="0.75", linestyle="-", linewidth=2.5)
            look = {"color": colour, "mfc": "none", "mew": 0.6}
            ax.loglog(steps, residual, marker, label=name, **look)
        first, second = test.orders
        second = "noise" if np.isnan(second) else f"{second:.2f}"
        title = f"{test.name}\norder {first:.2f}, then {second}: {test.verdict}"
        ax.set_title(results.typeset(title))
    label_residuals(axes, len(tests))
    legend_below(fig, axes[0])
    return fig


def drawn(test):
    """Return the steps and the residuals (2, steps) of a test that a picture shows."""
    residuals = two_digits(test.residuals[:, APART])
    return test.steps[APART], np.where(residuals >= FLOOR, residuals, np.nan)


@np.vectorize
def two_digits(number):
    """Return numbers with the digits that rounding errors leave the same everywhere."""
    return float(f"{number:.1e}")


def label_residuals(axes, used):
    """Name the axes of panels that show residuals against ε; hide those not used."""
    axes[0, 0].set_ylim(FLOOR / 3, 1e2)
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

    `groups` maps titles to tests; the title also says how many pass, and the lowest
    order with the derivative.
    """
    fig, axes = panels(-(-len(groups) // columns), columns, sharex=True, sharey=True)
    for ax, (title, tests) in zip(axes.flat, groups.items(), strict=False):
        for number, test in enumerate(tests):
            steps, residuals = drawn(test)
            for name, residual, style, colour in zip(
                PARTS, residuals, STYLES[1:], COLOURS[1:], strict=False
            ):
                label = name if number == 0 else None
                look = {"linestyle": style, "linewidth": 0.6, "color": colour}
                ax.loglog(steps, residual, label=label, **look)
        passed = sum(test.passed for test in tests)
        orders = [t.orders[1] for t in tests if not np.isnan(t.orders[1])]
        least = f"lowest order {min(orders):.2f}" if orders else "rounding noise"
        ax.set_title(f"{title}\n{passed} of {len(tests)} pass, {least}")
    label_residuals(axes, len(groups))
    legend_below(fig, axes[0])
    return fig


def step_errors(errors, rounding):
    """Draw the relative errors of difference quotients against their step.

    `errors` is a table with a column "step" and one column for each quotient. Between
    the two numbers `rounding`, over the step, a band shows the rounding errors.
    """
    fig, axes = panels(1, 1, height=2.6)
    (ax,) = axes[0]
    for name, marker in zip(errors.columns[1:], MARKERS, strict=False):
        ax.loglog(errors["step"], errors[name], marker=marker, mfc="none", label=name)
    ends = np.array([errors["step"].min(), errors["step"].max()])
    low, high = (size / ends for size in rounding)
    look = {"color": "0.85", "linewidth": 0, "label": "rounding of differences"}
    ax.fill_between(ends, low, high, zorder=1, **look)
    ax.set_xlabel("step")
    ax.set_ylabel("relative error")
    legend_below(fig, axes[0])
    return fig


def taylor_numbers(tests):
    """Return the numbers behind `taylor`, one row per test and step."""
    frames = []
    for test in tests:
        steps, residuals = drawn(test)
        columns = dict(zip(PARTS, residuals, strict=True))
        frames.append(pd.DataFrame({"test": test.name, "step": steps} | columns))
    return pd.concat(frames)


def learning_curves(curves, quantities, ceilings=None):
    """Draw quantities against the epoch: one row each, one column per dataset.

    `curves` maps dataset → label → history; a quantity such as "validation_accuracy"
    names a history entry (records, replicas), drawn as mean and a band of one sd, a
    loss on a log axis. `ceilings` maps datasets to the best possible accuracy, drawn
    where it is known.
    """
    fig, axes = panels(len(quantities), len(curves), sharex="col", sharey="row")
    for column, (dataset, histories) in zip(axes.T, curves.items(), strict=True):
        column[0].set_title(dataset)
        column[-1].set_xlabel("epoch")
        for ax, quantity in zip(column, quantities, strict=True):
            scale = 100 if quantity.endswith("accuracy") else 1
            if quantity.endswith("loss"):
                ax.set_yscale("log")
            for label, history in histories.items():
                band(ax, history["epoch"], scale * history[quantity], label)
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
        bottom.set_yscale("log")
        for colour, (label, history) in zip(
            COLOURS[1:], histories.items(), strict=False
        ):
            for part, style in (("train", "-"), ("validation", "--")):
                look = {"color": colour, "linestyle": style}
                percent = 100 * history[f"{part}_accuracy"]
                band(top, history["epoch"], percent, f"{label}, {part}", **look)
            look = {"color": colour, "linestyle": "-"}
            band(bottom, history["epoch"], history["train_loss"], label, **look)
        bottom.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        bottom.yaxis.set_major_formatter("{x:g}")
        bottom.yaxis.set_minor_formatter(NullFormatter())
        if ceilings[dataset]:
            ceiling_line(top, ceilings[dataset])
    axes[0, 0].set_ylabel("accuracy / %")
    axes[1, 0].set_ylabel("training loss")
    legend_below(fig, axes[0])
    return fig


def convergence(curves, ylabel):
    """Draw what should fall, on a log axis against the epoch, one panel per title.

    `curves` maps title → label → values (epochs + 1, replicas): the mean and, as a
    band, their range.
    """
    fig, axes = panels(1, len(curves), height=2.3, sharey=True)
    for ax, (title, lines) in zip(axes[0], curves.items(), strict=True):
        for label, values in lines.items():
            ranged(ax, np.arange(len(values)), values, label)
        ax.set_yscale("log")
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel(ylabel)
    legend_below(fig, axes[0])
    return fig


def ranged(ax, x, values, label):
    """Draw mean and range over replicas of values (records, replicas) against x."""
    values = sound(values)
    (line,) = ax.plot(x, values.mean(axis=1), label=label)
    look = {"color": line.get_color(), "linewidth": 0, "alpha": 0.2}
    ax.fill_between(x, values.min(axis=1), values.max(axis=1), **look)
    return line


def sound(values):
    """Return values (records[, R]) as (records, R), failed replicas masked."""
    return np.ma.masked_invalid(values.reshape(len(values), -1))


def descent(curves, ylabel, steps, levels=None, slopes=None, columns=2):
    """Draw what should fall against the number of steps, both axes logarithmic.

    `curves` maps title → label → values (epochs + 1, replicas), an epoch having `steps`
    steps. `levels` maps titles to labels' predicted levels, drawn dotted; `slopes` maps
    titles to (label, power), drawn as a grey guide somewhat below the end of that line.
    Each column has a legend of its own.
    """
    fig, axes = panels(-(-len(curves) // columns), columns, sharex=True, sharey=True)
    for ax, (title, lines) in zip(axes.flat, curves.items(), strict=True):
        for label, values in lines.items():
            records = log_spaced(values)
            x = steps * records
            line = ranged(ax, x, values[records], label)
            if label in (levels or {}).get(title, {}):
                look = {"color": line.get_color(), "linestyle": (0, (1, 1))}
                ax.axhline(levels[title][label], **look)
        if title in (slopes or {}):
            label, power = slopes[title]
            end = sound(lines[label])[-1].mean()
            guide(ax, x, 0.4 * end * (x / x[-1]) ** power, power)
        ax.set(xscale="log", yscale="log", title=title)
    for ax, place in zip(axes[-1], ("left", "right"), strict=False):
        ax.set_xlabel("steps")
        entries = ax.get_legend_handles_labels()
        fig.legend(*entries, loc=f"outside lower {place}", ncols=2)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    return fig


def log_spaced(values, number=60):
    """Choose the records, from the first epoch on, that a log axis shows apart."""
    last = len(values) - 1
    if last <= number:
        return np.arange(1, last + 1)
    return np.unique(np.rint(np.geomspace(1, last, number)).astype(int))


def descent_numbers(curves, steps):
    """Return the numbers behind `descent`."""
    shown = {
        title: {label: values[log_spaced(values)] for label, values in lines.items()}
        for title, lines in curves.items()
    }
    (some, *_) = next(iter(curves.values())).values()
    numbers = convergence_numbers(shown)
    epochs = log_spaced(some)[numbers["epoch"]]
    return numbers.assign(epoch=epochs, steps=steps * epochs)


def guide(ax, x, y, power):
    """Draw a grey line with its slope in a log-log plot written beside it."""
    ax.plot(x, y, color="0.75", linestyle="-", linewidth=2.5, zorder=1)
    middle = np.searchsorted(x, np.sqrt(x[0] * x[-1]))
    ax.text(
        x[middle], 0.7 * y[middle], f"slope −{-power:g}", size=7, ha="right", va="top"
    )


def convergence_numbers(curves):
    """Return the numbers behind `convergence`: mean, least, greatest of each epoch."""
    frames = []
    for title, lines in curves.items():
        for label, values in lines.items():
            good, frame = sound(values), {"panel": title, "run": label}
            frame["epoch"] = np.arange(len(values))
            frame["mean"] = good.mean(axis=1).filled(np.nan)
            frame["least"] = good.min(axis=1).filled(np.nan)
            frame["greatest"] = good.max(axis=1).filled(np.nan)
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def spread(values):
    """Return mean and sd over the sound replicas of values (records[, R]).

    The sd of one alone is zero, the mean of none NaN.
    """
    values = sound(values)
    return values.mean(axis=1).filled(np.nan), values.std(axis=1, ddof=1).filled(0)


def band(ax, epochs, values, label, **look):
    """Draw mean ± sd over replicas against the epoch; values (records[, R])."""
    records = thinned(values)
    epochs, values = epochs[records], values[records]
    mean, sd = spread(values)
    (line,) = ax.plot(epochs, mean, label=label, **look)
    low = mean - sd
    if ax.get_yscale() == "log":  # may not reach zero: stay above the least replica
        low = np.maximum(low, sound(values).min(axis=1).filled(np.nan))
    thin = thinned(values, most=26)
    look = {"color": line.get_color(), "alpha": 0.2}
    ax.fill_between(epochs[thin], low[thin], (mean + sd)[thin], **look)


def thinned(values, most=51):
    """Choose `most` records evenly, with the first and the last; or all, if fewer."""
    count = len(values)
    return np.rint(np.linspace(0, count - 1, min(count, most))).astype(int)


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


def curve_numbers(curves, quantities):
    """Return the numbers behind `learning_curves`: mean and sd of what it draws."""
    frames = []
    for dataset, histories in curves.items():
        for label, history in histories.items():
            frame = {"dataset": dataset, "run": label}
            records = thinned(history[quantities[0]])
            frame["epoch"] = history["epoch"][records]
            for name in quantities:
                frame[name], frame[f"{name} sd"] = spread(history[name][records])
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames)


def accuracies(table, ceilings):
    """Draw train and validation accuracy (mean ± sd) per network, a panel per dataset.

    `table` is `claims.summary`; `ceilings` maps datasets to fractions or None.
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


def regions(rows, best, resolution=200, shown=600):
    """Draw decision regions with validation points: a row of panels per dataset.

    `rows` maps dataset name → (dataset, {title: predict}), where predict(X) returns
    probabilities (classes, m) for X (2, m). `best(dataset, X)` returns the classes (m,)
    that the best possible classifier answers, or None if unknown; its boundaries are
    drawn as lines.
    """
    fig, axes = panels(len(rows), len(next(iter(rows.values()))[1]), height=1.55)
    for line, (name, (data, networks)) in zip(axes, rows.items(), strict=True):
        low, high = data.Yt.min(), data.Yt.max()
        side = np.linspace(low, high, resolution, dtype=data.Yt.dtype)
        grid = np.stack(np.meshgrid(side, side)).reshape(2, -1)
        coarse = np.linspace(low, high, resolution // 4)  # fine enough for a line
        answers = best(data, np.stack(np.meshgrid(coarse, coarse)).reshape(2, -1))
        for ax, (title, predict) in zip(line, networks.items(), strict=True):
            image = predict(grid).argmax(axis=0).reshape(resolution, resolution)
            ax.imshow(image, extent=(low, high, low, high), **CLASSES, alpha=0.45)
            some = slice(None, None, -(-data.Yv.shape[1] // shown))
            points, labels = data.Yv[:, some], data.Cv[:, some].argmax(axis=0)
            ax.scatter(*points, c=labels, s=1.2, linewidths=0, rasterized=True, **DOTS)
            if answers is not None:
                between = np.arange(data.classes - 1) + 0.5
                look = {"colors": "black", "linewidths": 0.5}
                answered = answers.reshape(len(coarse), -1)
                ax.contour(coarse, coarse, answered, between, **look)
            ax.set_title(title)
            ax.set_xticks([])
            ax.set_yticks([])
        line[0].set_ylabel(name)
    return fig


def confusion(matrices):
    """Draw confusion matrices, one panel per title, rows adding up to 100 %.

    `matrices` maps titles to arrays [true class, answer] in %.
    """
    fig, axes = panels(1, len(matrices), height=2.1)
    for ax, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        ax.imshow(matrix, cmap="Greys", vmin=0, vmax=130)
        for (row, column), percent in np.ndenumerate(matrix):
            shade = "white" if percent > 80 else "black"
            text = f"{percent:.{int(len(matrix) < 7)}f}"
            ax.text(column, row, text, ha="center", va="center", size=6, color=shade)
        numbers = np.arange(len(matrix))
        ax.set_xticks(numbers, numbers + 1)
        ax.set_yticks(numbers, numbers + 1)
        ax.set_title(title)
        ax.set_xlabel("answer")
        ax.grid(visible=False)
    axes[0, 0].set_ylabel("true class")
    return fig


def confusion_numbers(matrices):
    """Return the numbers behind `confusion`, one row per pair of classes."""
    return pd.DataFrame(
        [
            {"panel": title, "true class": row + 1, "answer": column + 1, "%": percent}
            for title, matrix in matrices.items()
            for (row, column), percent in np.ndenumerate(matrix)
        ]
    )


def against(table, x, y, levels=None):
    """Draw column `y` against column `x` on a log axis: a panel per dataset.

    There is a line per network. `table` also has the columns "low" and "high", an
    interval drawn as error bars. `levels` maps datasets to the best possible accuracy,
    a fraction, or None.
    """
    groups = table.groupby("dataset", sort=False)
    fig, axes = panels(1, groups.ngroups, height=2.2, sharey=True)
    for ax, (title, rows) in zip(axes[0], groups, strict=True):
        for (label, part), marker in zip(
            rows.groupby("network", sort=False), MARKERS, strict=False
        ):
            # Equal values may have a mean that rounding puts outside their range.
            bars = np.maximum([part[y] - part["low"], part["high"] - part[y]], 0)
            ax.errorbar(part[x], part[y], bars, marker=marker, capsize=2, label=label)
        if levels and levels[title]:
            ceiling_line(ax, levels[title])
        places = sorted(rows[x].unique())
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks(places, places, rotation=60 * (len(places) > 5))
        ax.set_title(title)
        ax.set_xlabel(x)
    axes[0, 0].set_ylabel(y)
    legend_below(fig, axes[0])
    return fig


def forest(table, rows):
    """Draw differences with their intervals, one under the other, a panel per dataset.

    `table` has the columns "difference", "low" and "high", and names its rows in the
    column `rows`. An interval that excludes zero has a filled marker.
    """
    groups = table.groupby("dataset", sort=False)
    height = 0.9 + 0.16 * table[rows].nunique()
    fig, axes = panels(1, groups.ngroups, height, sharey=True)
    for ax, (title, part) in zip(axes[0], groups, strict=True):
        place = np.arange(len(part))
        x, clear = part["difference"], part["low"] * part["high"] > 0
        bars = [x - part["low"], part["high"] - x]
        ax.errorbar(x, place, xerr=bars, fmt="none", color=COLOURS[1], capsize=2)
        look = {"marker": "o", "linestyle": "none", "color": COLOURS[1]}
        ax.plot(x[clear], place[clear], label="excludes zero", **look)
        ax.plot(x[~clear], place[~clear], mfc="white", label="contains zero", **look)
        ax.axvline(0, color="0.4", linewidth=1, linestyle="-", zorder=1)
        ax.set(title=title, xlabel="difference / points", yticks=place)
        ax.set_yticklabels(part[rows])
    axes[0, 0].invert_yaxis()
    legend_below(fig, axes[0])
    return fig


def tries(table, value):
    """Draw column `value`, the lower the better, of every rate and batch size tried.

    `table` has the columns loss, dataset, batch size, learning rate and chosen: a row
    of panels per loss, a column per dataset. Cells are shaded by how far they lie above
    the lowest of their panel; chosen ones are framed, hatched ones diverged.
    """
    rows, columns = table["loss"].unique(), table["dataset"].unique()
    fig, axes = panels(len(rows), len(columns), 1.55, sharex=True, sharey=True)
    for line, loss in zip(axes, rows, strict=True):
        for ax, dataset in zip(line, columns, strict=True):
            part = table[(table["loss"] == loss) & (table["dataset"] == dataset)]
            wide = part.pivot(index=RATE, columns=SIZE)
            image = heat_map(ax, wide[value], wide["chosen"].to_numpy())
            ax.set_title(f"{dataset}, {loss}")
    for ax in axes[-1]:
        ax.set_xlabel(SIZE)
    for ax in axes[:, 0]:
        ax.set_ylabel(RATE)
    label = f"{value} above the lowest / %"
    fig.colorbar(image, ax=axes, label=label, extend="both", aspect=40, format="{x:g}")
    return fig


def heat_map(ax, values, chosen):
    """Draw a table: row labels upwards, column labels to the right, numbers in cells.

    `chosen` (rows, columns) tells which cells are framed. Returns the image, whose
    shades are light for the lowest value and grow darker.
    """
    above = np.clip(100 * (values.to_numpy() / values.min().min() - 1), *SHADES)
    norm = plt.matplotlib.colors.LogNorm(*SHADES)
    image = ax.imshow(above, cmap="cividis_r", norm=norm, aspect="auto", origin="lower")
    for (y, x), one in np.ndenumerate(values.to_numpy()):
        here = {"xy": (x - 0.5, y - 0.5), "width": 1, "height": 1, "fill": False}
        if np.isnan(one):
            ax.add_patch(plt.Rectangle(**here, hatch="////", edgecolor="0.6", lw=0))
        if chosen[y, x]:
            ax.add_patch(plt.Rectangle(**here, edgecolor=COLOURS[2], lw=2, zorder=3))
        shade = "white" if above[y, x] > np.sqrt(np.prod(SHADES)) else "black"
        look = {"bbox": PLAIN} if np.isnan(one) else {"color": shade}
        ax.text(x, y, loss_text(one), ha="center", va="center", size=7, **look)
    ax.set_xticks(range(values.shape[1]), [f"{label:g}" for label in values.columns])
    ax.set_yticks(range(values.shape[0]), [f"{label:g}" for label in values.index])
    ax.grid(visible=False)
    return image


def loss_text(loss):
    """Say a loss in few characters: "diverged" if it is NaN."""
    if np.isnan(loss):
        return "diverged"
    return f"{loss:.3f}" if loss < 100 else f"{loss:.0e}"


def norms(table):
    """Draw gradient norms against the layer, on a log axis.

    `table` has the columns "dataset" (a column of panels each), "when" (a row each),
    "network" (a line each), "layer" and "norm".
    """
    rows, columns = table["when"].unique(), table["dataset"].unique()
    fig, axes = panels(len(rows), len(columns), 1.55, sharex=True, sharey="row")
    for (when, dataset), part in table.groupby(["when", "dataset"], sort=False):
        ax = axes[list(rows).index(when), list(columns).index(dataset)]
        for (label, line), marker in zip(
            part.groupby("network", sort=False), MARKERS, strict=False
        ):
            ax.semilogy(line["layer"], line["norm"], marker=marker, label=label)
        ax.set_title(f"{dataset}, {when}")
    for ax in axes[-1]:
        ax.set_xlabel("layer")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("gradient norm")
    legend_below(fig, axes.flat)
    return fig


def plane(data):
    """Return the training samples of datasets in two coordinates, as one table.

    More than two features are projected on their first two principal directions.
    """
    frames = []
    for name, dataset in data.items():
        X = dataset.Yt.astype(float)  # else the digits shown depend on the processor
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
        "#000000",
        "#8B5A2B",
    ]
)
DOTS = {"cmap": PALETTE, "vmin": 0, "vmax": 9}
CLASSES = {**DOTS, "origin": "lower", "interpolation": "nearest"}
