"""Figures: what is drawn is labelled, and saved the same way every time."""

import re
import runpy
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from report import diagrams, figures, results, tables
from report.claims import Comparison


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep the project's own figures out of reach."""
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained():
    """Two runs on each of two datasets, as `run_all` returns them."""
    rng = np.random.default_rng(1)
    names = ("train_loss", "train_accuracy", "validation_accuracy")
    return {
        (dataset, run): SimpleNamespace(
            history={"epoch": np.array([0, 2, 4, 6, 8, 9])}
            | {name: rng.uniform(0.1, 0.9, (6, 3)) for name in names}
        )
        for dataset in ("A", "B")
        for run in ("lr 0.1", "lr 1")
    }


@pytest.fixture(scope="module")
def losses(trained):
    """The same losses, panel → run → values."""
    found = {"A": {}, "B": {}}
    for (dataset, run), result in trained.items():
        found[dataset][run] = result.history["train_loss"]
    return found


def frame(columns, rows):
    return pd.DataFrame(rows, columns=columns.split())


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
FOREST = {
    ("A", "x"): Comparison(2.0, 1, 4, 1.0),
    ("A", "y"): Comparison(-3, -4, -2, 1.0),
    ("A", "z"): Comparison(1, -1, 3, 1.0),
} | {("B", name): Comparison(0, -1, 1, 1.0) for name in "xyz"}
STEPS = frame("step forward central", [(1e-1, 1e-1, 1e-2), (1e-3, 1e-3, 1e-6)])
ROWS = {
    "train loss": ["train_loss"],
    "validation accuracy / %": ["validation_accuracy"],
}
PAIRS = {
    "accuracy / %": ["train_accuracy", "validation_accuracy"],
    "training loss": ["train_loss"],
}
BEST = {"A": SimpleNamespace(ceiling=0.9), "B": SimpleNamespace(ceiling=None)}


def halves(data, X):
    """Return the classes (m,) of a classifier that asks whether x < 1."""
    return (X[0] >= 1).astype(int) if data.name == "A" else None


def predict(X):
    return np.stack([X[0], X[1], 1 - X[0]])


@pytest.fixture
def given(taylor_tests, trained, losses, blobs):
    """What `DRAWINGS` draw."""
    data = {name: blobs(name=name) for name in "AB"}
    networks = {(d, title): predict for d in "AB" for title in ("one", "two")}
    return SimpleNamespace(
        tests=taylor_tests, trained=trained, losses=losses, data=data, networks=networks
    )


PARTS = "without derivative|with derivative"
CLASSES = "class 1|class 2|class 3"
# titles ; labels of x ; labels of y ; entries of legends
DRAWINGS = {
    "right|wrong|also right|affine ; ||step ε|step ε ; residual||residual| ; "
    + PARTS: (lambda draw, g: draw(figures.residuals, g.tests, columns=2)),
    "all ; step ε ; residual ; " + PARTS: lambda draw, g: draw(
        figures.residuals, {"all": g.tests}, columns=1
    ),
    " ; step ; relative error ; forward|central|rounding of differences": (
        lambda draw, g: draw(figures.step_errors, STEPS, rounding=(1e-16, 1e-14))
    ),
    "A|B|| ; ||epoch|epoch ; train loss||validation accuracy / %| ; "
    "lr 0.1|lr 1|ceiling": lambda draw, g: draw(figures.curves, g.trained, ROWS, BEST),
    "A|B|| ; ||epoch|epoch ; accuracy / %||training loss| ; "
    "lr 0.1, train|lr 0.1, validation|lr 1, train|lr 1, validation": (
        lambda draw, g: draw(figures.curves, g.trained, PAIRS, window=12, height=1.75)
    ),
    "A|B ; epoch|epoch ; above minimum| ; lr 0.1|lr 1": lambda draw, g: draw(
        figures.ranges, g.losses, "epoch", "above minimum"
    ),
    "A|B ; steps|steps ; distance| ; lr 0.1|lr 1|lr 0.1|lr 1": lambda draw, g: draw(
        figures.ranges, g.losses, ("steps", 50), "distance"
    ),
    "A|B ; samples|samples ; accuracy| ; ceiling|x|y": lambda draw, g: draw(
        figures.trends, GROWN, "samples", "accuracy", data=BEST
    ),
    "A, old|B, old|A, new|B, new ; ||layer|layer ; norm||norm| ; x|y": (
        lambda draw, g: draw(
            figures.trends, NORMS, "layer", "norm", ["when", "dataset"], log="y"
        )
    ),
    "A|B ; difference / points|difference / points ; | ; "
    "excludes zero|contains zero": lambda draw, g: draw(figures.forest, FOREST),
    "A|B ; | ; | ; " + CLASSES: lambda draw, g: draw(figures.scatter, g.data),
    "A: one|A: two|A: best possible|B: one|B: two ; |||| ; |||| ; " + CLASSES: (
        lambda draw, g: draw(figures.regions, g.data, g.networks, halves, resolution=20)
    ),
    " ;  ;  ; ": lambda draw, g: draw(diagrams.network),
    "  ;  ;  ; ": lambda draw, g: draw(diagrams.residual_layer),
}


def bare(draw, *args, **options):
    """Return the figure alone, without saving it."""
    with figures.style():
        return draw.__wrapped__(*args, **options)[0]


def look(fig):
    """Return titles, labels of x and y, and entries of legends, as in `DRAWINGS`."""
    axes = [ax for ax in fig.axes if ax.get_visible()]
    texts = [
        [getattr(ax, f"get_{what}")() for ax in axes]
        for what in ("title", "xlabel", "ylabel")
    ]
    texts[0] = [re.sub(r"^f: |\n.*", "", title) for title in texts[0]]
    entries = [text.get_text() for box in fig.legends for text in box.get_texts()]
    return " ; ".join("|".join(some) for some in [*texts, entries])


@pytest.mark.parametrize("expected", DRAWINGS)
def test_a_figure_is_labelled_legible_and_saved_the_same_way_twice(
    folder, given, expected
):
    before, saved = mpl.rcParams.copy(), []
    for _ in range(2):
        shown = DRAWINGS[expected](lambda draw, *a, **o: draw("name", *a, **o), given)
        saved.append((folder / "name.svg").read_text("utf-8"))
        assert shown.svg == saved[-1]
    fig = DRAWINGS[expected](bare, given)
    assert look(fig).strip() == expected.strip()
    assert saved[0] == saved[1]
    assert {p.name for p in folder.iterdir()} <= {"name.csv", "name.svg"}
    data, metadata = shown._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<svg")
    assert metadata == {"label": "name", "alt": shown.alt}
    assert "dc:date" not in saved[0]
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", saved[0])}
    assert sizes <= {7, 8, 5.6, 4.9}  # the last are subscripts
    assert "'DejaVu Sans'" in saved[0]  # text, not outlines
    assert fig.get_figwidth() == figures.WIDTH
    assert mpl.rcParams == before


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_panel_reaches_into_another_or_a_legend_or_leaves_the_page(given, name):
    fig = DRAWINGS[name](bare, given)
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


def test_alternative_texts_say_panels_axes_and_legend(trained):
    assert figures.curves("x", trained, ROWS, BEST).alt == (
        "Picture of 4 panels; panels: A, B; across: epoch; up: train loss, validation "
        "accuracy / %; legend: lr 0.1, lr 1, ceiling"
    )


def test_a_last_digit_of_a_place_changes_no_id(folder):
    written = []
    for width in (1, 1 + 1e-13):  # Matplotlib's ids are hashes of all digits
        fig = Figure()
        ax = fig.subplots()
        ax.plot([0, width], [0, 1], marker="o")
        ax.set_position([0.1, 0.1, 0.8 * width, 0.8])
        figures.save(fig, "nudged")
        written.append((folder / "nudged.svg").read_text())
    assert written[0] == written[1]
    assert 'id="nudged-1"' in written[0]


def test_what_a_bench_has_left_is_shown_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(results.files, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"figures/a.svg is missing: `make ben"):
        figures.show("a", "Dots.")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.svg").write_text("<svg/>")
    (tmp_path / "figures" / "a.csv").write_text("x,y\n1.50,\n")
    assert figures.show("a", "Dots.").svg == "<svg/>"
    shown = results.show("a", "label")
    assert "| 1.50 | – " in shown.markdown
    assert shown.metadata == {"label": "label"}


# The data drawn are the data saved ----------------------------------------------------


def lines(ax, label):
    return [line for line in ax.get_lines() if line.get_label() == label]


def ticks(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def heights(fig):
    """Return the heights of all ceilings."""
    return [line.get_ydata()[0] for ax in fig.axes for line in lines(ax, "ceiling")]


@pytest.mark.parametrize("joint", [False, True])
def test_residuals_are_drawn_as_listed_along_guides(taylor_tests, joint):
    tests = {"all": taylor_tests} if joint else taylor_tests
    table = tables.residuals(tests)
    ax = bare(figures.residuals, tests).axes[0]
    rows = table[table["test"] == table["test"].iloc[0]]
    for part in tables.PARTS:
        line = lines(ax, part)[0]
        np.testing.assert_array_equal(line.get_xdata(), rows["step"])
        np.testing.assert_array_equal(line.get_ydata(), rows[part])
        assert line.get_marker() == "None" or not joint
    guides = [line for line in ax.get_lines() if line.get_color() == "0.75"]
    slopes = [np.polyfit(*np.log(line.get_data()), 1)[0] for line in guides]
    assert slopes == pytest.approx([1, 2])


def test_curves_are_means_in_percent_in_bands_of_one_sd(folder, trained):
    figures.curves("saved", trained, ROWS)
    learnt = pd.read_csv(folder / "saved.csv")
    fig = bare(figures.curves, trained, ROWS, BEST)
    rows = learnt[(learnt["dataset"] == "B") & (learnt["run"] == "lr 1")]
    assert [ax.get_yscale() for ax in fig.axes] == ["log", "log", "linear", "linear"]
    (line,), band = lines(fig.axes[3], "lr 1"), fig.axes[3].collections[1]
    mean, sd = 100 * rows["validation_accuracy"], 100 * rows["validation_accuracy sd"]
    np.testing.assert_array_equal(line.get_xdata(), rows["epoch"])
    np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-3)
    y = band.get_paths()[0].vertices[:, 1]
    limits = [min(mean - sd), max(mean + sd)]
    assert [y.min(), y.max()] == pytest.approx(limits, rel=1e-3)
    assert heights(fig) == [90]
    assert heights(bare(figures.curves, trained, ROWS)) == []


def test_a_window_shows_what_lies_just_below_the_highest_mean(trained):
    fig = bare(figures.curves, trained, PAIRS, window=12)
    for ax in fig.axes[:2]:
        low, high = ax.get_ylim()
        top = max(line.get_ydata().max() for line in ax.get_lines())
        assert (low, high) == pytest.approx((top - 12, top + 1))


def test_a_band_stays_above_a_third_of_the_mean_on_a_log_axis():
    history = {"epoch": np.array([0, 1]), "train_loss": np.array([[2.0, 4], [0, 10]])}
    found = {("A", "x"): SimpleNamespace(history=history)}
    (ax,) = bare(figures.curves, found, {"loss": ["train_loss"]}).axes
    y = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(3 - 2**0.5)
    assert np.isclose(y, 5 / 3).any()


def test_ranges_are_means_in_bands_from_least_to_greatest(losses):
    fig = bare(figures.ranges, losses, "epoch", "loss")
    (line,), band = lines(fig.axes[0], "lr 0.1"), fig.axes[0].collections[0]
    values = losses["A"]["lr 0.1"]
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    y = band.get_paths()[0].vertices[:, 1]
    assert [y.min(), y.max()] == [values.min(), values.max()]
    assert {ax.get_yscale() for ax in fig.axes} == {"log"}


def test_ranges_show_levels_and_slopes(losses):
    levels, slopes = {("A", "lr 1"): 0.2}, {("B", "lr 0.1"): -0.5}
    fig = bare(figures.ranges, losses, ("steps", 50), "distance", levels, slopes)
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in fig.axes} == {("log", "log")}
    (one, _, level), (first, guide, _) = (ax.get_lines() for ax in fig.axes)
    assert one.get_xdata().tolist() == [50, 100, 150, 200, 250]
    assert set(level.get_ydata()) == {0.2}
    end = first.get_ydata()[-1]
    assert guide.get_ydata()[[0, -1]] == pytest.approx([0.4 * end * 5**0.5, 0.4 * end])
    assert [text.get_text() for text in fig.axes[1].texts] == ["slope −0.5"]


def test_trends_are_a_line_of_intervals_for_each_network():
    fig = bare(figures.trends, GROWN, "samples", "accuracy", data=BEST)
    assert [ax.get_xscale() for ax in fig.axes] == ["log"] * 2
    assert [ticks(ax.xaxis) for ax in fig.axes] == [["10", "20", "40"]] * 2
    assert heights(fig) == [90]
    line, _, (bars,) = fig.axes[1].containers[0]
    assert line.get_ydata().tolist() == [20, 30, 50]
    assert bars.get_segments()[0][:, 1].tolist() == [19, 22]
    plain = bare(figures.trends, NORMS, "layer", "norm", ["when", "dataset"], log="y")
    (line, _) = plain.axes[2].lines
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.2, 0.02, 0.002])


def test_forest_fills_what_excludes_zero():
    left, right = bare(figures.forest, FOREST).axes
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


def test_regions_show_answers_and_where_the_best_possible_ones_change(given):
    fig = bare(figures.regions, given.data, given.networks, halves, resolution=120)
    one, _, best, other, _ = (ax for ax in fig.axes if ax.get_visible())
    side = given.data["A"].Yt.min(), given.data["A"].Yt.max()
    assert [len(ax.collections) for ax in (one, best, other)] == [2, 2, 1]
    x, y = np.concatenate([p.vertices for p in one.collections[0].get_paths()]).T
    np.testing.assert_allclose(x, 1, atol=np.ptp(side) / 29)
    assert np.ptp(y) > 25 * np.ptp(side) / 29
    image = one.images[0].get_array()
    points = np.linspace(*side, 120)
    assert image[90, 20] == np.argmax([points[20], points[90], 1 - points[20]])
    np.testing.assert_array_equal(best.images[0].get_array()[5], points >= 1)


def test_regions_of_more_features_lie_in_the_plane_of_the_samples(given):
    """Five features in a plane: the same picture as of the two that span it."""
    two = given.data["A"]
    spread = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))[0]
    Yt, Yv = (spread @ Y + 1 for Y in (two.Yt, two.Yv))
    five = replace(two, Yt=Yt, Yv=Yv)

    def predict(X):
        off = X - 1 - spread @ (spread.T @ (X - 1))
        np.testing.assert_allclose(off, 0, atol=1e-5)
        return np.stack([X[0], 1 - X[0], X[0] - 1])

    unknown = {"best": lambda *_: None, "resolution": 20}
    fig = bare(figures.regions, {"A": five}, {("A", "one"): predict}, **unknown)
    (ax,) = (ax for ax in fig.axes if ax.get_visible())
    dots = ax.collections[-1].get_offsets()
    _, D = tables.view(five)
    np.testing.assert_allclose(dots, (D.T @ (Yv - Yt.mean(axis=1)[:, None])).T)
    assert np.ptp(ax.images[0].get_array()) == 1


def test_colours_and_names_of_classes_repeat_after_ten(given):
    few, one_hot = given.data["A"], np.eye(25)
    Ct, Cv = one_hot[:, np.arange(30) % 25], one_hot[:, np.zeros(50, int)]
    many = replace(few, Yt=few.Yt[:, :30], Ct=Ct, Cv=Cv)
    fig = bare(figures.scatter, {"A": many})
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert len(names) == 10
    assert (names[0], names[9]) == ("class 1, 11, …", "class 10, 20")
    (dots,) = fig.axes[0].collections
    colours = dots.to_rgba(dots.get_array())
    assert len(np.unique(colours[:25], axis=0)) == 10
    np.testing.assert_array_equal(colours[:10], colours[10:20])
