import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from data.matfile import DATA, VARIABLES, DatasetError, digest, ledger
from helpers.datasets import (
    NAMES,
    Dataset,
    hold_out,
    jitter,
    load,
    load_all,
    minibatch,
    subsample,
)

SIZES = {
    "Peaks": (2, 5, 25000, 6250),
    "SwissRoll": (2, 2, 20000, 5000),
    "GMM": (5, 5, 25000, 6250),
}


def toy(**changes):
    """3 features, 2 classes, 12 training and 6 validation samples."""
    one_hot = np.eye(2, dtype=np.float32)
    arrays = {
        "Yt": np.arange(36, dtype=np.float32).reshape(3, 12),
        "Ct": one_hot[:, np.arange(12) % 2],
        "Yv": -np.arange(18, dtype=np.float32).reshape(3, 6),
        "Cv": one_hot[:, np.arange(6) % 2],
    }
    return {v: a for v, a in (arrays | changes).items() if a is not None}


def changed(variable, index, value, dtype=np.float64):
    array = toy()[variable].astype(dtype)
    array[index] = value
    return {variable: array}


def mat(arrays, **options):
    file = io.BytesIO()
    savemat(file, arrays, **options)
    return file.getvalue()


@pytest.fixture
def reading(tmp_path):
    """Load file content; whatever happens, the file must stay as it was."""
    path = tmp_path / "ToyData.mat"

    def read(content):
        path.write_bytes(content)
        try:
            return load("Toy", tmp_path)
        finally:
            assert path.read_bytes() == content
            assert list(tmp_path.iterdir()) == [path]

    return read


def refusal(reading, content):
    with pytest.raises(DatasetError, match=r"^\S*ToyData\.mat") as caught:
        reading(content)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def same(dataset, arrays):
    return all(np.array_equal(getattr(dataset, v), arrays[v]) for v in VARIABLES)


# --- good files


@pytest.mark.parametrize("name", NAMES)
def test_our_files_are_recognised(name, our_data):
    data = load(name, our_data)
    assert (
        data.features,
        data.classes,
        data.Yt.shape[1],
        data.Yv.shape[1],
    ) == SIZES[name]
    assert data.source == f"drawn by data/recipes.py, seed {data.seed}"
    assert 0.93 < data.ceiling < 0.98
    assert list(data.summary.values()) == [*SIZES[name], data.ceiling, data.source]


def test_all_three_are_loaded_by_name():
    assert {name: data.name for name, data in load_all().items()} == {
        name: name for name in NAMES
    }


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "u1", "i4", "u8"])
def test_any_type_of_number_becomes_float32(reading, dtype, compressed):
    arrays = toy(Yv=toy()["Yt"][:, :6])
    saved = {v: a.astype(dtype) for v, a in arrays.items()}
    data = reading(mat(saved, do_compression=compressed))
    assert same(data, arrays)
    assert all(getattr(data, v).dtype == np.float32 for v in VARIABLES)


def test_logical_labels_are_accepted(reading):
    assert same(reading(mat(toy(Ct=toy()["Ct"] > 0))), toy())


def test_other_variables_are_ignored(reading):
    other = {"note": "text", "options": {"rate": 0.1}, "cells": [1, "two"]}
    assert same(reading(mat(other | toy())), toy())
    assert same(reading(mat(toy() | other, do_compression=True)), toy())


def test_big_endian_files_are_read(reading):
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def variable(name, array):
        parts = (
            element(6, struct.pack(">II", 7, 0)),
            element(5, struct.pack(">ii", *array.shape)),
            element(1, name.encode()),
            element(7, array.astype(">f4").tobytes(order="F")),
        )
        return element(14, b"".join(parts))

    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    content = header + b"".join(variable(v, a) for v, a in toy().items())
    assert same(reading(content), toy())


def test_a_users_own_file_has_no_ceiling(tmp_path):
    savemat(tmp_path / "PeaksData.mat", toy())
    (tmp_path / "ceilings.csv").write_bytes((DATA / "ceilings.csv").read_bytes())
    data = load("Peaks", tmp_path)
    assert data.ceiling is None
    assert data.source == "user's file PeaksData.mat, best possible accuracy unknown"


def test_our_file_is_known_by_its_numbers_alone(tmp_path):
    """Saved anew it is ours still; with one number changed, or no list, it is not."""
    ours = load("SwissRoll")
    arrays = {v: getattr(ours, v).copy() for v in VARIABLES}
    ceilings = tmp_path / "ceilings.csv"
    savemat(tmp_path / "MineData.mat", arrays)
    assert load("Mine", tmp_path).ceiling is None
    ceilings.write_bytes((DATA / "ceilings.csv").read_bytes())
    assert load("Mine", tmp_path).ceiling == ours.ceiling
    arrays["Yv"][1, 7] = np.nextafter(arrays["Yv"][1, 7], np.float32(9))
    savemat(tmp_path / "MineData.mat", arrays)
    assert load("Mine", tmp_path).ceiling is None


def test_digest_depends_on_each_array_and_its_shape():
    variants = [toy(), toy(Yt=toy()["Yt"].reshape(6, 6))]
    variants += [toy() | {v: toy()[v] + 1} for v in VARIABLES]
    assert len({digest(arrays) for arrays in variants}) == len(variants)


# --- bad files


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match=r"PeaksData\.mat does not exist.*make data"):
        load("Peaks", tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "ToyData.mat").mkdir()
    with pytest.raises(DatasetError, match=r"ToyData\.mat cannot be opened"):
        load("Toy", tmp_path)


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (b"", "is not a .mat file"),
        (b"x, y\n1, 2\n" * 99, "is not a .mat file"),
        (bytes(5000), "is not a .mat file"),
        (mat({"Yt": np.eye(3)}, format="4"), "is not a .mat file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM\x89HDF", "save(..., '-v7')"),
        (bytes(4) + mat(toy())[4:], "is not a .mat file"),
        (mat({}), "found no variables"),
    ],
)
def test_other_kinds_of_files(reading, content, phrase):
    assert phrase in refusal(reading, content)


RAGGED = toy()["Ct"][:, np.arange(12) * 0]
BAD = [
    ("Ct", {"Ct": None}, "Ct must be there once, found Yt, Yv, Cv"),
    ("Yt", {"Yt": np.zeros((3, 12, 2))}, "shape (3, 12, 2)"),
    ("Yt", {"Yt": np.zeros((3, 0))}, "shape (3, 0)"),
    ("Yt", {"Yt": toy()["Yt"] + 1j}, "found complex"),
    ("Yt", {"Yt": "peaks"}, "found char"),
    ("Yt", {"Yt": {"x": 1}}, "found struct"),
    ("Cv", {"Cv": np.array([1, "a"], dtype=object)}, "found cell"),
    ("Ct", {"Ct": csc_matrix(toy()["Ct"])}, "found sparse"),
    ("Ct", {"Ct": csc_matrix(toy()["Ct"] > 0)}, "found sparse"),
    ("Yt", changed("Yt", (1, [4, 9]), np.nan), "2 entries"),
    ("Yt", changed("Yt", (1, [4, 9]), np.nan), "first in column 5"),
    ("Yv", changed("Yv", (0, 0), -np.inf), "1 entries"),
    ("Yv", changed("Yv", (0, 5), 1e39), "too large for float32, the first in column 6"),
    ("Cv", changed("Cv", (0, 2), np.nan), "first in column 3"),
    ("Ct", {"Ct": toy()["Ct"][:, :11]}, "Yt and Ct must have equally many columns"),
    ("Cv", {"Yv": toy()["Yv"].T}, "Yv and Cv must have equally many columns"),
    ("Yv", {"Yv": np.zeros((4, 6))}, "Yt and Yv must have equally many rows"),
    ("Cv", {"Cv": np.eye(3)[:, [0, 1, 2, 0, 1, 2]]}, "not 2 and 3"),
    ("Ct", {"Ct": np.arange(12)[None] % 2}, "one-hot"),
    ("Ct", changed("Ct", (slice(None), 3), 0.5), "first is column 4"),
    ("Ct", changed("Ct", (slice(None), 3), 1), "found 1 columns"),
    ("Cv", changed("Cv", (slice(None), 0), [2, -1]), "first is column 1"),
    ("Ct", {"Ct": RAGGED}, "found [12, 0] samples per class"),
    ("Ct", {"Ct": np.ones((1, 12)), "Cv": np.ones((1, 6))}, "found [12] samples"),
]


@pytest.mark.parametrize(("variable", "changes", "phrase"), BAD)
def test_bad_arrays_are_named(reading, variable, changes, phrase):
    message = refusal(reading, mat(toy(**changes)))
    assert variable in message
    assert phrase in message


def test_a_variable_saved_twice(reading):
    once = mat(toy())
    assert "Yt must be there once" in refusal(reading, once + mat(toy())[128:])


@pytest.mark.parametrize("compressed", [True, False])
def test_every_truncation_is_noticed(reading, compressed):
    content = mat(toy(), do_compression=compressed)
    for length in np.linspace(0, len(content) - 1, 200).astype(int):
        refusal(reading, content[:length])


@pytest.mark.parametrize("compressed", [True, False])
def test_corrupt_bytes_are_refused_or_harmless(reading, compressed):
    """Compressed variables carry a checksum: what loads from them is unchanged."""
    content = mat(toy(), do_compression=compressed)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(800):
        damaged = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(damaged.size, size=rng.choice([1, 1, 2, 5, 20]))
        damaged[where] = rng.choice([0, 1, 255, rng.integers(256)], size=where.size)
        try:
            data = reading(damaged.tobytes())
        except DatasetError:
            refused += 1
        else:
            assert isinstance(data, Dataset)
            assert not compressed or same(data, toy())
    assert refused > 250


@pytest.mark.parametrize("kind", [0, 8, 14, 15, 19, 250])
def test_element_types_that_crash_scipy(reading, kind):
    """An element type without meaning must not reach SciPy's reader."""
    content = mat(toy())
    numbers = content.index(toy()["Yt"].tobytes(order="F")) - 8
    damaged = content[:numbers] + bytes([kind]) + content[numbers + 1 :]
    assert "Yt has elements of types" in refusal(reading, damaged)


@pytest.mark.parametrize(
    "text",
    [
        "dataset,ceiling\nToy,0.9\n",
        "sha256,ceiling,seed\nabc,high,1\n",
        "sha256,ceiling,seed\nabc\n",
        "sha256,ceiling,seed\n" + "a" * 200_000,
    ],
)
def test_a_broken_list_of_ceilings_is_named(tmp_path, text):
    savemat(tmp_path / "ToyData.mat", toy())
    (tmp_path / "ceilings.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"ceilings\.csv: expected the columns"):
        load("Toy", tmp_path)


def test_without_a_list_nothing_is_known(tmp_path):
    assert ledger(tmp_path) == {}


# --- drawing samples


@pytest.fixture
def numbered():
    """1000 samples that carry their number; every third is of class 1."""
    number = np.arange(1000, dtype=np.float32)
    C = np.eye(2, dtype=np.float32)[:, (number % 3 == 0).astype(int)]
    return Dataset("Toy", np.stack([number, -number]), C, *2 * [C[:, :9]], 0.9, seed=4)


def is_paired(X, C):
    return np.array_equal(X[0], -X[1]) and np.array_equal(C[1], X[0] % 3 == 0)


def test_subsample_is_random_without_repetition(numbered):
    few = subsample(numbered, 200, np.random.default_rng(1))
    assert few.Yt.shape == few.Ct.shape == (2, 200)
    assert np.unique(few.Yt[0]).size == 200
    assert few.Yt[0].max() > 900
    assert np.any(np.diff(few.Yt[0]) < 0)
    assert is_paired(few.Yt, few.Ct)


def test_subsample_keeps_validation_and_provenance(numbered):
    few = subsample(numbered, 200, np.random.default_rng(1))
    assert few.Yv is numbered.Yv
    assert few.Cv is numbered.Cv
    assert (few.name, few.ceiling, few.source) == (
        numbered.name,
        numbered.ceiling,
        numbered.source,
    )
    assert numbered.Yt.shape == (2, 1000)


def test_subsample_follows_its_generator(numbered):
    one, again, other = (
        subsample(numbered, 50, np.random.default_rng(seed)).Yt for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_subsample_may_take_all(numbered):
    every = subsample(numbered, 1000, np.random.default_rng(1))
    assert np.array_equal(np.sort(every.Yt[0]), numbered.Yt[0])


def test_hold_out_splits_the_training_samples(numbered):
    split = hold_out(numbered, 0.2, np.random.default_rng(1))
    assert split.Yt.shape == split.Ct.shape == (2, 800)
    assert split.Yv.shape == split.Cv.shape == (2, 200)
    together = np.concatenate([split.Yt[0], split.Yv[0]])
    assert np.array_equal(np.sort(together), numbered.Yt[0])
    assert is_paired(split.Yt, split.Ct)
    assert is_paired(split.Yv, split.Cv)
    assert numbered.Yt.shape == (2, 1000)


def test_hold_out_is_random_and_follows_its_generator(numbered):
    one, again, other = (
        hold_out(numbered, 0.2, np.random.default_rng(seed)).Yv[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(np.sort(one), np.sort(other))
    assert one.min() < 100
    assert one.max() > 900


def test_hold_out_never_shows_the_validation_samples(numbered):
    secret = replace(numbered, Yv=numbered.Yv + np.nan, Cv=numbered.Cv + np.nan)
    split = hold_out(secret, 0.5, np.random.default_rng(1))
    assert all(np.isfinite(getattr(split, v)).all() for v in VARIABLES)
    assert np.isnan(secret.Yv).all()
    assert (split.name, split.ceiling, split.source) == (
        numbered.name,
        numbered.ceiling,
        numbered.source,
    )


@pytest.mark.parametrize(
    ("part", "judged"), [(0.25, 250), (0.3336, 334), (0.0006, 1), (0.0001, 1)]
)
def test_hold_out_takes_the_part_it_is_told_but_at_least_one(numbered, part, judged):
    split = hold_out(numbered, part, np.random.default_rng(1))
    assert (split.Yt.shape[1], split.Yv.shape[1]) == (1000 - judged, judged)


@pytest.mark.parametrize("m", [-1, 0, 1001])
@pytest.mark.parametrize("draw", [subsample, minibatch])
def test_impossible_numbers_of_samples(numbered, draw, m):
    with pytest.raises(DatasetError, match=rf"Toy: Yt has 1000 .* not {m}\."):
        draw(numbered, m, np.random.default_rng(1))


def test_minibatch_is_paired_and_double_precision(numbered):
    X, C = minibatch(numbered, 64, np.random.default_rng(1))
    assert X.dtype == C.dtype == np.float64
    assert X.shape == C.shape == (2, 64)
    assert np.unique(X[0]).size == 64
    assert is_paired(X, C)


def test_jitter_moves_copies_of_each_sample_by_a_part_of_each_deviation(numbered):
    two = replace(numbered, Yt=np.stack([numbered.Yt, 9 * numbered.Yt]))
    many = jitter(replace(two, Ct=numbered.Ct), 0.1, 50, np.random.default_rng(1))
    assert many.Yt.shape == (2, 2, 50_000)
    assert many.Yt.dtype == np.float32
    assert np.array_equal(many.Ct, np.tile(numbered.Ct, 50))
    moves = many.Yt - np.tile(two.Yt, 50)
    assert abs(moves[0].mean()) < 1
    np.testing.assert_allclose(moves.std(axis=-1), 0.1 * two.Yt.std(axis=-1), rtol=0.02)
    assert many.Yv is numbered.Yv


def test_jitter_without_noise_copies(numbered):
    same = jitter(numbered, 0, 1, np.random.default_rng(1))
    assert np.array_equal(same.Yt, numbered.Yt)
