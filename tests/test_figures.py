"""Figures: what is drawn is labelled, and saved the same way every time."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import checks, figures, results


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


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(1)
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return {
        dataset: {
            label: {name: rng.uniform(0.1, 0.9, (6, 3)) for name in names}
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


def test_taylor_fills_the_fitted_steps(tests):
    fig = figures.taylor(tests[:1], 1)
    filled = {
        line.get_label(): line.get_xdata()
        for line in fig.axes[0].get_lines()
        if not line.get_label().startswith("_")
    }
    assert list(filled) == ["without derivative", "with derivative"]
    for steps in filled.values():
        np.testing.assert_array_equal(steps, tests[0].steps[tests[0].fitted])
    assert legend(fig) == list(filled)


def test_taylor_numbers_are_those_of_the_tests(tests):
    numbers = figures.taylor_numbers(tests)
    wrong = numbers[numbers["test"] == "f: wrong"]
    np.testing.assert_array_equal(wrong["step"], tests[1].steps)
    np.testing.assert_array_equal(
        wrong[["without derivative", "with derivative"]].T, tests[1].residuals
    )


@pytest.mark.parametrize("groups", [1, 3, 4])
def test_overlay_counts_what_passes(tests, groups):
    fig = figures.overlay({f"group {i}": tests for i in range(groups)})
    titles = grid(fig, "title")
    assert len(titles) == groups
    assert titles[0].startswith("group 0\n3 of 4 pass, order ≥ 1.0")
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
    histories = {"A": {"one": {"train_loss": np.array([3.0, 2, 1])}}}
    fig = figures.learning_curves(histories, ["train_loss"])
    assert fig.axes[0].get_lines()[0].get_ydata().tolist() == [3, 2, 1]


def test_curve_numbers_are_mean_and_sd_of_every_epoch(curves):
    numbers = figures.curve_numbers(curves, ["train_loss"], every=2)
    rows = numbers[(numbers["dataset"] == "B") & (numbers["run"] == "lr 1")]
    values = curves["B"]["lr 1"]["train_loss"]
    assert rows["epoch"].tolist() == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(rows["train_loss"], values.mean(axis=1))
    np.testing.assert_allclose(rows["train_loss sd"], values.std(axis=1, ddof=1))


@ceilings_known
def test_training_shows_both_accuracies_and_the_loss(curves, ceilings, known):
    fig = figures.training(curves, ceilings)
    assert grid(fig, "ylabel") == ["accuracy / %", "", "training loss", ""]
    assert grid(fig, "xlabel") == ["", "", "epoch", "epoch"]
    assert legend(fig)[:2] == ["lr 0.1, train", "lr 0.1, validation"]
    assert ("ceiling" in legend(fig)) == known


@pytest.mark.parametrize("shared", [True, False])
def test_convergence_is_labelled_and_draws_predicted_levels(curves, shared):
    levels = {"A": {"lr 1": 0.2}}
    fig = figures.convergence(losses(curves), "loss above minimum", levels, shared)
    assert grid(fig, "ylabel") == ["loss above minimum", ""]
    assert grid(fig, "xlabel") == ["epoch", "epoch"]
    assert grid(fig, "yscale") == ["log", "log"]
    assert [len(ax.get_lines()) for ax in fig.axes] == [3, 2]
    boxes = fig.legends if shared else [ax.get_legend() for ax in fig.axes]
    assert all(len(box.get_texts()) == 2 for box in boxes)


def test_convergence_numbers_are_mean_and_range(curves):
    numbers = figures.convergence_numbers(losses(curves))
    rows = numbers[(numbers["panel"] == "A") & (numbers["run"] == "lr 1")]
    values = curves["A"]["lr 1"]["train_loss"]
    expected = np.stack([values.mean(axis=1), values.min(axis=1), values.max(axis=1)])
    np.testing.assert_allclose(rows[["mean", "least", "greatest"]].T, expected)


@ceilings_known
def test_accuracies_name_networks_and_percent(table, ceilings, known):
    fig = figures.accuracies(table, ceilings)
    assert grid(fig, "ylabel") == ["accuracy / %", ""]
    for ax in fig.axes:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]
    assert sorted(legend(fig)) == ["ceiling"] * known + ["train", "validation"]
    heights = [100 * ceiling for ceiling in ceilings.values() if ceiling]
    assert ceiling_heights(fig) == pytest.approx(heights)


def test_regions_show_what_the_network_predicts_where(blobs):
    fig = figures.regions(two_rows(blobs), resolution=30)
    assert grid(fig, "title") == ["one", "two", "one", "two"]
    assert grid(fig, "ylabel") == ["A", "", "B", ""]
    image, side = fig.axes[0].images[0].get_array(), blobs().Yt
    assert image.shape == (30, 30)
    x, y = 1 - 1e-9, side.min() + 28.5 / 30 * (side.max() - side.min())
    column = int((x - side.min()) / (side.max() - side.min()) * 30)
    assert image[28, column] == np.argmax([x, y, 1 - x])
    assert image[1, 28] == 0


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
def drawings(tests, curves, table, blobs):
    """Every figure the module can draw."""
    points, one = figures.plane({"A": blobs()}), {"A": curves["A"]}
    return {
        "taylor": lambda: figures.taylor(tests[:2], 2),
        "overlay": lambda: figures.overlay({"all": tests}, 1),
        "curves": lambda: figures.learning_curves(one, ["train_loss"]),
        "training": lambda: figures.training(one, {"A": 0.9}),
        "convergence": lambda: figures.convergence(losses(one), "gap"),
        "accuracies": lambda: figures.accuracies(table, {"A": 0.9, "B": None}),
        "regions": lambda: figures.regions(two_rows(blobs), resolution=20),
        "scatter": lambda: figures.scatter(points),
    }


NAMES = "taylor overlay curves training convergence accuracies regions scatter"


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
