"""Figures: what is drawn is labelled, and saved the same way every time."""

import re
import runpy
from itertools import combinations
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from report import figures, results, tables


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep the project's own figures out of reach."""
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def histories():
    rng = np.random.default_rng(1)
    names = ("train_loss", "train_accuracy", "validation_accuracy")
    return {
        dataset: {
            run: {"epoch": np.array([0, 2, 4, 6, 8, 9])}
            | {name: rng.uniform(0.1, 0.9, (6, 3)) for name in names}
            for run in ("lr 0.1", "lr 1")
        }
        for dataset in ("A", "B")
    }


@pytest.fixture(scope="module")
def learnt(histories):
    quantities = ["train_loss", "train_accuracy", "validation_accuracy"]
    return tables.curves(histories, quantities)


@pytest.fixture(scope="module")
def falling(histories):
    """Losses of two runs, in two panels, with a column of steps."""
    losses = {
        panel: {run: history["train_loss"] for run, history in runs.items()}
        for panel, runs in histories.items()
    }
    found = tables.ranges(losses, tables.log_records)
    return found.assign(steps=50 * found["epoch"])


def frame(columns, rows):
    return pd.DataFrame(rows, columns=columns.split())


ACCURACIES = pd.DataFrame(
    np.random.default_rng(2).uniform(1, 90, (4, 4)),
    columns=["train", "train sd", "validation", "validation sd"],
).assign(dataset=["A", "A", "B", "B"], network=["x", "y", "x", "y"])
GROWN = frame(
    "dataset network samples accuracy low high",
    [
        (d, n, m, shift + m, shift + m - 1, shift + m + 2)
        for d, shift in (("A", 0), ("B", 10))
        for n in ("x", "y")
        for m in (10, 20, 40)
    ],
)
NORMS = frame(
    "dataset when network layer norm",
    [
        (d, when, n, layer, scale * 10.0**-layer)
        for d in ("A", "B")
        for when, scale in (("old", 1), ("new", 2))
        for n in ("x", "y")
        for layer in (1, 2, 3)
    ],
)
FOREST = frame(
    "dataset remedy difference low high",
    [("A", "x", 2.0, 1, 4), ("A", "y", -3, -4, -2), ("A", "z", 1, -1, 3)]
    + [("B", name, 0, -1, 1) for name in "xyz"],
)
MATRICES = {
    "A": np.array([[90.0, 10], [0.5, 99.5]]),
    "B": np.full((7, 7), 100 / 7),
}
FOUND = [2, 1.5, 1.0005, 4, 3, 2, 0.5, 0.4, np.nan, 200, 0.6, 0.7]
TRIED = pd.MultiIndex.from_product(  # the ninth try diverged
    [["ce", "ls"], ["A"], [64, 1024], [0.01, 0.1, 1]],
    names=["loss", "dataset", "batch size", "learning rate"],
).to_frame(index=False)
TRIED = TRIED.assign(found=FOUND, chosen=np.isin(FOUND, [1.5, 0.4]))
STEPS = frame("step forward central", [(1e-1, 1e-1, 1e-2), (1e-3, 1e-3, 1e-6)])
ROWS = {
    "train loss": ["train_loss"],
    "validation accuracy / %": ["validation_accuracy"],
}
PAIRS = {
    "accuracy / %": ["train_accuracy", "validation_accuracy"],
    "training loss": ["train_loss"],
}
BEST = {"A": 0.9, "B": None}


def halves(data, X):
    """Return the classes (m,) of a classifier that asks whether x < 1."""
    return (X[0] >= 1).astype(int) if data.name == "A" else None


@pytest.fixture
def plane(blobs):
    """Two rows of two panels for `figures.regions`."""

    def predict(X):
        return np.stack([X[0], X[1], 1 - X[0]])

    return {n: (blobs(name=n), {"one": predict, "two": predict}) for n in ("A", "B")}


def look(fig):
    """Return titles, labels of x and y, and entries of legends, as in `DRAWINGS`."""
    axes = [ax for ax in fig.axes if ax.get_visible()]
    texts = [
        [getattr(ax, f"get_{what}")() for ax in axes]
        for what in ("title", "xlabel", "ylabel")
    ]
    entries = [text.get_text() for box in fig.legends for text in box.get_texts()]
    return " ; ".join("|".join(some) for some in [*texts, entries])


PARTS = "without derivative|with derivative"
DRAWINGS = {
    "a|b|c|d ; ||step ε|step ε ; residual||residual| ; " + PARTS: lambda d: (
        figures.residuals(d.residuals, "abcd", columns=2)
    ),
    "all ; step ε ; residual ; " + PARTS: lambda d: figures.residuals(
        d.residuals.assign(of="all"), ["all"], "of", columns=1
    ),
    " ; step ; relative error ; forward|central|rounding of differences": lambda d: (
        figures.step_errors(STEPS, rounding=(1e-16, 1e-14))
    ),
    "A|B|| ; ||epoch|epoch ; train loss||validation accuracy / %| ; "
    "lr 0.1|lr 1|ceiling": lambda d: figures.curves(d.learnt, ROWS, BEST),
    "A|B|| ; ||epoch|epoch ; accuracy / %||training loss| ; "
    "lr 0.1, train|lr 0.1, validation|lr 1, train|lr 1, validation|ceiling": lambda d: (
        figures.curves(d.learnt, PAIRS, BEST, height=1.75)
    ),
    "A|B ; epoch|epoch ; above minimum| ; lr 0.1|lr 1": lambda d: figures.ranges(
        d.falling, "epoch", "above minimum"
    ),
    "A|B ; steps|steps ; distance| ; lr 0.1|lr 1|lr 0.1|lr 1": lambda d: figures.ranges(
        d.falling, "steps", "distance"
    ),
    "A|B ; |steps ; distance|distance ; lr 0.1|lr 1": lambda d: figures.ranges(
        d.falling, "steps", "distance", columns=1
    ),
    "A|B ; samples|samples ; accuracy| ; ceiling|x|y": lambda d: figures.trends(
        GROWN, "samples", "accuracy", ceilings=BEST
    ),
    "A, old|B, old|A, new|B, new ; ||layer|layer ; norm||norm| ; x|y": lambda d: (
        figures.trends(NORMS, "layer", "norm", ["when", "dataset"], log="y")
    ),
    "A|B ; | ; accuracy / %| ; ceiling|train|validation": lambda d: figures.accuracies(
        ACCURACIES, BEST
    ),
    "A|B ; difference / points|difference / points ; | ; "
    "excludes zero|contains zero": lambda d: figures.forest(FOREST, "remedy"),
    "A|B ; answer|answer ; true class| ; ": lambda d: figures.confusion(
        tables.confusion(MATRICES)
    ),
    "A, ce|A, ls| ; |batch size| ; learning rate|learning rate|"
    "found above the lowest / % ; ": lambda d: figures.tries(TRIED, "found"),
    "A ;  ;  ; ": lambda d: figures.scatter(d.points),
    "one|two|one|two ; ||| ; A||B| ; ": lambda d: figures.regions(
        d.plane, halves, resolution=20
    ),
}


@pytest.fixture
def data(taylor_tests, learnt, falling, blobs, plane):
    """What `DRAWINGS` draw."""
    points, residuals = tables.plane({"A": blobs()}), tables.residuals(taylor_tests)
    return SimpleNamespace(
        residuals=residuals, learnt=learnt, falling=falling, points=points, plane=plane
    )


@pytest.mark.parametrize("expected", DRAWINGS)
def test_a_figure_is_labelled_legible_and_saved_the_same_way_twice(
    folder, data, expected
):
    before, saved = mpl.rcParams.copy(), []
    for _ in range(2):
        fig = DRAWINGS[expected](data)
        shown = figures.save(fig, "name", ACCURACIES)
        saved.append((folder / "name.svg").read_text("utf-8"))
        assert shown.data.startswith("<svg")
    assert look(fig) == expected
    assert saved[0] == saved[1]
    assert sorted(p.name for p in folder.iterdir()) == ["name.csv", "name.svg"]
    assert results.read_csv("name", "any")["network"].tolist() == ["x", "y", "x", "y"]
    assert "dc:date" not in saved[0]
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", saved[0])}
    cells, superscripts = 6 * ("true class" in expected), 4.9
    assert sizes <= {7, 8, cells, superscripts}
    assert "'DejaVu Sans'" in saved[0]  # text, not outlines
    assert fig.get_figwidth() == figures.WIDTH
    assert mpl.rcParams == before


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_panel_reaches_into_another_or_a_legend_or_leaves_the_page(data, name):
    fig = DRAWINGS[name](data)
    renderer = FigureCanvasAgg(fig).get_renderer()
    with figures.style():
        fig.draw(renderer)
    seen = [ax for ax in fig.axes if ax.get_visible()]
    boxes = [ax.get_tightbbox(renderer) for ax in seen]
    boxes += [box.get_window_extent(renderer) for box in fig.legends]
    for box in boxes:
        assert fig.bbox.padded(1).containsx(box.x0)
        assert fig.bbox.padded(1).containsx(box.x1)
        assert fig.bbox.padded(1).containsy(box.y0)
        assert fig.bbox.padded(1).containsy(box.y1)
    for one, other in combinations(boxes, 2):
        assert not one.padded(-1).overlaps(other)


def test_importing_changes_no_setting():
    before = mpl.rcParams.copy()
    runpy.run_path(figures.__file__)
    assert mpl.rcParams == before


def test_a_last_digit_of_a_place_changes_no_id(folder):
    written = []
    for width in (1, 1 + 1e-13):  # Matplotlib's ids are hashes of all digits
        fig = Figure()
        ax = fig.subplots()
        ax.plot([0, width], [0, 1], marker="o")
        ax.set_position([0.1, 0.1, 0.8 * width, 0.8])
        figures.save(fig, "nudged", pd.DataFrame({"x": [1.0]}))
        written.append((folder / "nudged.svg").read_text())
    assert written[0] == written[1]
    assert 'id="nudged-1"' in written[0]


# The data drawn are the data saved ----------------------------------------------------


def lines(ax, label):
    return [line for line in ax.get_lines() if line.get_label() == label]


def ticks(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def heights(fig):
    """Return the heights of all ceilings."""
    return [line.get_ydata()[0] for ax in fig.axes for line in lines(ax, "ceiling")]


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_lowest_panel_of_every_column_is_labelled(data, columns):
    fig = figures.residuals(data.residuals, "abcd", columns=columns)
    seen = [ax for ax in fig.axes if ax.get_visible()]
    assert len(seen) == 4
    lowest = seen[-columns:]
    assert [ax.get_xlabel() for ax in lowest] == columns * ["step ε"]
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in lowest)
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in seen} == {("log", "log")}


@pytest.mark.parametrize("panel", ["test", "of"])
def test_residuals_are_drawn_as_listed_on_guides_unless_they_are_many(data, panel):
    table = data.residuals.assign(of="all")
    ax = figures.residuals(table, "abcd"[: table[panel].nunique()], panel).axes[0]
    rows = table[table["test"] == "f: right"]
    for part in tables.PARTS:
        line = lines(ax, part)[0]
        np.testing.assert_array_equal(line.get_xdata(), rows["step"])
        np.testing.assert_array_equal(line.get_ydata(), rows[part])
        assert line.get_marker() == "None" or panel == "test"
    guides = [line for line in ax.get_lines() if line.get_color() == "0.75"]
    slopes = [np.polyfit(*np.log(line.get_data()), 1)[0] for line in guides]
    assert slopes == pytest.approx([1, 2] if panel == "test" else [])


def test_curves_are_means_in_percent_in_bands_of_one_sd(learnt):
    fig = figures.curves(learnt, ROWS, BEST)
    rows = learnt[(learnt["dataset"] == "B") & (learnt["run"] == "lr 1")]
    assert [ax.get_yscale() for ax in fig.axes] == ["log", "log", "linear", "linear"]
    (line,), band = lines(fig.axes[3], "lr 1"), fig.axes[3].collections[1]
    mean, sd = 100 * rows["validation_accuracy"], 100 * rows["validation_accuracy sd"]
    np.testing.assert_array_equal(line.get_xdata(), rows["epoch"])
    np.testing.assert_allclose(line.get_ydata(), mean)
    y = band.get_paths()[0].vertices[:, 1]
    assert [y.min(), y.max()] == pytest.approx([min(mean - sd), max(mean + sd)])
    assert heights(fig) == [90]
    assert heights(figures.curves(learnt, ROWS)) == []


def test_a_band_stays_above_a_third_of_the_mean_on_a_log_axis():
    table = pd.DataFrame({"dataset": "A", "run": "x", "epoch": [0, 1]})
    table = table.assign(**{"train_loss": [3.0, 3], "train_loss sd": [1.0, 5]})
    (ax,) = figures.curves(table, {"loss": ["train_loss"]}).axes
    vertices = ax.collections[0].get_paths()[0].vertices
    assert {(0, 2), (0, 4), (1, 1), (1, 8)} <= {*map(tuple, vertices.tolist())}


@pytest.mark.parametrize(("most", "fine"), [(2, True), (5000, False)])
def test_a_log_axis_of_few_decades_has_ticks_between_them(learnt, most, fine):
    last = learnt["dataset"] == "B"
    table = learnt.assign(train_loss=np.where(last, most, learnt["train_loss"]))
    fig = figures.curves(table, PAIRS)
    figures.save(fig, "ticks", table)
    assert ("2" in ticks(fig.axes[2].yaxis)) == fine


def test_ranges_are_means_in_bands_from_least_to_greatest(falling):
    fig = figures.ranges(falling, "epoch", "loss")
    rows = falling[(falling["panel"] == "A") & (falling["run"] == "lr 0.1")]
    (line,), band = lines(fig.axes[0], "lr 0.1"), fig.axes[0].collections[0]
    np.testing.assert_allclose(line.get_ydata(), rows["mean"])
    y = band.get_paths()[0].vertices[:, 1]
    assert [y.min(), y.max()] == [rows["least"].min(), rows["greatest"].max()]
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in fig.axes} == {
        ("linear", "log")
    }


def test_descent_shows_levels_and_slopes(falling):
    levels, slopes = {("A", "lr 1"): 0.2}, {("B", "lr 0.1"): -0.5}
    fig = figures.ranges(falling, "steps", "distance", levels, slopes)
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in fig.axes} == {("log", "log")}
    (one, _, level), (first, guide, _) = (ax.get_lines() for ax in fig.axes)
    assert one.get_xdata().tolist() == [50, 100, 150, 200, 250]
    assert set(level.get_ydata()) == {0.2}
    end = first.get_ydata()[-1]
    assert guide.get_ydata()[[0, -1]] == pytest.approx([0.4 * end * 5**0.5, 0.4 * end])
    assert [text.get_text() for text in fig.axes[1].texts] == ["slope −0.5"]


def test_trends_are_a_line_of_intervals_for_each_network():
    fig = figures.trends(GROWN, "samples", "accuracy", ceilings=BEST)
    assert [ax.get_xscale() for ax in fig.axes] == ["log"] * 2
    assert [ticks(ax.xaxis) for ax in fig.axes] == [["10", "20", "40"]] * 2
    assert heights(fig) == [90]
    line, _, (bars,) = fig.axes[1].containers[0]
    assert line.get_ydata().tolist() == [20, 30, 50]
    assert bars.get_segments()[0][:, 1].tolist() == [19, 22]


def test_trends_mark_on_each_panel_what_is_there():
    table = GROWN[(GROWN["dataset"] == "A") | (GROWN["samples"] < 40)]
    axes = figures.trends(table, "samples", "accuracy").axes
    assert [ticks(ax.xaxis) for ax in axes] == [["10", "20", "40"], ["10", "20"]]


def test_trends_without_intervals_are_lines():
    fig = figures.trends(NORMS, "layer", "norm", ["when", "dataset"], log="y")
    assert [ax.get_yscale() for ax in fig.axes] == ["log"] * 4
    (line, _) = fig.axes[2].lines
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.2, 0.02, 0.002])


@pytest.mark.parametrize("best", [BEST, {"A": None, "B": 0.8}, {"A": None, "B": None}])
def test_accuracies_name_networks_and_known_ceilings(best):
    fig = figures.accuracies(ACCURACIES, best)
    assert [ticks(ax.xaxis) for ax in fig.axes] == [["x", "y"]] * 2
    assert heights(fig) == [100 * one for one in best.values() if one]
    for ax, (_, rows) in zip(fig.axes, ACCURACIES.groupby("dataset"), strict=True):
        for (line, _, _), name in zip(
            ax.containers, ["train", "validation"], strict=True
        ):
            np.testing.assert_array_equal(line.get_ydata(), rows[name])


def test_forest_fills_what_excludes_zero():
    left, right = figures.forest(FOREST, "remedy").axes
    assert ticks(left.yaxis) == ["x", "y", "z"]
    assert left.yaxis_inverted()
    filled, hollow, zero = left.get_lines()[-3:]
    assert np.transpose(filled.get_data()).tolist() == [[2, 0], [-3, 1]]
    assert np.transpose(hollow.get_data()).tolist() == [[1, 2]]
    assert hollow.get_markerfacecolor() == "white"
    assert zero.get_xdata() == [0, 0]
    _, _, (bars,) = left.containers[0]
    assert bars.get_segments()[0][:, 0].tolist() == [1, 4]
    assert len(right.get_lines()[-3].get_xdata()) == 0


def test_confusion_says_its_percentages_and_counts_classes_from_one():
    axes = figures.confusion(tables.confusion(MATRICES)).axes
    texts = [[text.get_text() for text in ax.texts] for ax in axes]
    assert texts == [["90.0", "10.0", "0.5", "99.5"], ["14"] * 49]
    assert ticks(axes[0].xaxis) == ticks(axes[0].yaxis) == ["1", "2"]


def test_every_cell_of_tries_says_its_number():
    _, ax, _ = figures.tries(TRIED, "found").axes
    assert ticks(ax.xaxis) == ["64", "1024"]
    assert ticks(ax.yaxis) == ["0.01", "0.1", "1"]
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    expected = ["0.500", "0.400", "diverged", "2e+02", "0.600", "0.700"]
    assert [cells[x, y] for x in range(2) for y in range(3)] == expected


def test_tries_frame_the_chosen_and_shade_the_distance_from_the_lowest():
    ce, ls, _ = figures.tries(TRIED, "found").axes
    for ax, hatched, lowest in ((ce, [], (2, 0)), (ls, [(-0.5, 1.5)], (1, 0))):
        frames = [p.get_xy() for p in ax.patches if not p.get_hatch()]
        assert frames == [(-0.5, 0.5)]
        assert [p.get_xy() for p in ax.patches if p.get_hatch()] == hatched
        shades = ax.images[0].get_array()
        assert shades[lowest] == figures.SHADES[0] == np.nanmin(shades)
    assert ce.images[0].get_array()[1, 0] == pytest.approx(100 * (1.5 / 1.0005 - 1))
    assert ls.images[0].get_array()[0, 1] == figures.SHADES[1]
    colours = {text.get_text(): text.get_color() for text in ls.texts}
    assert (colours["2e+02"], colours["0.400"]) == ("white", "black")


def test_tries_that_all_diverged_are_drawn():
    fig = figures.tries(TRIED.assign(found=np.nan), "found")
    assert {text.get_text() for text in fig.axes[0].texts} == {"diverged"}


def test_regions_show_where_the_best_possible_classifier_changes_its_answer(plane):
    fig = figures.regions(plane, halves, resolution=120)
    data, _ = plane["A"]
    step = (data.Yt.max() - data.Yt.min()) / 29
    assert [len(ax.collections) for ax in fig.axes] == [2, 2, 1, 1]
    for ax in fig.axes[:2]:
        paths = ax.collections[1].get_paths()
        x, y = np.concatenate([path.vertices for path in paths]).T
        np.testing.assert_allclose(x, 1, atol=step)
        assert np.ptp(y) > 25 * step


def test_regions_show_what_the_network_predicts_where(plane):
    fig = figures.regions(plane, halves, resolution=30)
    image, side = fig.axes[0].images[0].get_array(), plane["A"][0].Yt
    assert image.shape == (30, 30)
    x, y = 1 - 1e-9, side.min() + 28.5 / 30 * (side.max() - side.min())
    column = int((x - side.min()) / (side.max() - side.min()) * 30)
    assert image[28, column] == np.argmax([x, y, 1 - x])
    assert image[1, 28] == 0
