"""The three classification datasets, and samples drawn from them."""

from dataclasses import dataclass, replace

import numpy as np

from data.matfile import DATA, digest, ledger, path_of, read, require
from helpers.backstage.contracts import real_numbers

NAMES = ("Peaks", "SwissRoll", "GMM")
FEWEST = 200  # training samples: as many are drawn in the last chapter
LENGTHS = 1 / 4, 4  # of samples, for which rates and initial weights are made
OFFSET = 1000  # deviations from zero to a mean: float32 has seven digits in all


@dataclass(frozen=True, repr=False)
class Dataset:
    """Training and validation samples, floats, one sample per column.

    Lists, integers and data frames are converted; ValueError says what else is amiss.
    `ceiling` is the best accuracy (0..1) that any classifier can reach on average;
    it and `seed` are None unless the file is one that `data.recipes` drew.
    """

    name: str
    Yt: np.ndarray
    Ct: np.ndarray
    Yv: np.ndarray
    Cv: np.ndarray
    ceiling: float | None = None
    seed: int | None = None
    standardised: bool = False

    def __post_init__(self):
        """Make arrays of finite floats, and compare their sizes."""
        for part in ("Yt", "Ct", "Yv", "Cv"):
            array = from_objects(getattr(self, part))
            array = real_numbers(f"{self.name}: {part}", array)
            vars(self)[part] = array  # the rest is frozen
        for y, c in ((self.Yt, self.Ct), (self.Yv, self.Cv)):
            fits = y.ndim > 1 < c.ndim and y.shape[-1] == c.shape[-1]
            require(
                fits and y.shape[-2] == self.features and c.shape[-2] == self.classes,
                f"{self.name}: Yt and Yv must be (features, samples), Ct and Cv "
                "(classes, samples), found the shapes "
                f"{self.Yt.shape}, {self.Yv.shape}, {self.Ct.shape}, {self.Cv.shape}.",
            )

    def __repr__(self):
        """Return name and sizes, not the samples."""
        return (
            f"{self.name}: {self.Yt.shape[-1]} training and {self.Yv.shape[-1]} "
            f"validation samples, {self.features} features, {self.classes} classes"
        )

    @property
    def features(self):
        """Number of rows of `Yt` and `Yv`."""
        return self.Yt.shape[-2]

    @property
    def classes(self):
        """Number of rows of `Ct` and `Cv`."""
        return self.Ct.shape[-2]

    @property
    def source(self):
        """Where the samples come from, in one phrase."""
        if self.seed is not None:
            return f"drawn by data/recipes.py, seed {self.seed}"
        how = ", standardised" if self.standardised else ""
        file = path_of(self.name).name
        return f"user's file {file}{how}, best possible accuracy unknown"

    @property
    def summary(self):
        """One row for a table of datasets."""
        return {
            "features": self.features,
            "classes": self.classes,
            "training samples": self.Yt.shape[-1],
            "validation samples": self.Yv.shape[-1],
            "best possible accuracy": self.ceiling,
            "source": self.source,
        }


def from_objects(x):
    """Return objects, as of a frame with gaps, as floats if they can: a gap is NaN."""
    x = x.toarray() if hasattr(x, "toarray") else x
    try:
        array = np.asanyarray(x)
        if array.dtype != object or not array.ndim:
            return array
        frame = hasattr(x, "to_numpy")
        return x.to_numpy(float, na_value=np.nan) if frame else array.astype(float)
    except (TypeError, ValueError):
        return x  # is refused by name


def load(name, folder=DATA):
    """Read, check and standardise `folder/nameData.mat`.

    Raises DatasetError, a sentence that names the file, if anything is amiss.
    """
    arrays = read(path_of(name, folder))
    known = ledger(folder).get(digest(arrays), {})
    found = standardise(Dataset(name, **arrays, **known))
    return replace(found, **{v: np.float32(getattr(found, v)) for v in arrays})


def load_all(folder=DATA):
    """The three datasets by name; raises DatasetError also for too few samples."""
    data = {name: load(name, folder) for name in NAMES}
    for name, one in data.items():
        m = one.Yt.shape[1]
        too_few = f"Yt must have at least {FEWEST} samples (columns), found {m}."
        require(m >= FEWEST, f"{path_of(name, folder)}: {too_few}")
    return data


def standardise(dataset):
    """Give samples far from length 1 features of mean 0, deviation ≤ 1/√features.

    Stable rates fall with the squared length, and tests of derivatives end where scores
    are huge. So samples whose root mean square length lies outside of LENGTHS, or with
    a feature whose mean is beyond OFFSET deviations, are moved and scaled in float64,
    by what is found in training; a constant feature becomes 0. A tenth of the range
    counts as deviation at least, lest a feature that is seldom different from its usual
    value outweigh all others.
    """
    Y, (low, high) = dataset.Yt.astype(float), LENGTHS
    mean, spread = Y.mean(axis=1, keepdims=True), np.ptp(Y, axis=1, keepdims=True)
    sd = np.maximum(Y.std(axis=1, keepdims=True), spread / 10)
    near = (abs(mean) <= OFFSET * sd)[spread > 0].all()
    if near and low <= np.sqrt(np.mean(np.sum(Y**2, axis=0))) <= high:
        return dataset
    sd[spread == 0] = np.inf
    Yt, Yv = (np.float32((X - mean) / (sd * np.sqrt(len(Y)))) for X in (Y, dataset.Yv))
    for row, (before, after) in enumerate(zip(Y, Yt, strict=True), start=1):
        many, left = np.unique(before).size, np.unique(after).size
        require(
            2 * left >= many,
            f"{dataset.name}: row {row} of Yt has {many} different values, of which "
            f"float32 keeps {left} beside {max(before, key=abs):g}: is this a value?",
        )
    return replace(dataset, Yt=Yt, Yv=Yv, standardised=True)


def subsample(dataset, m, rng):
    """Keep m random training samples, none twice; validation is untouched."""
    available = dataset.Yt.shape[1]
    require(
        1 <= m <= available,
        f"{dataset.name}: Yt has {available} training samples, so between 1 and "
        f"{available} can be drawn, not {m}.",
    )
    columns = np.random.default_rng(rng).choice(available, m, replace=False)
    return replace(dataset, Yt=dataset.Yt[:, columns], Ct=dataset.Ct[:, columns])


def hold_out(dataset, part, rng):
    """Split the training samples at random: `part` of them take the validation's place.

    Settings chosen on such data cannot have seen the validation samples. Raises
    DatasetError unless both sides get a sample.
    """
    m = dataset.Yt.shape[1]
    count = max(1, round(part * m))
    require(
        0 < part < 1 and count < m,
        f"{dataset.name}: part = {part:g} of {m} training samples cannot be held out: "
        "give a part between 0 and 1 that leaves some to train on.",
    )
    judged, kept = np.split(np.random.default_rng(rng).permutation(m), [count])
    Yt, Ct, Yv, Cv = (X[:, i] for i in (kept, judged) for X in (dataset.Yt, dataset.Ct))
    return replace(dataset, Yt=Yt, Ct=Ct, Yv=Yv, Cv=Cv)


def jitter(dataset, noise, copies, rng):
    """Put copies of each training sample in its place, moved by normal noise.

    `noise` is in units of each feature's standard deviation. Leading axes are replicas.
    """
    Y = np.tile(dataset.Yt, copies)
    sd = noise * dataset.Yt.std(axis=-1, keepdims=True)
    move = sd * np.random.default_rng(rng).standard_normal(Y.shape, np.float32)
    return replace(dataset, Yt=Y + move, Ct=np.tile(dataset.Ct, copies))


def minibatch(dataset, m, rng):
    """m random training samples X (features, m) and classes C (classes, m), float64."""
    some = subsample(dataset, m, rng)
    return some.Yt.astype(float), some.Ct.astype(float)


def cases(data, sizes, seeds):
    """Yield (dataset, X, C, rng): a minibatch of every dataset, size and seed."""
    for dataset in data.values():
        for m in sizes:
            for seed in seeds:
                rng = np.random.default_rng([seed, m])
                yield dataset, *minibatch(dataset, m, rng), rng
