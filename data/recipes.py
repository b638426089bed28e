"""The recipes that draw our three datasets, and the best accuracy possible on them.

The course's own files may not be handed on, so `python -m data.recipes` draws
files of the same names, sizes and difficulty. Every recipe stands beside the density
it samples from: with the density known, so is the accuracy of the Bayes classifier,
which answers the most probable class and which no network can beat on average.
"""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import savemat
from scipy.stats import multivariate_normal, norm

from data.matfile import CEILINGS, DATA, DatasetError, digest, ledger, path_of, read

PEAKS_NOISE = 0.058
SWISS_NOISE = 0.04
SWISS_GAP = 0.2
TURNS = 4 * np.pi
GMM_SPREAD = 0.66
GMM_LOW = (0.08, 0.09, 0.13, 0.195, 0.21)
GMM_HIGH = (0.08, 0.20, 0.215, 0.225, 0.24)


@dataclass(frozen=True)
class Recipe:
    """How one dataset is drawn.

    `points(rng, n)` gives (classes, features, n) positions, n of each class;
    `best(rng)` gives the Bayes accuracy before label noise, and its error;
    `likelihood(X, rng)` gives p(x | class) at the columns of X, shape (classes, m).
    """

    points: Callable
    best: Callable
    seed: int
    classes: int
    per_class: int
    redrawn: float
    likelihood: Callable


def peaks_classes():
    """256 coordinates of [−3, 3], and the class 0..4 of every grid point (x, y).

    The classes cut the range of MATLAB's `peaks` function into 5 equal intervals.
    """
    axis = np.linspace(-3, 3, 256)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    z = (
        3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2)
        - 10 * (x / 5 - x**3 - y**5) * np.exp(-(x**2) - y**2)
        - np.exp(-((x + 1) ** 2) - y**2) / 3
    )
    return axis, np.digitize(z, np.linspace(z.min(), z.max(), 6)[1:-1])


def peaks_points(rng, n):
    """Uniform over the grid points of each class, plus Gaussian position noise."""
    axis, classes = peaks_classes()
    cells = [np.argwhere(classes == c) for c in range(5)]
    points = np.stack([axis[rng.choice(cell, n)].T for cell in cells])
    return points + rng.normal(0, PEAKS_NOISE, points.shape)


def peaks_density(a):
    """p(x, y | class) at all (x, y) of a × a, shape (5, len(a), len(a)).

    The uniform weights of a class convolved with the noise, one axis at a time.
    """
    axis, classes = peaks_classes()
    K = kernel(a, axis, PEAKS_NOISE)
    masks = (classes == c for c in range(5))
    return np.stack([K @ (mask / mask.sum()) @ K.T for mask in masks])


def peaks_likelihood(X, _):
    """p(x, y | class) at the columns of X, shape (5, m): `peaks_density` elsewhere."""
    axis, classes = peaks_classes()
    Kx, Ky = (kernel(row, axis, PEAKS_NOISE) for row in X)
    masks = (classes == c for c in range(5))
    return np.stack([((Kx @ (mask / mask.sum())) * Ky).sum(axis=1) for mask in masks])


def spirals(theta):
    """x = r cos θ, y = r sin θ, shape (2 classes, 2, …); r = θ/4π, and 0.2 more."""
    inner = theta / TURNS
    radii = np.stack([inner, inner + SWISS_GAP])
    return np.stack([radii * np.cos(theta), radii * np.sin(theta)], axis=1)


def swiss_points(rng, n):
    """θ uniform on [0, 4π] along each spiral, plus Gaussian position noise."""
    theta = rng.uniform(0, TURNS, (2, n))
    points = np.stack([spirals(theta[c])[c] for c in range(2)])
    return points + rng.normal(0, SWISS_NOISE, points.shape)


def swiss_density(a, nodes=4000):
    """p(x, y | class) at all (x, y) of a × a: midpoint rule over θ."""
    curves = spirals(TURNS * (np.arange(nodes) + 0.5) / nodes)
    K = [[kernel(a, xy, SWISS_NOISE) for xy in curve] for curve in curves]
    return np.stack([Kx @ Ky.T / nodes for Kx, Ky in K])


def swiss_likelihood(X, _, nodes=1000):
    """p(x, y | class) at the columns of X, shape (2, m): midpoint rule over θ."""
    curves = spirals(TURNS * (np.arange(nodes) + 0.5) / nodes)
    return np.stack(
        [
            np.prod(
                [kernel(row, xy, SWISS_NOISE) for row, xy in zip(X, c, strict=True)], 0
            ).mean(axis=1)
            for c in curves
        ]
    )


def mixture(rng):
    """Means (5, 5, 5) and factors (5, 5, 5, 5) of 5 Gaussians in each of 5 classes.

    A sample of a Gaussian is mean + factor @ z with z normal: the factor's columns are
    random orthogonal axes scaled by their standard deviations.
    """
    means = rng.normal(0, GMM_SPREAD, (5, 5, 5))
    axes = np.linalg.qr(rng.normal(size=(5, 5, 5, 5)))[0]
    deviations = np.sort(rng.uniform(GMM_LOW, GMM_HIGH, (5, 5, 5)))
    return means, axes * deviations[..., None, :]


def gmm_points(rng, n):
    """n samples of each class of the mixture that the same rng draws first."""
    return mixture_points(*mixture(rng), rng, n)


def mixture_points(means, factors, rng, n):
    """Choose one of the class's Gaussians evenly, then sample from it."""
    chosen = np.arange(5)[:, None], rng.integers(5, size=(5, n))
    z = rng.normal(size=(5, n, 5, 1))
    return np.swapaxes(means[chosen] + (factors[chosen] @ z)[..., 0], 1, 2)


def mixture_density(means, factors, X):
    """p(x | class) at the columns of X (5, m), shape (5, m)."""
    covariances = factors @ np.swapaxes(factors, -1, -2)
    return np.stack(
        [
            np.mean([multivariate_normal.pdf(X.T, *g) for g in zip(*c, strict=True)], 0)
            for c in zip(means, covariances, strict=True)
        ]
    )


def gmm_likelihood(X, rng):
    """p(x | class) at the columns of X, shape (5, m), of the rng's mixture."""
    return mixture_density(*mixture(rng), X)


def kernel(a, centres, sigma):
    """Gaussian densities at a (rows) around the centres (columns)."""
    return norm.pdf(a[:, None], centres, sigma)


def integrate(density, step):
    """∫ max_c p(x, y | c) / classes, and the error of the sum that replaces it.

    The error is the larger change when only every second or third grid line is kept,
    plus the probability that the grid misses.
    """
    fine, *coarse = (
        density[:, ::s, ::s].max(axis=0).sum() * (s * step) ** 2 / len(density)
        for s in (1, 2, 3)
    )
    missed = abs(1 - density.sum() * step**2 / len(density))
    return fine, max(abs(fine - c) for c in coarse) + missed


def peaks_best(_):
    """Integrate over a grid that reaches 6 σ beyond the square."""
    a, step = np.linspace(-3.35, 3.35, 500, retstep=True)
    return integrate(peaks_density(a), step)


def swiss_best(_):
    """Integrate over a grid that reaches 6 σ beyond the outer spiral."""
    a, step = np.linspace(-1.45, 1.45, 400, retstep=True)
    return integrate(swiss_density(a), step)


def gmm_best(rng, n=80_000):
    """Mean of the largest posterior over n fresh samples a class; standard error."""
    gaussians = mixture(rng)
    X = np.concatenate(mixture_points(*gaussians, rng.spawn(1)[0], n), axis=1)
    p = mixture_density(*gaussians, X)
    largest = p.max(axis=0) / p.sum(axis=0)
    return largest.mean(), largest.std() / np.sqrt(largest.size)


# With these seeds a linear classifier, too, fares as on the course's files.
RECIPES = {
    "Peaks": Recipe(peaks_points, peaks_best, 216, 5, 6250, 0.02, peaks_likelihood),
    "SwissRoll": Recipe(
        swiss_points, swiss_best, 7, 2, 12_500, 0.038, swiss_likelihood
    ),
    "GMM": Recipe(gmm_points, gmm_best, 612, 5, 6250, 0.02, gmm_likelihood),
}


def relabel(labels, classes, redrawn, rng):
    """Label noise: each label is redrawn from all classes with probability `redrawn`.

    A redrawn label may come out right: the part that is wrong is redrawn·(1 − 1/k).
    For k = 2, flipping a label with probability f is redrawing it with 2 f.
    """
    noise = rng.integers(classes, size=labels.size)
    return np.where(rng.random(labels.size) < redrawn, noise, labels)


def draw(recipe):
    """The four variables of a dataset: random 80 % to train, the rest to validate."""
    rng = np.random.default_rng(recipe.seed)
    Y = np.concatenate(recipe.points(rng, recipe.per_class), axis=1)
    labels = np.repeat(np.arange(recipe.classes), recipe.per_class)
    labels = relabel(labels, recipe.classes, recipe.redrawn, rng)
    C = np.eye(recipe.classes)[:, labels]
    t, v = np.split(rng.permutation(labels.size), [labels.size * 4 // 5])
    arrays = {"Yt": Y[:, t], "Ct": C[:, t], "Yv": Y[:, v], "Cv": C[:, v]}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def ceiling(recipe):
    """Best possible accuracy with label noise, and its error.

    Noise leaves the most probable class the same. With probability 1 − p the label
    is kept and matched with the noise-free accuracy A; else it is uniform over the k
    classes and matched by chance: (1 − p) A + p / k.
    """
    accuracy, error = recipe.best(np.random.default_rng(recipe.seed))
    kept = 1 - recipe.redrawn
    return kept * accuracy + recipe.redrawn / recipe.classes, kept * error


def bayes_classes(dataset, X):
    """Return the class that the Bayes classifier answers at each column of X, (m,).

    None if nobody knows: the file was not drawn here. The classes are equally frequent,
    and label noise leaves the most probable one the same, so it is the likeliest.
    """
    if dataset.seed is None:
        return None
    recipe = RECIPES[dataset.name]
    rng = np.random.default_rng(recipe.seed)
    return recipe.likelihood(X.astype(float), rng).argmax(axis=0)


def mat_bytes(name, recipe, arrays):
    """A compressed .mat file whose header text says the recipe instead of a date."""
    file = io.BytesIO()
    savemat(file, arrays, do_compression=True)
    text = f"MATLAB 5.0 MAT-file, {name}Data by data/recipes.py, seed {recipe.seed}"
    return text.encode().ljust(116) + file.getvalue()[116:]


def stored_digest(name, folder):
    """Digest of `folder/name.mat`: None if it is absent, "" if it cannot be read."""
    if not (path_of(name, folder)).exists():
        return None
    try:
        return digest(read(path_of(name, folder)))
    except DatasetError:
        return ""


def refuse_foreign(folder, digests):
    """Digest of each stored file; DatasetError if one was not drawn here."""
    known = ledger(folder)
    found = {name: stored_digest(name, folder) for name in digests}
    for name, there in found.items():
        if there not in {None, digests[name], *known}:
            raise DatasetError(
                f"{path_of(name, folder)} was not drawn by data/recipes.py and is not "
                "overwritten: move it away first; nothing was written."
            )
    return found


def replace_file(path, content):
    """Write bytes to `path`, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def write(folder=DATA):
    """Write the three files and their ceilings, leaving alone what is there already.

    A file that was not drawn here is never overwritten: DatasetError, before anything
    is written.
    """
    folder = Path(folder)
    drawn = {name: draw(recipe) for name, recipe in RECIPES.items()}
    digests = {name: digest(arrays) for name, arrays in drawn.items()}
    found = refuse_foreign(folder, digests)
    lines = ["dataset,ceiling,error,seed,sha256"]
    for name, recipe in RECIPES.items():
        best, error = ceiling(recipe)
        if found[name] != digests[name]:
            replace_file(path_of(name, folder), mat_bytes(name, recipe, drawn[name]))
        lines.append(f"{name},{best:.6f},{error:.1e},{recipe.seed},{digests[name]}")
        print(f"{name}: best possible accuracy {best:.2%} ± {error:.3%}", flush=True)
    table = "\n".join([*lines, ""]).encode()
    if not (folder / CEILINGS).exists() or (folder / CEILINGS).read_bytes() != table:
        replace_file(folder / CEILINGS, table)


def main(folder=DATA):
    """`make data`: a refusal is one sentence, not a traceback."""
    try:
        write(folder)
    except DatasetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
