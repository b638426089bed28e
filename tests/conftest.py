"""What several test modules share: settings, and small data drawn on the spot.

Every array drawn here is read-only, so each test that uses one also tests that
nothing writes into its inputs.
"""

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import settings

from data import recipes
from helpers import checks
from helpers.datasets import Dataset

mpl.use("Agg")
settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


def frozen(array):
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def draw():
    """Return a function that draws read-only X and one-hot C."""

    def draw(features=3, classes=4, m=8, seed=0, replicas=(), dtype=float):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((*replicas, features, m)).astype(dtype)
        labels = rng.integers(classes, size=(*replicas, 1, m))
        C = (labels == np.arange(classes)[:, None]).astype(dtype)
        return frozen(X), frozen(C)

    return draw


@pytest.fixture(scope="session")
def blobs():
    """Return a function that draws three noisy clusters in the plane as a Dataset."""

    def blobs(m=100, seed=0, dtype=np.float32, name="blobs"):
        rng = np.random.default_rng(seed)
        centres = np.array([[0, 2, 0], [0, 0, 2]])
        labels = rng.integers(3, size=m + m // 2)
        Y = frozen(
            (centres[:, labels] + rng.normal(size=(2, labels.size))).astype(dtype)
        )
        C = frozen((labels == np.arange(3)[:, None]).astype(dtype))
        return Dataset(name, Y[:, :m], C[:, :m], Y[:, m:], C[:, m:])

    return blobs


@pytest.fixture(scope="session")
def taylor_tests():
    """Four Taylor tests: right, wrong, right, and of an affine function."""
    found = checks.gradient_tests(
        "f",
        lambda *xs: sum(np.sin(x).sum(axis=-1) for x in xs[:3]) + xs[3].sum(axis=-1),
        lambda *xs: (np.cos(xs[0]), 1.1 * np.cos(xs[1]), np.cos(xs[2]), np.ones(2)),
        {name: np.ones(2) for name in ("right", "wrong", "also right", "affine")},
        np.random.default_rng(0),
    )[::2]
    assert [test.passed for test in found] == [True, False, True, True]
    return found


@pytest.fixture(scope="session")
def our_data(tmp_path_factory):
    """A folder with the project's own files, whatever a user has put into data/."""
    folder = tmp_path_factory.mktemp("data")
    recipes.write(folder)
    return folder
