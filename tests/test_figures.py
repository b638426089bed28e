"""Figures: what is drawn is labelled, and saved the same way every time."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import checks
from report import figures, results


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep the project's own figures out of reach, and close what a test opens."""
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    yield tmp_path
    plt.close("all")


@pytest.fixture(scope="module")
def tests():
    rng = np.random.default_rng(0)
    found = checks.gradient_tests(
        "f",
        lambda *xs: sum(np.sin(x).sum(axis=-1) for x in xs[:3]) + xs[3].sum(axis=-1),
        lambda *xs: (np.cos(xs[0]), 1.1 * np.cos(xs[1]), np.cos(xs[2]), np.ones(2)),
        {name: np.ones(2) for name in ("right", "wrong", "also right", "affine")},
        rng,
    )[::2]
    assert [test.passed for test in found] == [True, False, True, True]
    return found


EPOCHS = np.array([0, 2, 4, 6, 8, 9])  # every second of 9, and the last


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(1)
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return {
        dataset: {
            label: {"epoch": EPOCHS}
            | {name: rng.uniform(0.1, 0.9, (6, 3)) for name in names}
            for label in ("lr 0.1", "lr 1")
        }
        for dataset in ("A", "B")
    }


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(2)
    numbers = rng.uniform(1, 90, (4, 4))
    frame = pd.DataFrame(
        numbers, columns=["train", "train sd", "validation", "validation sd"]
    )
    return frame.assign(dataset=["A", "A", "B", "B"], network=["x", "y", "x", "y"])


def losses(curves):
    return {
        title: {label: history["train_loss"] for label, history in lines.items()}
        for title, lines in curves.items()
    }


def two_rows(blobs):
    def predict(X):
        return np.stack([X[0], X[1], 1 - X[0]])

    data = blobs()
    return {name: (data, {"one": predict, "two": predict}) for name in ("A", "B")}


def legend(fig):
    (box,) = fig.legends
    return [text.get_text() for text in box.get_texts()]


def grid(fig, what):
    return [getattr(ax, f"get_{what}")() for ax in fig.axes if ax.get_visible()]


CEILINGS = [
    ({"A": 0.9, "B": 0.8}, True),
    ({"A": None, "B": 0.8}, True),
    ({"A": None, "B": None}, False),
]
ceilings_known = pytest.mark.parametrize(("ceilings", "known"), CEILINGS)


def ceiling_heights(fig):
    return [
        line.get_ydata()[0]
        for ax in fig.axes
        for line in ax.get_lines()
        if line.get_label() == "ceiling"
    ]


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_taylor_labels_the_lowest_panel_of_every_column(tests, columns):
    fig = figures.taylor(tests, columns)
    visible = [ax for ax in fig.axes if ax.get_visible()]
    assert len(visible) == 4
    lowest = visible[-columns:]
    assert [ax.get_xlabel() for ax in lowest] == columns * ["step ε"]
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in lowest)
    assert visible[0].get_ylabel() == "residual"
    assert {ax.get_xscale() for ax in visible} == {"log"}
    assert {ax.get_yscale() for ax in visible} == {"log"}


def test_taylor_titles_say_the_verdict(tests):
    titles = grid(figures.taylor(tests, 2), "title")
    assert [title.split("\n")[0] for title in titles] == [test.name for test in tests]
    assert [title[-4:] for title in titles] == ["pass", "FAIL", "pass", "pass"]


def test_taylor_draws_what_rounding_leaves_alone(tests):
    fig = figures.taylor(tests[:1], 1)
    lines = {line.get_label(): line for line in fig.axes[0].get_lines()}
    drawn = [lines[name].get_ydata() for name in figures.PARTS]
    assert legend(fig) == list(figures.PARTS)
    for y, residual in zip(drawn, tests[0].residuals[:, ::2], strict=True):
        seen = residual >= 2 * figures.FLOOR
        np.testing.assert_allclose(y[seen], residual[seen], rtol=0.05)
        assert np.isnan(y[residual < figures.FLOOR / 2]).all()


def test_taylor_numbers_are_those_of_the_tests_to_two_digits(tests):
    numbers = figures.taylor_numbers(tests)
    wrong = numbers[numbers["test"] == "f: wrong"]
    np.testing.assert_array_equal(wrong["step"], tests[1].steps[::2])
    first, second = wrong[list(figures.PARTS)].to_numpy().T
    residuals = tests[1].residuals[:, ::2]
    assert first[0] == float(f"{residuals[0, 0]:.1e}")
    np.testing.assert_allclose(second[:10], residuals[1, :10], rtol=0.05)


def test_a_last_digit_changes_no_file(tests):
    nudged = [
        replace(test, residuals=test.residuals * (1 + 1e-12) + 1e-16) for test in tests
    ]
    assert figures.taylor_numbers(nudged).equals(figures.taylor_numbers(tests))


@pytest.mark.parametrize("groups", [1, 3, 4])
def test_overlay_counts_what_passes(tests, groups):
    fig = figures.overlay({f"group {i}": tests for i in range(groups)})
    titles = grid(fig, "title")
    assert len(titles) == groups
    assert titles[0].startswith("group 0\n3 of 4 pass, lowest order 1.0")
    assert grid(fig, "xlabel")[-1] == "step ε"
    assert grid(fig, "ylabel")[0] == "residual"
    assert legend(fig) == ["without derivative", "with derivative"]


@ceilings_known
def test_learning_curves_are_labelled_with_units(curves, ceilings, known):
    quantities = ["validation_accuracy", "train_loss"]
    fig = figures.learning_curves(curves, quantities, ceilings)
    assert grid(fig, "ylabel") == ["validation accuracy / %", "", "train loss", ""]
    assert grid(fig, "xlabel") == ["", "", "epoch", "epoch"]
    assert grid(fig, "title") == ["A", "B", "", ""]
    assert grid(fig, "yscale") == ["linear", "linear", "log", "log"]
    assert sorted(legend(fig)) == ["ceiling"] * known + ["lr 0.1", "lr 1"]
    heights = [100 * ceiling for ceiling in ceilings.values() if ceiling]
    assert ceiling_heights(fig) == pytest.approx(heights)


def test_learning_curves_do_without_ceilings_and_draw_the_mean_in_percent(curves):
    fig = figures.learning_curves(curves, ["train_accuracy"])
    drawn = fig.axes[0].get_lines()[0].get_ydata()
    expected = 100 * curves["A"]["lr 0.1"]["train_accuracy"].mean(axis=1)
    np.testing.assert_allclose(drawn, expected)
    assert legend(fig) == ["lr 0.1", "lr 1"]


def test_learning_curves_take_a_single_network():
    history = {"epoch": np.arange(3), "train_loss": np.array([3.0, 2, 1])}
    histories = {"A": {"one": history}}
    fig = figures.learning_curves(histories, ["train_loss"])
    assert fig.axes[0].get_lines()[0].get_ydata().tolist() == [3, 2, 1]


def test_a_band_is_one_sd_to_each_side_but_stays_positive_on_a_log_axis():
    values = np.array([[1.0, 1, 10], [1, 1, 10]])
    history = {"epoch": np.arange(2), "train_loss": values}
    histories = {"A": {"x": history | {"train_accuracy": values / 100}}}
    fig = figures.learning_curves(histories, ["train_loss", "train_accuracy"])
    lowest = [ax.collections[0].get_paths()[0].vertices[:, 1].min() for ax in fig.axes]
    assert lowest == pytest.approx([1, 4 - np.sqrt(27)])


def test_long_curves_are_thinned_evenly_with_their_ends():
    values = np.arange(501.0)[:, None] * np.ones(3)
    epochs = 5 * np.arange(501)
    histories = {"A": {"one": {"epoch": epochs, "train_loss": 1 + values}}}
    (ax,) = figures.learning_curves(histories, ["train_loss"]).axes
    x, y = ax.get_lines()[0].get_data()
    assert x.tolist() == list(range(0, 2501, 50))
    np.testing.assert_allclose(y, 1 + x / 5)
    numbers = figures.curve_numbers(histories, ["train_loss"])
    np.testing.assert_array_equal(numbers["epoch"], x)
    np.testing.assert_allclose(numbers["train_loss"], y)


def test_curve_numbers_are_mean_and_sd_of_every_epoch(curves):
    numbers = figures.curve_numbers(curves, ["train_loss"])
    rows = numbers[(numbers["dataset"] == "B") & (numbers["run"] == "lr 1")]
    values = curves["B"]["lr 1"]["train_loss"]
    assert rows["epoch"].tolist() == EPOCHS.tolist()
    (line, *_) = figures.learning_curves(curves, ["train_loss"]).axes[1].get_lines()
    assert line.get_xdata().tolist() == EPOCHS.tolist()
    np.testing.assert_allclose(rows["train_loss"], values.mean(axis=1))
    np.testing.assert_allclose(rows["train_loss sd"], values.std(axis=1, ddof=1))


def test_a_failed_replica_is_left_out_of_mean_and_band(curves):
    """And all of them failed leave a gap, not an error."""
    history = curves["A"]["lr 1"]
    failed = {n: a.copy() for n, a in history.items()}
    sound = {n: a[..., -2:].copy() for n, a in history.items()} | {"epoch": EPOCHS}
    for name in ("train_loss", "train_accuracy"):
        failed[name][2:, 0] = np.nan
        sound[name][:2] = np.nan  # compared from where the first replica fails
    drawn = [
        figures.curve_numbers({"A": {"x": h}}, ["train_loss"]).iloc[2:]
        for h in (failed, sound)
    ]
    pd.testing.assert_frame_equal(*drawn, check_dtype=False)
    (ax,) = figures.learning_curves({"A": {"x": failed}}, ["train_loss"]).axes
    assert np.isfinite(ax.get_lines()[0].get_ydata()).all()
    failed["train_loss"][3:] = np.nan
    (ax,) = figures.learning_curves({"A": {"x": failed}}, ["train_loss"]).axes
    assert np.isnan(ax.get_lines()[0].get_ydata()).tolist() == 3 * [False] + 3 * [True]
    figures.convergence({"A": {"x": failed["train_loss"]}}, "loss")
    assert figures.convergence_numbers({"A": {"x": failed["train_loss"]}})[
        "mean"
    ].isna().tolist() == 3 * [False] + 3 * [True]


@ceilings_known
def test_training_shows_both_accuracies_and_the_loss(curves, ceilings, known):
    fig = figures.training(curves, ceilings)
    assert grid(fig, "ylabel") == ["accuracy / %", "", "training loss", ""]
    assert grid(fig, "xlabel") == ["", "", "epoch", "epoch"]
    assert legend(fig)[:2] == ["lr 0.1, train", "lr 0.1, validation"]
    assert ("ceiling" in legend(fig)) == known


def test_convergence_is_labelled_and_draws_mean_and_range(curves):
    fig = figures.convergence(losses(curves), "loss above minimum")
    assert grid(fig, "ylabel") == ["loss above minimum", ""]
    assert grid(fig, "xlabel") == ["epoch", "epoch"]
    assert grid(fig, "yscale") == ["log", "log"]
    assert legend(fig) == ["lr 0.1", "lr 1"]
    values = curves["A"]["lr 0.1"]["train_loss"]
    line, (band, _) = fig.axes[0].get_lines()[0], fig.axes[0].collections
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    heights = band.get_paths()[0].vertices[:, 1]
    assert [heights.min(), heights.max()] == pytest.approx([values.min(), values.max()])


def test_convergence_numbers_are_mean_and_range(curves):
    numbers = figures.convergence_numbers(losses(curves))
    rows = numbers[(numbers["panel"] == "A") & (numbers["run"] == "lr 1")]
    values = curves["A"]["lr 1"]["train_loss"]
    expected = np.stack([values.mean(axis=1), values.min(axis=1), values.max(axis=1)])
    np.testing.assert_allclose(rows[["mean", "least", "greatest"]].T, expected)


def test_descent_counts_steps_from_the_first_epoch_on(curves):
    level, slope = {"A": {"lr 1": 0.2}}, {"B": ("lr 0.1", -0.5)}
    fig = figures.descent(losses(curves), "distance", 50, level, slope)
    assert grid(fig, "ylabel") == ["distance", ""]
    assert grid(fig, "xlabel") == ["steps", "steps"]
    assert grid(fig, "xscale") == grid(fig, "yscale") == ["log", "log"]
    (one, _, predicted), (*_, guide) = (ax.get_lines() for ax in fig.axes)
    values = curves["A"]["lr 0.1"]["train_loss"]
    assert one.get_xdata().tolist() == [50, 100, 150, 200, 250]
    np.testing.assert_allclose(one.get_ydata(), values[1:].mean(axis=1))
    assert set(predicted.get_ydata()) == {0.2}
    end = curves["B"]["lr 0.1"]["train_loss"][-1].mean()
    assert guide.get_ydata()[[0, -1]] == pytest.approx([0.4 * end * 5**0.5, 0.4 * end])
    assert [text.get_text() for text in fig.axes[1].texts] == ["slope −0.5"]
    told = [[text.get_text() for text in box.get_texts()] for box in fig.legends]
    assert told == 2 * [["lr 0.1", "lr 1"]]


def test_descent_draws_what_a_log_axis_shows_apart_and_lists_what_it_draws():
    values = 1 / np.arange(1, 402)[:, None] * np.ones(3)
    curves = {"A": {"one": values, "two": 2 * values}}
    line, *_ = figures.descent(curves, "distance", 50, columns=1).axes[0].get_lines()
    x, y = line.get_data()
    assert len(x) <= 60
    assert x[[0, -1]].tolist() == [50, 400 * 50]
    assert np.diff(np.log(x)).max() < 1
    np.testing.assert_allclose(y, 1 / (x / 50 + 1))
    numbers = figures.descent_numbers(curves, 50)
    one = numbers[numbers["run"] == "one"]
    np.testing.assert_array_equal(one["steps"], x)
    np.testing.assert_array_equal(one["epoch"], x / 50)
    np.testing.assert_allclose(one["mean"], y)


def test_descent_has_rows_of_panels(curves):
    fig = figures.descent(losses(curves), "distance", 50, columns=1)
    assert grid(fig, "ylabel") == ["distance", "distance"]
    assert grid(fig, "xlabel") == ["", "steps"]


@ceilings_known
def test_accuracies_name_networks_and_percent(table, ceilings, known):
    fig = figures.accuracies(table, ceilings)
    assert grid(fig, "ylabel") == ["accuracy / %", ""]
    for ax in fig.axes:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]
    assert sorted(legend(fig)) == ["ceiling"] * known + ["train", "validation"]
    heights = [100 * ceiling for ceiling in ceilings.values() if ceiling]
    assert ceiling_heights(fig) == pytest.approx(heights)


def halves(data, X):
    """Return the classes (m,) of a classifier that asks whether x < 1."""
    return (X[0] >= 1).astype(int) if data.name == "A" else None


def test_regions_show_where_the_best_possible_classifier_changes_its_answer(blobs):
    rows = {name: (blobs(name=name), v[1]) for name, v in two_rows(blobs).items()}
    fig = figures.regions(rows, halves, resolution=120)
    lines = [
        np.concatenate(
            [path.vertices for c in ax.collections[1:] for path in c.get_paths()]
        )
        if ax.collections[1:]
        else None
        for ax in fig.axes
    ]
    assert lines[2] is lines[3] is None
    step = (blobs().Yt.max() - blobs().Yt.min()) / 29
    for line in lines[:2]:
        np.testing.assert_allclose(line[:, 0], 1, atol=step)
        assert np.ptp(line[:, 1]) > 25 * step


def test_regions_show_what_the_network_predicts_where(blobs):
    fig = figures.regions(two_rows(blobs), halves, resolution=30)
    assert grid(fig, "title") == ["one", "two", "one", "two"]
    assert grid(fig, "ylabel") == ["A", "", "B", ""]
    image, side = fig.axes[0].images[0].get_array(), blobs().Yt
    assert image.shape == (30, 30)
    x, y = 1 - 1e-9, side.min() + 28.5 / 30 * (side.max() - side.min())
    column = int((x - side.min()) / (side.max() - side.min()) * 30)
    assert image[28, column] == np.argmax([x, y, 1 - x])
    assert image[1, 28] == 0


MATRICES = {
    "A": np.array([[90.0, 10], [0.5, 99.5]]),
    "B": np.full((7, 7), 100 / 7),
}


def test_confusion_says_its_percentages_and_counts_classes_from_one():
    fig = figures.confusion(MATRICES)
    texts = [[text.get_text() for text in ax.texts] for ax in fig.axes]
    assert texts == [["90.0", "10.0", "0.5", "99.5"], ["14"] * 49]
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["1", "2"]
    assert grid(fig, "ylabel") == ["true class", ""]
    numbers = figures.confusion_numbers(MATRICES)
    assert len(numbers) == 4 + 49
    assert numbers.iloc[2].tolist() == ["A", 2, 1, 0.5]


@pytest.fixture(scope="module")
def grown():
    """Accuracies that grow with the samples, for two networks on two datasets."""
    frame = pd.DataFrame(
        [
            {"dataset": d, "network": n, "samples": m, "accuracy": shift + m}
            for d, shift in (("A", 0), ("B", 10))
            for n in ("x", "y")
            for m in (10, 20, 40)
        ]
    )
    return frame.assign(low=frame["accuracy"] - 1, high=frame["accuracy"] + 2)


def test_against_draws_a_line_of_intervals_for_each_network(grown):
    levels = {"A": 0.9, "B": None}
    fig = figures.against(grown, "samples", "accuracy", levels=levels)
    assert grid(fig, "title") == ["A", "B"]
    assert grid(fig, "xlabel") == ["samples"] * 2
    assert grid(fig, "ylabel") == ["accuracy", ""]
    assert grid(fig, "xscale") == ["log"] * 2
    for ax in fig.axes:
        assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "20", "40"]
    assert sorted(legend(fig)) == ["ceiling", "x", "y"]
    assert ceiling_heights(fig) == [90]
    line, _, (bars,) = fig.axes[1].containers[0]
    assert line.get_ydata().tolist() == [20, 30, 50]
    assert bars.get_segments()[0][:, 1].tolist() == [19, 22]


def test_against_marks_on_each_panel_what_is_there(grown):
    table = grown[(grown["dataset"] == "A") | (grown["samples"] < 40)]
    ticks = grid(figures.against(table, "samples", "accuracy"), "xticks")
    assert [list(some) for some in ticks] == [[10, 20, 40], [10, 20]]


FOREST = pd.DataFrame(
    {
        "dataset": ["A"] * 3 + ["B"] * 3,
        "remedy": ["x", "y", "z"] * 2,
        "difference": [2.0, -3, 1, 0, 0, 0],
        "low": [1.0, -4, -1, -1, -1, -1],
        "high": [4.0, -2, 3, 1, 1, 1],
    }
)


def test_forest_fills_what_excludes_zero():
    fig = figures.forest(FOREST, "remedy")
    assert grid(fig, "title") == ["A", "B"]
    assert grid(fig, "xlabel") == ["difference / points"] * 2
    ticks = fig.axes[0].get_yticklabels()
    assert [t.get_text() for t in ticks] == ["x", "y", "z"]
    assert fig.axes[0].yaxis_inverted()
    filled, hollow, zero = fig.axes[0].get_lines()[-3:]
    assert filled.get_xdata().tolist() == [2, -3]
    assert filled.get_ydata().tolist() == [0, 1]
    assert hollow.get_xdata().tolist() == [1]
    assert hollow.get_markerfacecolor() == "white"
    assert zero.get_xdata() == [0, 0]
    assert legend(fig) == ["excludes zero", "contains zero"]
    _, _, (bars,) = fig.axes[0].containers[0]
    assert bars.get_segments()[0][:, 0].tolist() == [1, 4]
    assert len(fig.axes[1].get_lines()[-3].get_xdata()) == 0


@pytest.fixture(scope="module")
def tried():
    """Two losses on one dataset, three rates, two batch sizes; one try diverged."""
    keys = pd.MultiIndex.from_product(
        [["ce", "ls"], ["A"], [64, 1024], [0.01, 0.1, 1]],
        names=["loss", "dataset", "batch size", "learning rate"],
    )
    found = [2, 1.5, 1.0005, 4, 3, 2, 0.5, 0.4, np.nan, 200, 0.6, 0.7]
    chosen = np.isin(found, [1.5, 0.4])
    return keys.to_frame(index=False).assign(found=found, chosen=chosen)


def test_tries_are_labelled_and_every_cell_says_its_number(tried):
    fig = figures.tries(tried, "found")
    ce, ls, bar = fig.axes
    assert [ax.get_title() for ax in (ce, ls)] == ["A, ce", "A, ls"]
    assert [ls.get_xlabel(), ls.get_ylabel()] == ["batch size", "learning rate"]
    assert [tick.get_text() for tick in ls.get_xticklabels()] == ["64", "1024"]
    assert [tick.get_text() for tick in ls.get_yticklabels()] == ["0.01", "0.1", "1"]
    assert bar.get_ylabel() == "found above the lowest / %"
    cells = {text.get_position(): text.get_text() for text in ls.texts}
    expected = ["0.500", "0.400", "diverged", "2e+02", "0.600", "0.700"]
    assert [cells[x, y] for x in range(2) for y in range(3)] == expected


def test_tries_frame_the_chosen_and_shade_the_distance_from_the_lowest(tried):
    ce, ls, _ = figures.tries(tried, "found").axes
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


def test_norms_have_a_row_for_each_moment_and_a_line_for_each_network():
    frame = pd.DataFrame(
        [
            {
                "dataset": d,
                "when": w,
                "network": n,
                "layer": x,
                "norm": 10.0**-x * scale,
            }
            for d in ("A", "B")
            for w, scale in (("before", 1), ("after", 2))
            for n in ("x", "y")
            for x in (1, 2, 3)
        ]
    )
    fig = figures.norms(frame)
    titles = ["A, before", "B, before", "A, after", "B, after"]
    assert grid(fig, "title") == titles
    assert grid(fig, "yscale") == ["log"] * 4
    assert grid(fig, "xlabel") == ["", "", "layer", "layer"]
    assert legend(fig) == ["x", "y"]
    (line, _) = fig.axes[2].lines
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.02, 0.002])


def test_plane_keeps_two_features_and_projects_more(blobs, draw):
    data = blobs()
    X, C = draw(features=5, m=80)
    X = X * np.array([5, 1, 1, 3, 1])[:, None]
    many = type(data)("many", X, C, X, C)
    points = figures.plane({"two": data, "five": many})
    two, five = (points[points["dataset"] == name] for name in ("two", "five"))
    np.testing.assert_array_equal(two[["first", "second"]].T, data.Yt)
    np.testing.assert_array_equal(five["class"], C.argmax(axis=0))
    largest = np.sort(np.linalg.eigvalsh(np.cov(X)))[::-1][:2]
    np.testing.assert_allclose(five[["first", "second"]].var(), largest)
    assert grid(figures.scatter(points), "title") == ["two", "five"]


@pytest.fixture
def drawings(tests, curves, table, blobs, grown, tried):
    """Every figure the module can draw."""
    points, one = figures.plane({"A": blobs()}), {"A": curves["A"]}
    return {
        "taylor": lambda: figures.taylor(tests[:2], 2),
        "overlay": lambda: figures.overlay({"all": tests}, 1),
        "curves": lambda: figures.learning_curves(one, ["train_loss"]),
        "training": lambda: figures.training(one, {"A": 0.9}),
        "convergence": lambda: figures.convergence(losses(one), "gap"),
        "descent": lambda: figures.descent(losses(one), "d", 50, columns=1),
        "forest": lambda: figures.forest(FOREST, "remedy"),
        "tries": lambda: figures.tries(tried, "found"),
        "accuracies": lambda: figures.accuracies(table, {"A": 0.9, "B": None}),
        "regions": lambda: figures.regions(two_rows(blobs), halves, resolution=20),
        "scatter": lambda: figures.scatter(points),
        "confusion": lambda: figures.confusion(MATRICES),
        "against": lambda: figures.against(grown, "samples", "accuracy"),
    }


NAMES = """taylor overlay curves training convergence accuracies regions scatter
    confusion against descent forest tries"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_figure_is_saved_the_same_way_twice(folder, drawings, table, name):
    saved = []
    for _ in range(2):
        fig = drawings[name]()
        shown = figures.save(fig, name, table)
        saved.append((folder / f"{name}.svg").read_bytes())
        assert shown.data.startswith("<svg")
        assert not plt.fignum_exists(fig.number)
    assert saved[0] == saved[1]
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.csv", f"{name}.svg"]
    assert results.read_csv(name, "any")["network"].tolist() == ["x", "y", "x", "y"]
    assert b"<text" in saved[0]
    assert b"dc:date" not in saved[0]
    assert fig.get_figwidth() == figures.WIDTH


def test_a_last_digit_of_a_place_changes_no_id(folder):
    written = []
    for width in (1, 1 + 1e-13):  # Matplotlib's ids are hashes of all digits
        fig, ax = plt.subplots()
        ax.plot([0, width], [0, 1], marker="o")
        ax.set_position([0.1, 0.1, 0.8 * width, 0.8])
        figures.save(fig, "nudged", pd.DataFrame({"x": [1.0]}))
        written.append((folder / "nudged.svg").read_text())
    assert written[0] == written[1]
    assert 'id="nudged-1"' in written[0]
