"""Every picture of the report, drawn at the size it is printed.

What is shown becomes one tidy table; a picture is drawn from that table alone, and
`save` writes both to `figures/`: the picture as SVG, the table as CSV beside it.
"""

import io
from functools import partial
from itertools import cycle, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from IPython.display import SVG
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from report import results, svg
from report.tables import FLOOR, PARTS, loss_text

STYLE = mpl.rc_params_from_file(
    Path(__file__).with_suffix(".mplstyle"), use_default_template=False
)
style = partial(mpl.rc_context, STYLE)  # `with style():`, or `@style()` on a function
WIDTH = 6.3  # inches: the text width of the page
COLOURS = STYLE["axes.prop_cycle"].by_key()["color"]
STYLES = STYLE["axes.prop_cycle"].by_key()["linestyle"]
MARKERS = "os^Dv"
DOTTED = {"linestyle": (0, (1, 1))}
SHARED = {"sharex": True, "sharey": True}
ALIGNED = {"sharex": "col", "sharey": "row"}
GUIDE = {"color": "0.75", "linestyle": "-", "linewidth": 2.5}
BRIGHT = "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9"
OTHERS = "#D55E00", "#F0E442", "#999999", "#000000", "#8B5A2B"
PALETTE = ListedColormap([*BRIGHT, *OTHERS])
CLASSES = {"cmap": PALETTE, "vmin": 0, "vmax": 9}
PIXELS = {"origin": "lower", "interpolation": "nearest", "alpha": 0.45, **CLASSES}
DOTS = {"linewidths": 0, "rasterized": True, **CLASSES}
TWINS = ("train", -0.12, "s", 2), ("validation", 0.12, "o", 1)  # side by side
SHADES = 0.1, 100  # % above the lowest of a heat map
ANCHOR = 2.0**-7  # the step at which a guide meets its residual


def save(fig, name, table):
    """Write figures/<name>.svg and the table drawn as .csv; show the figure."""
    buffer = io.StringIO()
    with style():
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    picture = svg.compress(buffer.getvalue(), name)
    results.write(f"{name}.svg", picture)
    results.write_csv(table, name, digits=4)  # no eye sees more in a picture
    return SVG(picture)


@style()
def panels(rows, columns, height=2.1, **options):
    """Return a figure of text width and its axes, always (rows, columns)."""
    fig = Figure(figsize=(WIDTH, height * rows))
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


@style()
def facets(table, by, labels=("", ""), columns=None, height=2.1, **options):
    """Return a figure, its axes (rows, columns) and its panels: axes, title, part.

    A panel shows the part of a table with one value of each of the columns `by`; the
    last of them gives the number of columns unless told. `labels` name the outer axes.
    """
    keys = list(product(*(table[name].unique() for name in by)))
    columns = columns or table[by[-1]].nunique()
    fig, axes = panels(-(-len(keys) // columns), columns, height, **options)
    for ax in axes.flat[len(keys) :]:
        ax.set_visible(False)
    for ax in axes.flat[: len(keys)][-columns:]:
        ax.set_xlabel(labels[0])
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(labels[1])
    parts = [table[(table[by] == list(key)).all(axis=1)] for key in keys]
    titles = [", ".join(reversed(key)) for key in keys]
    found = list(zip(axes.flat, titles, parts, strict=False))
    for ax, title, _ in found:
        ax.set_title(title)
    return fig, axes, found


@style()
def legend_below(fig, axes, place="center", ncols=4):
    """Put one legend of these panels under all of them, each label once."""
    pairs = [zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes]
    entries = {label: handle for panel in pairs for handle, label in panel}
    look = {"loc": f"outside lower {place}", "ncols": min(len(entries), ncols)}
    fig.legend(entries.values(), entries.keys(), **look)


def draw_ceiling(ax, ceiling):
    """Draw the best possible accuracy, a fraction, as a line in %; None is unknown."""
    if ceiling:
        ax.axhline(100 * ceiling, color="0.4", linewidth=1, label="ceiling", **DOTTED)


def draw_band(ax, x, middle, low, high, edge=0, **look):
    """Draw a line with a band around it, all (points,), and return the line."""
    (line,) = ax.plot(x, middle, **look)
    ax.fill_between(x, low, high, color=line.get_color(), linewidth=edge, alpha=0.2)
    return line


@style()
def residuals(table, titles, panel="test", columns=3, height=1.75):
    """Draw what `tables.residuals` returns, a panel for each value of column `panel`.

    One test in a panel is drawn as markers along grey guides with the slopes 1 and 2,
    several as thin lines. `titles` are those of the panels.
    """
    labels = "step ε", "residual"
    fig, axes, parts = facets(table, [panel], labels, columns, height, **SHARED)
    for (ax, _, part), text in zip(parts, titles, strict=True):
        ax.set_title(text)
        for _, rows in part.groupby("test", sort=False):
            draw_residuals(ax, rows, thin=panel != "test")
    axes[0, 0].set(ylim=(FLOOR / 3, 1e2), xticks=[1e-9, 1e-6, 1e-3, 1])
    legend_below(fig, axes[0])
    return fig


def draw_residuals(ax, rows, thin):
    """Draw both residuals of one test, as thin lines or as markers along guides."""
    steps = rows["step"].to_numpy()
    for number, (part, marker) in enumerate(zip(PARTS, "o^", strict=True), 1):
        residual = rows[part].to_numpy()
        look = {"linestyle": STYLES[number], "linewidth": 0.6}
        if not thin:
            look = {"marker": marker, "linestyle": "none", "mfc": "none", "mew": 0.6}
            ends = steps[[0, -1]]
            at = np.abs(np.log(steps / ANCHOR)).argmin()
            ax.loglog(ends, residual[at] * (ends / steps[at]) ** number, **GUIDE)
        ax.loglog(steps, residual, color=COLOURS[number], label=part, **look)


@style()
def step_errors(table, rounding):
    """Draw the errors of difference quotients, a column each, against column "step".

    A band between the two numbers `rounding`, over the step, shows the rounding errors.
    """
    fig, ((ax,),) = panels(1, 1, height=2.6)
    for name, marker in zip(table.columns[1:], MARKERS, strict=False):
        ax.loglog(table["step"], table[name], marker=marker, mfc="none", label=name)
    ends = np.array([table["step"].min(), table["step"].max()])
    low, high = (size / ends for size in rounding)
    look = {"color": "0.85", "linewidth": 0, "label": "rounding of differences"}
    ax.fill_between(ends, low, high, zorder=1, **look)
    ax.set(xlabel="step", ylabel="relative error")
    legend_below(fig, [ax])
    return fig


@style()
def curves(table, rows, ceilings=None, height=2.1):
    """Draw what `tables.curves` returns, mean ± sd, a column of panels per dataset.

    `rows` maps the label of each row of panels to its quantities: in % are fractions,
    with the known ones of `ceilings` (dataset → fraction); a loss has a log axis, where
    no band goes below a third of the mean. Where a row has two quantities, colours tell
    runs and line styles quantities.
    """
    fig, axes = panels(len(rows), table["dataset"].nunique(), height, **ALIGNED)
    parts = table.groupby("dataset", sort=False)
    pairs = any(len(quantities) > 1 for quantities in rows.values())
    for column, (dataset, part) in zip(axes.T, parts, strict=True):
        for ax, (label, quantities) in zip(column, rows.items(), strict=True):
            draw_curves(ax, part, quantities, label, pairs)
            if label.endswith("%"):
                draw_ceiling(ax, (ceilings or {}).get(dataset))
        column[0].set_title(dataset)
        column[-1].set_xlabel("epoch")
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)
        if label.endswith("loss"):
            mark_finely(ax.yaxis)
    legend_below(fig, axes[0] if pairs else axes.flat)
    return fig


def draw_curves(ax, part, quantities, label, pairs):
    """Draw quantities of all runs of a dataset into one panel of `curves`."""
    log, scale = label.endswith("loss"), 100 if label.endswith("%") else 1
    ax.set_yscale("log" if log else "linear")
    runs = part.groupby("run", sort=False)
    for colour, (run, rows) in zip(cycle(COLOURS[1:]), runs, strict=False):
        for name, dash in zip(quantities, ("-", "--"), strict=False):
            look = {"color": colour, "linestyle": dash} if pairs else {}
            which = f", {name.split('_')[0]}" if len(quantities) > 1 else ""
            mean, sd = scale * rows[name], scale * rows[f"{name} sd"]
            low = np.maximum(mean - sd, mean / 3) if log else mean - sd
            look |= {"label": run + which, "edge": 0.5}
            draw_band(ax, rows["epoch"], mean, low, mean + sd, **look)


def mark_finely(axis):
    """Write more than the powers of ten on a log axis that spans few of them."""
    low, high = axis.get_view_interval()
    if high < 50 * low:
        marks = LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
        axis.set(major_locator=marks, major_formatter="{x:g}", minor_formatter="")


@style()
def ranges(table, x, ylabel, levels=(), slopes=(), **options):
    """Draw what `tables.ranges` returns against column `x`: mean and range, log axes.

    Epochs are counted from 0 on a linear axis; else each column has its own legend.
    `levels` maps (panel, run) to a predicted level, drawn dotted; `slopes` to a power,
    drawn as a grey guide somewhat below the end of that line.
    """
    linear = x == "epoch"
    fig, axes, parts = facets(table, ["panel"], (x, ylabel), **SHARED, **options)
    for ax, panel, part in parts:
        ax.set(xscale="linear" if linear else "log", yscale="log")
        for run, rows in part.groupby("run", sort=False):
            limits = rows["mean"], rows["least"], rows["greatest"]
            line = draw_band(ax, rows[x], *limits, label=run)
            if (panel, run) in levels:
                ax.axhline(levels[panel, run], color=line.get_color(), **DOTTED)
            if (panel, run) in slopes:
                draw_slope(ax, rows[x].to_numpy(), rows["mean"], slopes[panel, run])
    if linear:
        axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
        legend_below(fig, axes[0])
    for column, place in zip(axes.T, () if linear else ("left", "right"), strict=False):
        legend_below(fig, column, place, ncols=2)
    return fig


def draw_slope(ax, x, y, power):
    """Draw a grey line below the end of (x, y) with its log-log slope beside it."""
    line = 0.4 * y.iloc[-1] * (x / x[-1]) ** power
    ax.plot(x, line, **GUIDE, zorder=1)
    at = np.searchsorted(x, np.sqrt(x[0] * x[-1]))
    ax.text(x[at], 0.7 * line[at], f"slope −{-power:g}", size=7, ha="right", va="top")


@style()
def trends(table, x, y, by=("dataset",), ceilings=None, log="x", height=2.2):
    """Draw column `y` against column `x`, a line per network, a panel for each of `by`.

    Columns "low" and "high" are drawn as error bars; `log` names the logarithmic axis.
    `ceilings` maps titles of panels to the best possible accuracy, a fraction or None.
    """
    fig, axes, parts = facets(table, list(by), (x, y), height=height, **ALIGNED)
    for ax, title, part in parts:
        lines = part.groupby("network", sort=False)
        for (name, rows), marker in zip(lines, cycle(MARKERS), strict=False):
            look = {"marker": marker, "capsize": 2, "label": name}
            ax.errorbar(rows[x], rows[y], bar_lengths(rows, y), **look)
        draw_ceiling(ax, (ceilings or {}).get(title))
        ax.set(**{f"{log}scale": "log"})
        if log == "y":
            ax.xaxis.get_major_locator().set_params(integer=True)
        else:
            places = sorted(part[x].unique())
            ax.set_xticks(places, places, rotation=60 * (len(places) > 5))
            ax.xaxis.set_minor_locator(NullLocator())
    legend_below(fig, axes.flat)
    return fig


def bar_lengths(rows, y):
    """Return how far "low" and "high" are from column `y`, (2, rows), if there."""
    if "low" not in rows:
        return None
    # Equal values may have a mean that rounding puts outside their range.
    return np.maximum([rows[y] - rows["low"], rows["high"] - rows[y]], 0)


@style()
def accuracies(table, ceilings):
    """Draw train and validation accuracy (mean ± sd) per network, a panel per dataset.

    `table` is `claims.summary`; `ceilings` maps datasets to fractions or None.
    """
    fig, axes, parts = facets(table, ["dataset"], ("", "accuracy / %"), height=2.8)
    for ax, dataset, rows in parts:
        place = np.arange(len(rows))
        for name, shift, fmt, number in TWINS:
            look = {"fmt": fmt, "color": COLOURS[number], "capsize": 2, "label": name}
            ax.errorbar(place + shift, rows[name], rows[f"{name} sd"], **look)
        draw_ceiling(ax, ceilings[dataset])
        ax.set_xticks(place, rows["network"], rotation=40, ha="right")
    legend_below(fig, axes[0])
    return fig


@style()
def forest(table, names):
    """Draw differences with their intervals, one under the other, a panel per dataset.

    `table` has the columns "difference", "low", "high" and `names`, which names its
    rows. An interval that excludes zero has a filled marker.
    """
    look = {"height": 0.9 + 0.16 * table[names].nunique(), "sharey": True}
    fig, axes, parts = facets(table, ["dataset"], ("difference / points", ""), **look)
    for ax, _, rows in parts:
        place = np.arange(len(rows))
        x, clear = rows["difference"], rows["low"] * rows["high"] > 0
        bars = bar_lengths(rows, "difference")
        ax.errorbar(x, place, xerr=bars, fmt="none", color=COLOURS[1], capsize=2)
        look = {"color": COLOURS[1], "marker": "o", "linestyle": "none"}
        ax.plot(x[clear], place[clear], label="excludes zero", **look)
        ax.plot(x[~clear], place[~clear], mfc="white", label="contains zero", **look)
        ax.axvline(0, color="0.4", linewidth=1, linestyle="-", zorder=1)
        ax.set_yticks(place, rows[names])
    axes[0, 0].invert_yaxis()
    legend_below(fig, axes[0])
    return fig


@style()
def confusion(table):
    """Draw what `tables.confusion` returns, rows of a panel adding up to 100 %."""
    fig, _, parts = facets(table, ["panel"], ("answer", "true class"))
    for ax, _, part in parts:
        wide = part.pivot(index="true class", columns="answer", values="%")
        ax.imshow(wide, cmap="Greys", vmin=0, vmax=130)
        say = "{:.1f}".format if len(wide) < 7 else "{:.0f}".format
        write_cells(ax, wide, say, wide.to_numpy() > 80, size=6)
    return fig


def write_cells(ax, wide, say, dark, size=7):
    """Write a table into its image, white where `dark` (rows, columns), and labels."""
    for (y, x), number in np.ndenumerate(wide.to_numpy()):
        look = {"color": "white" if dark[y, x] else "black", "size": size}
        if np.isnan(number):
            look["bbox"] = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
        ax.text(x, y, say(number), ha="center", va="center", **look)
    ax.set_xticks(range(wide.shape[1]), [f"{label:g}" for label in wide.columns])
    ax.set_yticks(range(wide.shape[0]), [f"{label:g}" for label in wide.index])
    ax.grid(visible=False)


@style()
def tries(table, value):
    """Draw column `value`, the lower the better, of every rate and batch size tried.

    There is a row of panels per loss, a column per dataset. Cells are shaded by how far
    they lie above the lowest of a panel; chosen ones are framed, diverged ones hatched.
    """
    labels, grid = ("batch size", "learning rate"), ["loss", "dataset"]
    fig, axes, parts = facets(table, grid, labels, height=1.55, **SHARED)
    for ax, _, part in parts:
        wide = part.pivot(index="learning rate", columns="batch size")
        numbers = wide[value].to_numpy()
        above = np.clip(100 * (numbers / wide[value].min().min() - 1), *SHADES)
        look = {"cmap": "cividis_r", "norm": LogNorm(*SHADES), "aspect": "auto"}
        image = ax.imshow(above, **look, origin="lower")
        frame_cells(ax, np.isnan(numbers), hatch="////", edgecolor="0.6", lw=0)
        frame_cells(ax, wide["chosen"].to_numpy(), edgecolor=COLOURS[2], lw=2, zorder=4)
        write_cells(ax, wide[value], loss_text, above > np.sqrt(np.prod(SHADES)))
    look = {"label": f"{value} above the lowest / %", "format": "{x:g}"}
    fig.colorbar(image, ax=axes, extend="both", aspect=40, **look)
    return fig


def frame_cells(ax, which, **look):
    """Put a rectangle around those cells (rows, columns) of an image."""
    for y, x in np.argwhere(which):
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, **look))


@style()
def scatter(table):
    """Draw what `tables.plane` returns, one panel per dataset, a colour per class."""
    fig, _, parts = facets(table, ["dataset"])
    for ax, _, rows in parts:
        ax.scatter(rows["first"], rows["second"], c=rows["class"], s=2.5, **DOTS)
        ax.set_aspect("equal", adjustable="datalim")
    return fig


@style()
def regions(rows, best, resolution=200, shown=600):
    """Draw decision regions with validation points: a row of panels per dataset.

    `rows` maps dataset name → (dataset, {title: predict}), where predict(X) returns
    probabilities (classes, m) for X (2, m). `best(dataset, X)` returns the answers (m,)
    of the best possible classifier, drawn by its boundaries, or None if unknown.
    """
    fig, axes = panels(len(rows), len(next(iter(rows.values()))[1]), height=1.55)
    for line, (name, (data, networks)) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        side, X = square(data, resolution, data.Yt.dtype)
        coarse, few = square(data, resolution // 4)  # fine enough for a line
        answers, between = best(data, few), np.arange(data.classes - 1) + 0.5
        for ax, (title, predict) in zip(line, networks.items(), strict=True):
            image = predict(X).argmax(axis=0).reshape(resolution, resolution)
            ax.imshow(image, extent=side[[0, -1, 0, -1]], **PIXELS)
            draw_samples(ax, data, shown)
            if answers is not None:
                look = {"levels": between, "colors": "black", "linewidths": 0.5}
                ax.contour(coarse, coarse, answers.reshape(len(coarse), -1), **look)
            ax.set(title=title, xticks=[], yticks=[])
    return fig


def draw_samples(ax, data, most):
    """Draw at most that many validation samples, evenly chosen."""
    some = slice(None, None, -(-data.Yv.shape[1] // most))
    labels = data.Cv[:, some].argmax(axis=0)
    ax.scatter(*data.Yv[:, some], c=labels, s=1.2, **DOTS)


def square(data, resolution, dtype=float):
    """Return a side (resolution,) of the square around samples, its points (2, m)."""
    side = np.linspace(data.Yt.min(), data.Yt.max(), resolution, dtype=dtype)
    return side, np.stack(np.meshgrid(side, side)).reshape(2, -1)
