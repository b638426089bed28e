import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.linear_model import LogisticRegression

from data import recipes
from data.matfile import DATA, VARIABLES, DatasetError, digest
from data.recipes import RECIPES, draw, relabel
from helpers.datasets import NAMES, load

SIZES = {
    "Peaks": (2, 5, 25000, 6250),
    "SwissRoll": (2, 2, 20000, 5000),
    "GMM": (5, 5, 25000, 6250),
}
EXPECTED = {"Peaks": 0.936, "SwissRoll": 0.974, "GMM": 0.975}
LINEAR = {"Peaks": 0.58, "SwissRoll": 0.53, "GMM": 0.52}


@pytest.fixture(scope="module")
def drawn():
    return {name: draw(RECIPES[name]) for name in NAMES}


@pytest.fixture(scope="module")
def noiseless():
    """The same draws without label noise."""
    return {name: draw(replace(RECIPES[name], redrawn=0.0)) for name in NAMES}


@pytest.fixture(scope="module")
def ceilings():
    with (DATA / "ceilings.csv").open(newline="") as file:
        return {row["dataset"]: row for row in csv.DictReader(file)}


def joined(arrays):
    """Training and validation together: positions and class numbers."""
    Y = np.concatenate([arrays["Yt"], arrays["Yv"]], axis=1)
    return Y, np.concatenate([arrays["Ct"], arrays["Cv"]], axis=1).argmax(axis=0)


def fresh(name, n, seed=99):
    """n new points of each class of the committed recipe, joined, and their density.

    The densities are computed at the points themselves, not on a grid.
    """
    recipe, rng = RECIPES[name], np.random.default_rng(seed)
    if name != "GMM":
        X = np.concatenate(recipe.points(rng, n), axis=1)
        return X, {"Peaks": peaks_at, "SwissRoll": swiss_at}[name](X)
    gaussians = recipes.mixture(np.random.default_rng(recipe.seed))
    X = np.concatenate(recipes.mixture_points(*gaussians, rng, n), axis=1)
    return X, recipes.mixture_density(*gaussians, X)


def peaks_at(X):
    axis, classes = recipes.peaks_classes()
    Kx, Ky = (norm.pdf(x[:, None], axis, 0.058) for x in X)
    masks = [classes == c for c in range(5)]
    return np.stack([((Kx @ mask) * Ky).sum(axis=1) / mask.sum() for mask in masks])


def swiss_at(X):
    r = (np.arange(1500) + 0.5) / 1500
    turn = np.exp(4j * np.pi * r)
    distance2 = [
        abs((X[0] + 1j * X[1])[:, None] - (r + g) * turn) ** 2 for g in (0, 0.2)
    ]
    factor = 2 * np.pi * 0.04**2
    return np.stack(
        [np.exp(-d / (2 * 0.04**2)).mean(axis=1) / factor for d in distance2]
    )


# --- what is drawn ---


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_types(drawn, name):
    features, classes, train, validation = SIZES[name]
    arrays = drawn[name]
    assert tuple(arrays) == VARIABLES
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
    shapes = [(features, train), (classes, train), (features, validation)]
    assert [a.shape for a in arrays.values()] == [*shapes, (classes, validation)]
    for C in (arrays["Ct"], arrays["Cv"]):
        assert np.array_equal(np.sort(C, axis=0)[-1], np.ones(C.shape[1]))
        assert C.sum() == C.shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_those_of_the_committed_ledger(drawn, ceilings, our_data, name):
    written = load(name, our_data)
    for v in VARIABLES:
        assert np.array_equal(getattr(written, v), drawn[name][v])
    assert ceilings[name]["sha256"] == digest(drawn[name])
    assert written.seed == RECIPES[name].seed == int(ceilings[name]["seed"])


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_equal_before_label_noise(noiseless, name):
    counts = np.bincount(joined(noiseless[name])[1])
    assert set(counts) == {RECIPES[name].per_class}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("Peaks", 0.016), ("SwissRoll", 0.019), ("GMM", 0.016)],
)
def test_label_noise(drawn, noiseless, name, wrong):
    """Positions stay; the share of wrong labels is as in the recipe, in every class."""
    (Y, noisy), (Y0, labels) = joined(drawn[name]), joined(noiseless[name])
    assert np.array_equal(Y, Y0)
    for c in range(SIZES[name][1]):
        for share, m in (
            (np.mean(noisy[labels == c] != c), np.sum(labels == c)),
            (np.mean(labels[noisy == c] != c), np.sum(noisy == c)),
        ):
            assert abs(share - wrong) < 4 * np.sqrt(wrong * (1 - wrong) / m)


def test_wrong_labels_are_spread_over_all_other_classes():
    labels = np.repeat(np.arange(5), 20_000)
    noisy = relabel(labels, 5, 0.02, np.random.default_rng(1))
    confusions = np.histogram2d(labels, noisy, bins=5)[0]
    wrong = confusions[~np.eye(5, dtype=bool)]
    assert np.all(abs(wrong - 80) < 4 * np.sqrt(80))


@pytest.mark.parametrize("name", NAMES)
def test_split_is_random(drawn, name):
    """Both parts are mixed: no trend along the columns, the same shares of classes."""
    for part in ("Ct", "Cv"):
        C = drawn[name][part]
        k, m = C.shape
        for shares in (C[:, : m // 2].mean(axis=1), C[:, ::2].mean(axis=1)):
            assert np.all(abs(shares - 1 / k) < 4 * np.sqrt(1 / k / (m / 2)))
    Yt, Yv = drawn[name]["Yt"], drawn[name]["Yv"]
    gap = abs(Yt.mean(axis=1) - Yv.mean(axis=1))
    assert np.all(gap < 4 * Yv.std(axis=1) / np.sqrt(Yv.shape[1]))
    assert np.unique(np.concatenate([Yt, Yv], axis=1), axis=1).shape[1] > 0.999 * (
        Yt.shape[1] + Yv.shape[1]
    )


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_draws_other_points(drawn, name):
    other = draw(replace(RECIPES[name], seed=RECIPES[name].seed + 1))
    assert not np.isin(other["Yt"][0], drawn[name]["Yt"][0]).mean() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_linear_classifier_does_as_on_the_course_files(drawn, name):
    Yt, Ct, Yv, Cv = drawn[name].values()
    linear = LogisticRegression(C=1e6).fit(Yt.T, Ct.argmax(axis=0))
    assert linear.score(Yv.T, Cv.argmax(axis=0)) == pytest.approx(
        LINEAR[name], abs=0.01
    )


# --- Peaks ---


def test_peaks_classes_follow_the_function():
    """Highest at (−0.009, 1.581), lowest at (0.228, −1.626), 0.981 at the origin."""
    axis, classes = recipes.peaks_classes()
    assert (axis[0], axis[-1], axis.size) == (-3, 3, 256)

    def at(x, y):
        return classes[abs(axis - x).argmin(), abs(axis - y).argmin()]

    assert at(-0.009, 1.581) == 4
    assert at(0.228, -1.626) == 0
    # With range −6.55 … 8.08 the classes end at −3.62, −0.70, 2.23 and 5.15.
    assert at(0, 0) == at(3, 3) == at(-3, -3) == 2
    assert at(1.286, -0.005) == 3  # a local maximum of 3.59
    assert at(-1.348, 0.205) == 1  # a local minimum of −3.05


def test_peaks_position_noise(monkeypatch):
    """Without noise the points are grid points of their class, uniformly drawn."""
    points = recipes.peaks_points(np.random.default_rng(5), 4000)
    monkeypatch.setattr(recipes, "PEAKS_NOISE", 0)
    exact = recipes.peaks_points(np.random.default_rng(5), 4000)
    noise = (points - exact).ravel()
    assert abs(noise.std() / 0.058 - 1) < 4 / np.sqrt(2 * noise.size)
    assert kstest(noise / 0.058, "norm").pvalue > 0.01
    axis, classes = recipes.peaks_classes()
    i, j = np.searchsorted(axis, exact[:, 0]), np.searchsorted(axis, exact[:, 1])
    assert np.array_equal(np.stack([axis[i], axis[j]], axis=1), exact)
    for c in range(5):
        assert set(classes[i[c], j[c]]) == {c}
        region = np.argwhere(classes == c)
        cells = axis[region]
        error = abs(exact[c].mean(axis=1) - cells.mean(axis=0))
        assert np.all(error < 4 * cells.std(axis=0) / np.sqrt(4000))


# --- SwissRoll ---


def test_swiss_roll_curves_and_noise(monkeypatch):
    points = recipes.swiss_points(np.random.default_rng(5), 12_500)
    monkeypatch.setattr(recipes, "SWISS_NOISE", 0)
    exact = recipes.swiss_points(np.random.default_rng(5), 12_500)
    noise = (points - exact).ravel()
    assert abs(noise.std() / 0.04 - 1) < 4 / np.sqrt(2 * noise.size)
    for inner, (x, y) in zip((0.0, 0.2), exact, strict=True):
        r = np.hypot(x, y)
        assert inner <= r.min() < inner + 0.001
        assert inner + 0.999 < r.max() <= inner + 1
        assert kstest(r - inner, "uniform").pvalue > 0.01
        np.testing.assert_allclose(x, r * np.cos(4 * np.pi * (r - inner)), atol=1e-12)
        np.testing.assert_allclose(y, r * np.sin(4 * np.pi * (r - inner)), atol=1e-12)


# --- GMM ---


@pytest.fixture(scope="module")
def gaussians():
    return recipes.mixture(np.random.default_rng(RECIPES["GMM"].seed))


def test_mixture_is_as_described(gaussians):
    means, factors = gaussians
    assert abs(means.std() / 0.66 - 1) < 4 / np.sqrt(2 * means.size)
    gram = np.swapaxes(factors, -1, -2) @ factors
    deviations = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    np.testing.assert_allclose(gram, deviations[..., None] ** 2 * np.eye(5), atol=1e-12)
    low, high = deviations.min(axis=(0, 1)), deviations.max(axis=(0, 1))
    assert np.all(np.diff(deviations) >= 0)
    assert np.all(low >= np.array([0.08, 0.09, 0.13, 0.195, 0.21]) - 1e-9)
    assert np.all(high <= np.array([0.0800001, 0.20, 0.215, 0.225, 0.24]))


def test_mixture_samples_have_its_moments(gaussians):
    means, factors = gaussians
    X = recipes.mixture_points(means, factors, np.random.default_rng(3), 40_000)
    within = (factors @ np.swapaxes(factors, -1, -2)).mean(axis=1)
    for c in range(5):
        covariance = within[c] + np.cov(means[c].T, bias=True)
        spread = np.sqrt(np.diag(covariance))
        error = abs(X[c].mean(axis=1) - means[c].mean(axis=0))
        assert np.all(error < 4 * spread / np.sqrt(40_000))
        bound = 6 * np.outer(spread, spread) / np.sqrt(40_000)
        assert np.all(abs(np.cov(X[c]) - covariance) < bound)


def test_the_files_mixture_is_the_one_its_ceiling_uses(gaussians):
    recipe = RECIPES["GMM"]
    points = recipe.points(np.random.default_rng(recipe.seed), 1000)
    density = recipes.mixture_density(*gaussians, np.concatenate(points, axis=1))
    right = density.argmax(axis=0) == np.repeat(np.arange(5), 1000)
    assert right.mean() > 0.98


# --- densities and ceilings ---


@pytest.mark.parametrize(
    ("density", "reach"),
    [(recipes.peaks_density, 3.35), (recipes.swiss_density, 1.45)],
)
def test_densities_integrate_to_one(density, reach):
    a, step = np.linspace(-reach, reach, 300, retstep=True)
    mass = density(a).sum(axis=(1, 2)) * step**2
    np.testing.assert_allclose(mass, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("density", "at"),
    [(recipes.peaks_density, peaks_at), (recipes.swiss_density, swiss_at)],
)
def test_grid_density_is_the_density_at_its_points(density, at):
    a = np.linspace(-0.9, 1.1, 7)
    grid = density(a)
    X = np.stack(np.meshgrid(a, a, indexing="ij")).reshape(2, -1)
    scale = grid.max()
    np.testing.assert_allclose(grid.reshape(len(grid), -1), at(X), atol=1e-5 * scale)


def test_mixture_density_is_the_formula(gaussians):
    means, factors = gaussians
    X = np.random.default_rng(4).normal(0, 0.3, (5, 3))
    density = recipes.mixture_density(means, factors, X)
    for c in range(5):
        z = np.linalg.solve(factors[c], X - means[c][..., None])
        heights = (2 * np.pi) ** -2.5 / abs(np.linalg.det(factors[c]))
        terms = heights[:, None] * np.exp(-np.sum(z**2, axis=1) / 2)
        np.testing.assert_allclose(density[c], terms.mean(axis=0), rtol=1e-9)


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
def test_integral_of_two_gaussians_is_the_known_bayes_accuracy(distance):
    """Equal spheres at distance d: accuracy Φ(d / 2σ), here with σ = 1."""
    a, step = np.linspace(-9, 9, 300, retstep=True)
    centres = ([-distance / 2, 0], [distance / 2, 0])
    density = np.stack(
        [np.outer(*(norm.pdf(a, c) for c in centre)) for centre in centres]
    )
    accuracy, error = recipes.integrate(density, step)
    assert abs(accuracy - norm.cdf(distance / 2)) <= error < 1e-3


def test_integral_reports_what_its_grid_misses():
    a, step = np.linspace(-1, 1, 101, retstep=True)
    density = np.outer(norm.pdf(a), norm.pdf(a))[None]
    accuracy, error = recipes.integrate(density, step)
    assert error >= 1 - accuracy > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_ceiling_agrees_with_fresh_samples(ceilings, name):
    """Mean largest posterior at fresh points, exact at each, against the integral."""
    _, p = fresh(name, 3000)
    largest = p.max(axis=0) / p.sum(axis=0)
    noise = RECIPES[name].redrawn
    accuracy = (1 - noise) * largest.mean() + noise / SIZES[name][1]
    deviation = largest.std() / np.sqrt(largest.size)
    stored, error = (float(ceilings[name][v]) for v in ("ceiling", "error"))
    assert abs(accuracy - stored) < 3 * deviation + error
    assert error < 1e-4
    assert stored == pytest.approx(EXPECTED[name], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_bayes_classifier_reaches_the_ceiling_on_the_files(drawn, ceilings, name):
    Yv, Cv = drawn[name]["Yv"].astype(float), drawn[name]["Cv"]
    gaussians = recipes.mixture(np.random.default_rng(RECIPES["GMM"].seed))
    p = {
        "Peaks": peaks_at,
        "SwissRoll": swiss_at,
        "GMM": lambda X: recipes.mixture_density(*gaussians, X),
    }[name](Yv)
    accuracy = np.mean(p.argmax(axis=0) == Cv.argmax(axis=0))
    stored = float(ceilings[name]["ceiling"])
    deviation = np.sqrt(stored * (1 - stored) / Yv.shape[1])
    assert abs(accuracy - stored) < 3 * deviation


@pytest.mark.parametrize("classes", [2, 5])
def test_ceiling_counts_label_noise(classes):
    """Simulate a classifier that is right 90 % of the time before noise."""
    rng = np.random.default_rng(1)
    truth = rng.integers(classes, size=400_000)
    wrong = (truth + rng.integers(1, classes, truth.size)) % classes
    answer = np.where(rng.random(truth.size) < 0.9, truth, wrong)
    scored = np.mean(answer == relabel(truth, classes, 0.3, rng))
    recipe = replace(
        RECIPES["GMM"], best=lambda _: (0.9, 0.01), classes=classes, redrawn=0.3
    )
    accuracy, error = recipes.ceiling(recipe)
    assert abs(accuracy - scored) < 4 * np.sqrt(0.25 / truth.size)
    assert error == pytest.approx(0.007)


def test_redrawing_from_two_classes_is_flipping_half_as_often():
    recipe = replace(
        RECIPES["SwissRoll"], best=lambda _: (0.99, 0.0), redrawn=2 * 0.019
    )
    flipped = 0.981 * 0.99 + 0.019 * 0.01
    assert recipes.ceiling(recipe)[0] == pytest.approx(flipped)


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


@pytest.mark.parametrize("name", RECIPES)
def test_the_bayes_classifier_of_the_samples_is_as_good_as_the_ceiling(our_data, name):
    data = load(name, our_data)
    right = recipes.bayes_classes(data, data.Yv) == data.Cv.argmax(axis=0)
    error = np.sqrt(data.ceiling * (1 - data.ceiling) / right.size)
    assert right.mean() == pytest.approx(data.ceiling, abs=3 * error)


@pytest.mark.parametrize(
    ("density", "likelihood"),
    [
        (recipes.peaks_density, recipes.peaks_likelihood),
        (partial(recipes.swiss_density, nodes=1000), recipes.swiss_likelihood),
    ],
)
def test_the_density_of_samples_is_that_of_the_grid(density, likelihood):
    a = np.linspace(-0.9, 1.1, 7)
    X = np.stack(np.meshgrid(a, a, indexing="ij")).reshape(2, -1)
    expected = density(a).reshape(-1, 49)
    np.testing.assert_allclose(likelihood(X, None), expected, rtol=1e-9)


def test_there_is_no_bayes_classifier_of_a_users_file(our_data):
    own = replace(load("Peaks", our_data), seed=None)
    assert recipes.bayes_classes(own, own.Yv) is None


def test_the_committed_ceilings_are_those_computed(our_data):
    ledger = "ceilings.csv"
    assert (our_data / ledger).read_bytes() == (DATA / ledger).read_bytes()


@pytest.mark.usefixtures("small")
def test_writing_twice_gives_the_same_bytes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two, two):
        folder.mkdir(exist_ok=True)
        recipes.write(folder)
    files = {name: content for name, (content, *_) in contents(one).items()}
    assert set(files) == {*(f"{name}Data.mat" for name in NAMES), "ceilings.csv"}
    assert files == {name: content for name, (content, *_) in contents(two).items()}
    for name in NAMES:
        assert files[f"{name}Data.mat"].startswith(
            b"MATLAB 5.0 MAT-file, " + name.encode()
        )
        assert load(name, one).ceiling == pytest.approx(0.9, abs=0.02)


def test_an_older_draw_of_ours_is_replaced(tmp_path, small):
    recipes.write(tmp_path)
    before = contents(tmp_path)
    small["Peaks"] = replace(small["Peaks"], seed=77)
    recipes.write(tmp_path)
    after = contents(tmp_path)
    assert load("Peaks", tmp_path).seed == 77
    assert after["GMMData.mat"] == before["GMMData.mat"]
    assert after["PeaksData.mat"][0] != before["PeaksData.mat"][0]


def test_interrupted_writing_can_be_repeated(tmp_path, small, monkeypatch):
    """New seeds, stopped after the first file: the next run finishes the work."""
    recipes.write(tmp_path)
    for name, recipe in small.items():
        small[name] = replace(recipe, seed=recipe.seed + 1)
    with monkeypatch.context() as patch:
        written = []

        def stop_after_one(path, content):
            if written:
                raise KeyboardInterrupt
            written.append(path.write_bytes(content))

        patch.setattr(recipes, "replace_file", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            recipes.write(tmp_path)
    recipes.write(tmp_path)
    for name, recipe in small.items():
        assert load(name, tmp_path).seed == recipe.seed


def foreign(folder):
    """A user's own Peaks under the name of our GMM: valid, but not drawn here."""
    other = replace(RECIPES["Peaks"], per_class=20, seed=123)
    content = recipes.mat_bytes("GMM", other, draw(other))
    (folder / "GMMData.mat").write_bytes(content)


def unreadable(folder):
    (folder / "GMMData.mat").write_bytes(b"not a .mat file")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("put", [foreign, unreadable])
def test_a_users_file_is_never_overwritten(tmp_path, put, started):
    if started:
        recipes.write(tmp_path)
        (tmp_path / "PeaksData.mat").unlink()
    put(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=r"GMMData\.mat was not drawn by .* nothing"):
        recipes.write(tmp_path)
    assert contents(tmp_path) == before
    with pytest.raises(SystemExit, match=r"GMMData\.mat was not drawn"):
        recipes.main(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("small")
def test_a_broken_list_of_ceilings_stops_the_writing(tmp_path):
    (tmp_path / "ceilings.csv").write_text("nonsense\n1\n")
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=r"ceilings\.csv"):
        recipes.write(tmp_path)
    assert contents(tmp_path) == before
