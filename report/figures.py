"""Every picture of the report, drawn at the size it is printed.

Each function below takes the name of the picture and what it shows, makes one tidy
table of that (see `tables`), draws the picture from the table, and writes both to
`figures/`: the picture as SVG, the table as CSV beside it.
"""

import io
import re
from functools import partial, wraps
from itertools import cycle, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from report import results, svg, tables

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
TEN = [*BRIGHT, *OTHERS]
PALETTE = ListedColormap(TEN * 100)  # the eleventh class looks like the first
CLASSES = {"cmap": PALETTE, "vmin": 0, "vmax": PALETTE.N - 1}
PIXELS = {"origin": "lower", "interpolation": "nearest", "alpha": 0.45, **CLASSES}
DOTS = {"linewidths": 0, "rasterized": True, **CLASSES}
ANCHOR = 2.0**-7  # the step at which a guide meets its residual


class Picture:
    """An SVG picture, named so that the text can speak of it: "Figure `name`"."""

    def __init__(self, drawn, name, alt):
        """Keep the picture, the name of its file, and what it shows in words."""
        self.svg, self.name, self.alt = drawn, name, alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        inline = self.svg[self.svg.index("<svg") :]
        wide = re.sub(r'width="[^"]*" height="[^"]*"', 'width="100%"', inline, count=1)
        page = f'<div style="max-width: 70em">{wide}</div>'  # as wide as the cell
        data = {"image/svg+xml": inline, "text/html": page, "text/plain": self.alt}
        return data, {"label": self.name, "alt": self.alt}


def save(fig, name, table=None):
    """Write figures/<name>.svg, and the table drawn as .csv; return the Picture."""
    buffer = io.StringIO()
    with style():
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = svg.compress(buffer.getvalue(), name)
    results.write(f"{name}.svg", drawn)
    if table is not None:
        results.write_csv(table, name, digits=4)  # no eye sees more in a picture
    return Picture(drawn, name, describe(fig))


def show(name, alt):
    """Show a picture that `make bench` has left; `alt` says what it shows."""
    return Picture(results.kept_path(f"{name}.svg").read_text("utf-8"), name, alt)


def describe(fig):
    """Say in words what the panels of a figure show: titles, axes, legend."""
    axes = [ax for ax in fig.axes if ax.get_visible()]
    texts = {
        "panels": [ax.get_title() for ax in axes],
        "across": [ax.get_xlabel() for ax in axes],
        "up": [ax.get_ylabel() for ax in axes],
        "legend": [t.get_text() for box in fig.legends for t in box.get_texts()],
        "text": [t.get_text() for ax in axes for t in ax.texts][:12],
    }
    said = {
        name: ", ".join(dict.fromkeys(filter(None, some)))
        for name, some in texts.items()
    }
    parts = [f"{name}: {text}" for name, text in said.items() if text]
    kind = f"Picture of {len(axes)} panel{'s' * (len(axes) > 1)}"
    return "; ".join([kind, *parts]).replace("\n", ", ")


def picture(draw):
    """Make of draw(...) → (figure, table) a function (name, ...) that saves both."""

    @wraps(draw)
    def saved(name, *args, **options):
        with style():
            fig, table = draw(*args, **options)
        return save(fig, name, table)

    return saved


def panels(rows, columns, height=2.1, **options):
    """Return a figure of text width and its axes, always (rows, columns)."""
    fig = Figure(figsize=(WIDTH, height * rows))
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


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


@picture
def residuals(tests, columns=3, height=1.75):
    """Draw the residuals of Taylor or Jacobian tests against the step.

    A list of tests has a panel for each, drawn as markers; a dict {title: tests} a
    panel for each entry, its tests as thin lines. Grey guides along the first test of a
    panel have the slopes 1 and 2.
    """
    table = tables.residuals(tests)
    labels = "step ε", "residual"
    fig, axes, parts = facets(table, ["panel"], labels, columns, height, **SHARED)
    for ax, title, part in parts:
        ax.set_title("\n".join(title.rsplit(": ", 1)))
        for n, (_, rows) in enumerate(part.groupby("test", sort=False)):
            draw_residuals(ax, rows, thin=isinstance(tests, dict), guides=n == 0)
    axes[0, 0].set(ylim=(tables.FLOOR / 3, 1e2), xticks=[1e-9, 1e-6, 1e-3, 1])
    legend_below(fig, axes[0])
    return fig, table


def draw_residuals(ax, rows, thin, guides):
    """Draw both residuals of one test, as thin lines or as markers, along `guides`."""
    steps = rows["step"].to_numpy()
    for number, (part, marker) in enumerate(zip(tables.PARTS, "o^", strict=True), 1):
        residual = rows[part].to_numpy()
        look = {"linestyle": STYLES[number], "linewidth": 0.6}
        if not thin:
            look = {"marker": marker, "linestyle": "none", "mfc": "none", "mew": 0.6}
        if guides:
            ends = steps[[0, -1]]
            at = np.abs(np.log(steps / ANCHOR)).argmin()
            ax.loglog(ends, residual[at] * (ends / steps[at]) ** number, **GUIDE)
        ax.loglog(steps, residual, color=COLOURS[number], label=part, **look)


@picture
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
    return fig, table


@picture
def curves(found, rows, data=None, window=None, height=2.1):
    """Draw mean ± sd of histories, {(dataset, run): Result}, a column per dataset.

    `rows` maps the label of each row of panels to its quantities: in % are fractions,
    with the ceilings of `data` where known; a loss has a log axis, where no band goes
    below a third of the mean. Where a row has two quantities, colours tell runs and
    line styles quantities. With a `window` panels in % show so many points below the
    highest mean, and what lies lower is not seen.
    """
    quantities = dict.fromkeys(q for names in rows.values() for q in names)
    table = tables.curves(found, list(quantities))
    share = {"sharex": "col", "sharey": False if window else "row"}
    fig, axes = panels(len(rows), table["dataset"].nunique(), height, **share)
    parts = table.groupby("dataset", sort=False)
    pairs = any(len(names) > 1 for names in rows.values())
    for column, (dataset, part) in zip(axes.T, parts, strict=True):
        for ax, (label, names) in zip(column, rows.items(), strict=True):
            draw_curves(ax, part, names, label, pairs)
            if label.endswith("%") and window:
                top = 100 * part[names].max().max()
                ax.set_ylim(top - window, top + window / 12)
            if label.endswith("%") and data:
                draw_ceiling(ax, data[dataset].ceiling)
        column[0].set_title(dataset)
        column[-1].set_xlabel("epoch")
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)
        if label.endswith("loss"):
            mark_finely(ax.yaxis)
    legend_below(fig, axes[0] if pairs else axes.flat)
    return fig, table


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


@picture
def ranges(found, x, ylabel, levels=(), slopes=(), **options):
    """Draw mean and range of {panel: {run: values (records[, R])}}, log axes.

    `x` is a pair: the label of the axis and its units in an epoch; "epoch" alone counts
    epochs from 0 on a linear axis. `levels` maps (panel, run) to a predicted level,
    drawn dotted; `slopes` to a power, drawn as a grey guide below the end of that line.
    """
    linear = x == "epoch"
    label, unit = (x, 1) if linear else x
    table = tables.ranges(found, np.arange if linear else tables.log_records)
    table.insert(2, label, unit * table.pop("epoch"))
    fig, axes, parts = facets(table, ["panel"], (label, ylabel), **SHARED, **options)
    for ax, panel, part in parts:
        ax.set(xscale="linear" if linear else "log", yscale="log")
        for run, rows in part.groupby("run", sort=False):
            limits = rows["mean"], rows["least"], rows["greatest"]
            line = draw_band(ax, rows[label], *limits, label=run)
            if (panel, run) in levels:
                ax.axhline(levels[panel, run], color=line.get_color(), **DOTTED)
            if (panel, run) in slopes:
                draw_slope(ax, rows[label].to_numpy(), rows["mean"], slopes[panel, run])
    if linear:
        axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
        legend_below(fig, axes[0])
    for column, place in zip(axes.T, () if linear else ("left", "right"), strict=False):
        legend_below(fig, column, place, ncols=2)
    return fig, table


def draw_slope(ax, x, y, power):
    """Draw a grey line below the end of (x, y) with its log-log slope beside it."""
    line = 0.4 * y.iloc[-1] * (x / x[-1]) ** power
    ax.plot(x, line, **GUIDE, zorder=1)
    at = np.searchsorted(x, np.sqrt(x[0] * x[-1]))
    ax.text(x[at], 0.7 * line[at], f"slope −{-power:g}", size=7, ha="right", va="top")


@picture
def trends(table, x, y, by=("dataset",), data=None, log="x", height=2.2):
    """Draw column `y` against column `x`, a line per network, a panel for each of `by`.

    Columns "low" and "high" are drawn as error bars; `log` names the logarithmic axis.
    The ceilings of `data` are drawn in the panels of their names.
    """
    table = tables.shorten(table)
    fig, axes, parts = facets(table, list(by), (x, y), height=height, **ALIGNED)
    for ax, title, part in parts:
        lines = part.groupby("network", sort=False)
        for (name, rows), marker in zip(lines, cycle(MARKERS), strict=False):
            look = {"marker": marker, "capsize": 2, "label": name}
            ax.errorbar(rows[x], rows[y], bar_lengths(rows, y), **look)
        if data:
            draw_ceiling(ax, data[title].ceiling)
        ax.set(**{f"{log}scale": "log"})
        if log == "y":
            ax.xaxis.get_major_locator().set_params(integer=True)
        else:
            places = sorted(part[x].unique())
            ax.set_xticks(places, places, rotation=60 * (len(places) > 5))
            ax.xaxis.set_minor_locator(NullLocator())
    legend_below(fig, axes.flat)
    return fig, table


def bar_lengths(rows, y):
    """Return how far "low" and "high" are from column `y`, (2, rows), if there."""
    if "low" not in rows:
        return None
    # Equal values may have a mean that rounding puts outside their range.
    return np.maximum([rows[y] - rows["low"], rows["high"] - rows[y]], 0)


@picture
def forest(compared, xlabel="difference / points", linear=None):
    """Draw {(dataset, row): Comparison}, one under the other, a panel per dataset.

    An interval that excludes zero has a filled marker. With `linear` the axis is linear
    up to so many points to both sides of zero, and logarithmic beyond.
    """
    table = tables.forest(compared)
    look = {"height": 0.9 + 0.16 * table["row"].nunique(), "sharey": True}
    fig, axes, parts = facets(table, ["dataset"], (xlabel, ""), **look)
    for ax, _, rows in parts:
        if linear:
            ax.set_xscale("symlog", linthresh=linear)
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.get_major_locator().set_params(numticks=5)
        place = np.arange(len(rows))
        x, clear = rows["difference"], rows["low"] * rows["high"] > 0
        bars = bar_lengths(rows, "difference")
        ax.errorbar(x, place, xerr=bars, fmt="none", color=COLOURS[1], capsize=2)
        look = {"color": COLOURS[1], "marker": "o", "linestyle": "none"}
        ax.plot(x[clear], place[clear], label="excludes zero", **look)
        ax.plot(x[~clear], place[~clear], mfc="white", label="contains zero", **look)
        ax.axvline(0, color="0.4", linewidth=1, linestyle="-", zorder=1)
        ax.set_yticks(place, rows["row"])
    axes[0, 0].invert_yaxis()
    legend_below(fig, axes[0])
    return fig, table


@picture
def scatter(data):
    """Draw training samples of datasets, one panel per dataset, a colour per class.

    More than two features are projected on their first two principal directions.
    """
    table = tables.plane(data)
    fig, _, parts = facets(table, ["dataset"])
    for ax, _, rows in parts:
        ax.scatter(rows["first"], rows["second"], c=rows["class"], s=2.5, **DOTS)
        ax.set_aspect("equal", adjustable="datalim")
    legend_classes(fig, max(one.classes for one in data.values()))
    return fig, table


def legend_classes(fig, classes):
    """Name the colours of the classes under all panels; each repeats after ten."""
    dots = []
    for k in range(min(classes, len(TEN))):
        names = [f"{n + 1}" for n in range(k, classes, len(TEN))]
        name = "class " + ", ".join(names[:2]) + ", …" * (len(names) > 2)
        dots.append(Line2D([], [], marker="o", ls="", color=PALETTE(k), label=name))
    columns = classes if classes <= 7 else 5  # as many as the page is wide
    fig.legend(handles=dots, loc="outside lower center", ncols=columns)


@picture
def regions(data, networks, best, resolution=160, shown=600, columns=3):
    """Draw decision regions in the plane of `tables.view`, a panel for each network.

    `networks` maps (dataset, title) to predict(X), which returns probabilities
    (classes, m) for X (features, m). `best(dataset, X)` returns the answers (m,) of the
    best possible classifier, or None if unknown: its boundaries are drawn in every
    panel of the dataset, and what it answers itself in one more.
    """
    wanted = []
    for name in dict.fromkeys(name for name, _ in networks):
        wanted += [key for key in networks if key[0] == name]
        if best(data[name], data[name].Yv[:, :1]) is not None:
            wanted.append((name, "best possible"))
    fig, axes = panels(-(-len(wanted) // columns), columns, height=1.52)
    for ax, (name, title) in zip(axes.flat, wanted, strict=False):
        draw_regions(ax, data[name], networks.get((name, title)), best, resolution)
        draw_samples(ax, data[name], shown)
        ax.set(title=f"{name}: {title}", xticks=[], yticks=[])
    for ax in axes.flat[len(wanted) :]:
        ax.set_visible(False)
    legend_classes(fig, max(data[name].classes for name, _ in networks))
    return fig, None


def draw_regions(ax, data, predict, best, resolution):
    """Colour the plane by a classifier's answers, the best possible one's if None."""
    side, X = square(data, resolution, data.Yt.dtype)
    coarse, few = square(data, resolution // 4)  # fine enough for a line
    answers, between = best(data, few), np.arange(data.classes - 1) + 0.5
    image = (
        best(data, X.astype(float)) if predict is None else predict(X).argmax(axis=0)
    )
    extent = side[[0, -1, 0, -1]]
    ax.imshow(image.reshape(resolution, resolution), extent=extent, **PIXELS)
    if answers is not None:
        look = {"levels": between, "colors": "black", "linewidths": 0.5}
        ax.contour(coarse, coarse, answers.reshape(len(coarse), -1), **look)


def draw_samples(ax, data, most):
    """Draw at most that many validation samples, evenly chosen."""
    some = tables.evenly(data.Yv, most)
    labels = data.Cv[:, some].argmax(axis=0)
    ax.scatter(*tables.project(data, data.Yv[:, some]), c=labels, s=1.8, **DOTS)


def square(data, resolution, dtype=float):
    """Return a side (resolution,) of the square around samples, its points (n, m)."""
    centre, directions = tables.view(data)
    shown = tables.project(data, data.Yt) if data.features > 2 else data.Yt
    side = np.linspace(shown.min(), shown.max(), resolution, dtype=dtype)
    points = np.stack(np.meshgrid(side, side)).reshape(2, -1)
    return side, (centre + directions @ points).astype(dtype)
