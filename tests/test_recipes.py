import csv
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.linear_model import LogisticRegression

from data import recipes
from data.matfile import DATA, DatasetError, digest, path_of, read
from data.recipes import RECIPES, draw
from helpers.datasets import NAMES, load

CLASSES = {"Peaks": 5, "SwissRoll": 2, "GMM": 5}
CEILINGS = {"Peaks": 0.936, "SwissRoll": 0.974, "GMM": 0.975}
LINEAR = {"Peaks": 0.58, "SwissRoll": 0.53, "GMM": 0.52}
WRONG = {"Peaks": 0.016, "SwissRoll": 0.019, "GMM": 0.016}


@pytest.fixture(scope="module")
def drawn(our_data):
    return {name: read(path_of(name, our_data)) for name in NAMES}


@pytest.fixture(scope="module")
def ceilings():
    with (DATA / "ceilings.csv").open(newline="") as file:
        return {row["dataset"]: row for row in csv.DictReader(file)}


def joined(arrays):
    """Training and validation together: positions and class numbers."""
    Y = np.concatenate([arrays["Yt"], arrays["Yv"]], axis=1)
    return Y, np.concatenate([arrays["Ct"], arrays["Cv"]], axis=1).argmax(axis=0)


# --- what is drawn ---


def test_the_committed_ledger_is_that_of_the_draws(drawn, ceilings, our_data):
    ledgers = [(folder / "ceilings.csv").read_bytes() for folder in (our_data, DATA)]
    assert ledgers[0] == ledgers[1]
    for name in NAMES:
        assert ceilings[name]["sha256"] == digest(drawn[name])
        assert load(name, our_data).seed == RECIPES[name].seed


@pytest.mark.parametrize("name", NAMES)
def test_label_noise(drawn, name):
    """Positions stay; in every class the same share of labels becomes each other one.

    Before it, the classes are equally frequent.
    """
    noiseless = draw(replace(RECIPES[name], redrawn=0.0))
    (Y, noisy), (Y0, labels) = joined(drawn[name]), joined(noiseless)
    assert np.array_equal(Y, Y0)
    k, m = CLASSES[name], RECIPES[name].per_class
    found = np.histogram2d(labels, noisy, bins=k)[0]
    assert found.sum(axis=1).tolist() == [m] * k
    wrong, p = found[~np.eye(k, dtype=bool)], WRONG[name] / (k - 1)
    assert np.all(abs(wrong - m * p) < 4 * np.sqrt(m * p))


@pytest.mark.parametrize("name", NAMES)
def test_linear_classifier_does_as_on_the_course_files(drawn, name):
    Yt, Ct, Yv, Cv = drawn[name].values()
    linear = LogisticRegression(C=1e6).fit(Yt.T, Ct.argmax(axis=0))
    accuracy = linear.score(Yv.T, Cv.argmax(axis=0))
    assert accuracy == pytest.approx(LINEAR[name], abs=0.01)


def without_noise(monkeypatch, name, points, sigma, n):
    """Return the exact points, after a look at the noise that is added to them."""
    noisy = points(np.random.default_rng(5), n)
    monkeypatch.setattr(recipes, name, 0)
    exact = points(np.random.default_rng(5), n)
    noise = (noisy - exact).ravel()
    assert abs(noise.std() / sigma - 1) < 4 / np.sqrt(2 * noise.size)
    assert kstest(noise / sigma, "norm").pvalue > 0.01
    return exact


def test_peaks_classes_follow_the_function(monkeypatch):
    """Highest at (−0.009, 1.581), lowest at (0.228, −1.626), 0.981 at the origin.

    Without noise the points are grid points of their class, uniformly drawn.
    """
    axis, classes = recipes.peaks_classes()
    assert (axis[0], axis[-1], axis.size) == (-3, 3, 256)

    def at(x, y):
        return classes[abs(axis - x).argmin(), abs(axis - y).argmin()]

    # With range −6.55 … 8.08 the classes end at −3.62, −0.70, 2.23 and 5.15.
    assert (at(0.228, -1.626), at(-0.009, 1.581)) == (0, 4)
    assert at(0, 0) == at(3, 3) == at(-3, -3) == 2
    assert at(1.286, -0.005) == 3  # a local maximum of 3.59
    assert at(-1.348, 0.205) == 1  # a local minimum of −3.05
    points, n = recipes.peaks_points, 4000
    exact = without_noise(monkeypatch, "PEAKS_NOISE", points, 0.058, n)
    i, j = np.searchsorted(axis, exact[:, 0]), np.searchsorted(axis, exact[:, 1])
    assert np.array_equal(np.stack([axis[i], axis[j]], axis=1), exact)
    for c in range(5):
        assert set(classes[i[c], j[c]]) == {c}
        cells = axis[np.argwhere(classes == c)]
        error = abs(exact[c].mean(axis=1) - cells.mean(axis=0))
        assert np.all(error < 4 * cells.std(axis=0) / np.sqrt(n))


def test_swiss_roll_curves(monkeypatch):
    points, n = recipes.swiss_points, 12_500
    exact = without_noise(monkeypatch, "SWISS_NOISE", points, 0.04, n)
    for inner, (x, y) in zip((0.0, 0.2), exact, strict=True):
        r = np.hypot(x, y)
        assert kstest(r - inner, "uniform").pvalue > 0.01
        np.testing.assert_allclose(x, r * np.cos(4 * np.pi * (r - inner)), atol=1e-12)
        np.testing.assert_allclose(y, r * np.sin(4 * np.pi * (r - inner)), atol=1e-12)


def test_mixture_is_as_described():
    means, factors = recipes.mixture(np.random.default_rng(RECIPES["GMM"].seed))
    assert abs(means.std() / 0.66 - 1) < 4 / np.sqrt(2 * means.size)
    gram = np.swapaxes(factors, -1, -2) @ factors
    deviations = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    np.testing.assert_allclose(gram, deviations[..., None] ** 2 * np.eye(5), atol=1e-12)
    assert np.all(np.diff(deviations) >= 0)
    assert np.all(deviations >= np.array([0.08, 0.09, 0.13, 0.195, 0.21]) - 1e-9)
    assert np.all(deviations <= np.array([0.08, 0.20, 0.215, 0.225, 0.24]) + 1e-9)


# --- densities and ceilings ---


@pytest.mark.parametrize(
    ("density", "likelihood", "reach"),
    [
        (recipes.peaks_density, recipes.peaks_likelihood, 3.35),
        (partial(recipes.swiss_density, nodes=1000), recipes.swiss_likelihood, 1.45),
    ],
)
def test_densities_integrate_to_one_and_are_those_of_single_points(
    density, likelihood, reach
):
    a, step = np.linspace(-reach, reach, 300, retstep=True)
    mass = density(a).sum(axis=(1, 2)) * step**2
    np.testing.assert_allclose(mass, 1, atol=1e-6)
    a = np.linspace(-0.9, 1.1, 7)
    X = np.stack(np.meshgrid(a, a, indexing="ij")).reshape(2, -1)
    expected = density(a).reshape(-1, 49)
    np.testing.assert_allclose(likelihood(X, None), expected, rtol=1e-9)


@pytest.mark.parametrize("distance", [0.5, 4.0])
def test_integral_of_two_gaussians_is_the_known_bayes_accuracy(distance):
    """Equal spheres at distance d: accuracy Φ(d / 2σ), here with σ = 1."""
    known = norm.cdf(distance / 2)
    for reach in (9, 1):
        a, step = np.linspace(-reach, reach, 300, retstep=True)
        line = norm.pdf(a)
        sides = norm.pdf(a, -distance / 2), norm.pdf(a, distance / 2)
        density = np.stack([np.outer(side, line) for side in sides])
        accuracy, error = recipes.integrate(density, step)
        assert abs(accuracy - known) <= error
        assert error < 1e-3 if reach == 9 else error > 0.5  # what the grid misses


@pytest.mark.parametrize("name", NAMES)
def test_ceiling_agrees_with_other_samples(ceilings, name):
    """The integral, the mean largest posterior at 1000 points a class, and the hits."""
    recipe, k = RECIPES[name], CLASSES[name]
    first, second = (np.random.default_rng(recipe.seed) for _ in range(2))
    X = np.concatenate(recipe.points(first, 1000), axis=1)
    p = recipe.likelihood(X, second)
    largest = p.max(axis=0) / p.sum(axis=0)
    hits = p.argmax(axis=0) == np.repeat(np.arange(k), 1000)
    stored, error = (float(ceilings[name][v]) for v in ("ceiling", "error"))
    for right in (largest, hits):
        accuracy = (1 - recipe.redrawn) * right.mean() + recipe.redrawn / k
        assert abs(accuracy - stored) < 3 * right.std() / np.sqrt(right.size) + error
    assert error < 1e-4
    assert stored == pytest.approx(CEILINGS[name], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_bayes_classifier_of_the_samples_is_as_good_as_the_ceiling(our_data, name):
    data = load(name, our_data)
    right = recipes.bayes_classes(data, data.Yv) == data.Cv.argmax(axis=0)
    error = np.sqrt(data.ceiling * (1 - data.ceiling) / right.size)
    assert right.mean() == pytest.approx(data.ceiling, abs=3 * error)
    assert recipes.bayes_classes(replace(data, seed=None), data.Yv) is None


@pytest.mark.parametrize("classes", [2, 5])
def test_ceiling_counts_label_noise(classes):
    """Simulate a classifier that is right 90 % of the time before noise."""
    rng = np.random.default_rng(1)
    truth = rng.integers(classes, size=400_000)
    wrong = (truth + rng.integers(1, classes, truth.size)) % classes
    answer = np.where(rng.random(truth.size) < 0.9, truth, wrong)
    scored = np.mean(answer == recipes.relabel(truth, classes, 0.3, rng))
    changes = {"best": lambda _: (0.9, 0.01), "classes": classes, "redrawn": 0.3}
    accuracy, error = recipes.ceiling(replace(RECIPES["GMM"], **changes))
    assert abs(accuracy - scored) < 4 * np.sqrt(0.25 / truth.size)
    assert error == pytest.approx(0.007)


# --- what is written ---


@pytest.fixture
def small(monkeypatch):
    """The same recipes with few samples and a ceiling that takes no time."""
    few = {
        name: replace(recipe, per_class=50, best=lambda _: (0.9, 1e-4))
        for name, recipe in RECIPES.items()
    }
    monkeypatch.setattr(recipes, "RECIPES", few)
    return few


def contents(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.iterdir()
    }


def test_writing_twice_gives_the_same_bytes_and_touches_nothing(tmp_path, small):
    recipes.write(tmp_path)
    one = contents(tmp_path)
    recipes.write(tmp_path)
    assert contents(tmp_path) == one
    assert set(one) == {*(f"{name}Data.mat" for name in NAMES), "ceilings.csv"}
    (tmp_path / "other").mkdir()
    recipes.write(tmp_path / "other")
    for name, (content, *_) in contents(tmp_path / "other").items():
        assert content == one[name][0]
    for name in NAMES:
        start = f"MATLAB 5.0 MAT-file, {name}Data by data/recipes.py, seed ".encode()
        assert one[f"{name}Data.mat"][0].startswith(start)
        assert load(name, tmp_path).ceiling == pytest.approx(0.9, abs=0.02)


def test_older_draws_are_replaced_even_after_an_interruption(
    tmp_path, small, monkeypatch
):
    """New seeds, stopped after the first file: the next run finishes the work."""
    recipes.write(tmp_path)
    before = contents(tmp_path)
    for name in ("Peaks", "SwissRoll"):
        small[name] = replace(small[name], seed=small[name].seed + 1)
    with monkeypatch.context() as patch:
        stop = Mock(side_effect=KeyboardInterrupt)

        def write_one(path, content):
            path.write_bytes(content)
            patch.setattr(recipes, "replace_file", stop)

        patch.setattr(recipes, "replace_file", write_one)
        with pytest.raises(KeyboardInterrupt):
            recipes.write(tmp_path)
    recipes.write(tmp_path)
    assert {name: load(name, tmp_path).seed for name in small} == {
        name: recipe.seed for name, recipe in small.items()
    }
    after = contents(tmp_path)
    assert [name for name in after if after[name] == before[name]] == ["GMMData.mat"]


def foreign():
    """A user's own Peaks under the name of our GMM: valid, but not drawn here."""
    other = replace(RECIPES["Peaks"], per_class=20, seed=123)
    return recipes.mat_bytes("GMM", other, draw(other))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("GMMData.mat", foreign, r"GMMData\.mat was not drawn by .* nothing"),
        ("GMMData.mat", lambda: b"no", r"GMMData\.mat was not drawn by .* nothing"),
        ("ceilings.csv", lambda: b"nonsense\n1\n", r"ceilings\.csv: expected"),
    ],
)
def test_what_is_not_ours_is_never_overwritten(
    tmp_path, started, name, content, sentence
):
    if started:
        recipes.write(tmp_path)
        (tmp_path / "PeaksData.mat").unlink()
    (tmp_path / name).write_bytes(content())
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=sentence):
        recipes.write(tmp_path)
    with pytest.raises(SystemExit, match=sentence):
        recipes.main(tmp_path)
    assert contents(tmp_path) == before
