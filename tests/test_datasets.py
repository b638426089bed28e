import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from data.matfile import DATA, VARIABLES, DatasetError, digest, ledger
from helpers import datasets
from helpers.datasets import (
    Dataset,
    hold_out,
    jitter,
    load,
    minibatch,
    subsample,
)

SIZES = {
    "Peaks": [2, 5, 25000, 6250],
    "SwissRoll": [2, 2, 20000, 5000],
    "GMM": [5, 5, 25000, 6250],
}


def toy(**changes):
    """3 features, 2 classes, 12 training and 6 validation samples."""
    one_hot = np.eye(2, dtype=np.float32)
    arrays = {
        "Yt": np.float32(np.arange(36) * 7 % 5 // 1.2).reshape(3, 12),
        "Ct": one_hot[:, np.arange(12) % 2],
        "Yv": -np.float32(np.arange(18) * 4 % 7).reshape(3, 6),
        "Cv": one_hot[:, np.arange(6) % 2],
    }
    return {v: a for v, a in (arrays | changes).items() if a is not None}


def changed(variable, index, value):
    array = toy()[variable].astype(float)
    array[index] = value
    return {variable: array}


def mat(arrays, **options):
    file = io.BytesIO()
    savemat(file, arrays, **options)
    return file.getvalue()


@pytest.fixture
def reading(tmp_path):
    """Return a function that loads a file with this content."""

    def read(content):
        (tmp_path / "ToyData.mat").write_bytes(content)
        return load("Toy", tmp_path)

    return read


def refusal(reading, content):
    with pytest.raises(DatasetError, match=r"^\S*ToyData\.mat.*\.$") as caught:
        reading(content)
    return str(caught.value)


def same(dataset, arrays):
    assert {getattr(dataset, v).dtype for v in VARIABLES} == {np.dtype(np.float32)}
    return all(np.array_equal(getattr(dataset, v), arrays[v]) for v in VARIABLES)


# --- good files


def test_each_set_must_have_as_many_samples_as_the_report_draws(tmp_path):
    many = toy() | {v: np.tile(toy()[v], 17) for v in ("Yt", "Ct")}
    for name in datasets.NAMES:
        savemat(tmp_path / f"{name}Data.mat", many)
    assert len(datasets.load_all(tmp_path)) == 3
    savemat(tmp_path / "GMMData.mat", toy())
    with pytest.raises(DatasetError, match=r"GMMData\.mat: Yt .* 200 .*, found 12\."):
        datasets.load_all(tmp_path)


def test_our_files_are_recognised(our_data):
    for name, data in datasets.load_all(our_data).items():
        assert data.name == name
        assert data.source == f"drawn by data/recipes.py, seed {data.seed}"
        assert 0.93 < data.ceiling < 0.98
        values = [*SIZES[name], data.ceiling, data.source]
        assert list(data.summary.values()) == values
    assert datasets.load_all().keys() == SIZES.keys()


@pytest.mark.parametrize("compressed", [True, False])
def test_any_type_of_number_becomes_float32_and_others_are_ignored(reading, compressed):
    other = {"note": "text", "options": {"rate": 0.1}, "cells": [1, "two"]}
    arrays = toy(Yv=toy()["Yt"][:, :6])
    for dtype in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        saved = {v: a.astype(dtype) for v, a in arrays.items()}
        saved = {**other, **saved, "C": saved["Ct"] + 1j, "last": 1}
        assert same(reading(mat(saved, do_compression=compressed)), arrays)
    assert same(reading(mat(toy(Ct=toy()["Ct"] > 0))), toy())
    nearly = toy(Ct=toy()["Ct"] * (1 - 1e-12))
    assert same(reading(mat(nearly)), toy())


@pytest.mark.parametrize("value", [1e20, -9.97e36])
def test_a_value_beside_which_the_others_vanish_is_named(reading, value):
    Y = np.random.default_rng(0).standard_normal((3, 12))
    Y[1, 4] = value
    said = r"^Toy: row 2 of Yt has 12 different values, of which float32 keeps 2 beside"
    with pytest.raises(DatasetError, match=said):
        reading(mat(toy(Yt=Y)))


def test_samples_of_another_length_are_standardised(reading):
    """By what is found in training: pixels, years, a constant, 1e-4 and 1e30."""
    usual = toy()["Yt"] / 2
    for factor, shift in ((0.3, 0), (1, 0), (2, 0)):
        one = reading(mat(toy(Yt=usual * factor + shift)))
        assert np.array_equal(one.Yt, np.float32(usual * factor + shift))
        assert "standardised" not in one.source
    for factor, shift in ((60, 127), (1, 2000), (1e-4, 0), (1e30, 0)):
        Yt, Yv = usual * factor + shift, usual[:, 3:9] * factor + shift
        Yt[1], Yv[1] = shift, shift + factor  # constant in training
        one = reading(mat(toy(Yt=Yt, Yv=Yv)))
        assert np.allclose(one.Yt.mean(axis=1), 0, atol=1e-4)
        assert np.allclose(one.Yt.std(axis=1) * np.sqrt(3), [1, 0, 1], atol=1e-4)
        assert np.array_equal(one.Yv, one.Yt[:, 3:9])
        assert one.Yv.dtype == one.Yt.dtype == np.float32
        assert one.source.startswith("user's file ToyData.mat, standardised, best")


def test_a_pixel_that_is_seldom_lit_does_not_outweigh_all_others(reading):
    dark = np.zeros((100, 1000), np.uint8)
    dark[:99] = 100 * (np.arange(1000) % np.arange(2, 101)[:, None] == 0)
    dark[99, 0] = 255
    classes = np.eye(2)[:, np.arange(1000) % 2]
    one = reading(mat({"Yt": dark, "Ct": classes, "Yv": dark, "Cv": classes}))
    assert "standardised" in one.source
    assert abs(one.Yt).max() <= 1  # 10 deviations / √100


def test_what_only_matlab_writes(reading):
    """The other order of bytes, names in UTF-8, and tables or strings, here `Yt`."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def variable(name, array):
        flags, size = struct.pack(">II", 7, 0), struct.pack(">ii", *array.shape)
        numbers = array.astype(">f4").tobytes(order="F")
        parts = (6, flags), (5, size), (16, name.encode()), (7, numbers)
        return element(14, b"".join(element(*part) for part in parts))

    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    content = [variable(v, a) for v, a in toy().items()]
    assert same(reading(header + b"".join(content)), toy())
    flags = element(6, struct.pack(">II", 17, 0))
    content[0] = element(14, flags + element(1, b"Yt"))
    message = refusal(reading, header + b"".join(content))
    assert "Yt must be a full matrix of real numbers, found opaque" in message


def test_a_file_is_known_by_its_numbers_alone(tmp_path):
    """Saved anew it is ours still; with one number changed, or no list, it is not."""
    ours = load("SwissRoll")
    arrays = {v: getattr(ours, v).copy() for v in VARIABLES}
    savemat(tmp_path / "MineData.mat", arrays)
    assert ledger(tmp_path) == {}
    assert load("Mine", tmp_path).ceiling is None
    (tmp_path / "ceilings.csv").write_bytes((DATA / "ceilings.csv").read_bytes())
    assert load("Mine", tmp_path).ceiling == ours.ceiling
    arrays["Yv"][1, 7] = np.nextafter(arrays["Yv"][1, 7], np.float32(9))
    savemat(tmp_path / "MineData.mat", arrays)
    data = load("Mine", tmp_path)
    assert data.ceiling is None
    assert data.source == "user's file MineData.mat, best possible accuracy unknown"


def test_digest_depends_on_each_array_and_its_shape():
    variants = [toy(), toy(Yt=toy()["Yt"].reshape(6, 6))]
    variants += [toy() | {v: toy()[v] + 1} for v in VARIABLES]
    assert len({digest(arrays) for arrays in variants}) == len(variants)


# --- bad files


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DatasetError, match=r"ToyData\.mat does not exist.*make data"):
        load("Toy", tmp_path)
    (tmp_path / "ToyData.mat").mkdir()
    with pytest.raises(DatasetError, match=r"ToyData\.mat cannot be opened"):
        load("Toy", tmp_path)


OTHER = [
    (b"", "is not a .mat file"),
    (b"x, y\n1, 2\n" * 99, "is not a .mat file"),
    (mat({"Yt": np.eye(3)}, format="4"), "is not a .mat file"),
    (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM\x89HDF", "save(..., '-v7')"),
    (bytes(4) + mat(toy())[4:], "is not a .mat file"),
    (b"MAT\0" + mat(toy())[4:], "is not a .mat file"),
    (mat({}), "Yt must be there once, found no variables"),
    (mat(toy()) + mat(toy())[128:], "Yt must be there once, found Yt, Ct, Yv, Cv, Yt"),
]
RAGGED = toy()["Ct"][:, np.arange(12) * 0]
ALL = slice(None)
BAD = [
    ({"Ct": None}, "Ct must be there once, found Yt, Yv, Cv"),
    ({"Yt": np.zeros((3, 12, 2))}, "Yt must be a matrix .* shape (3, 12, 2)"),
    ({"Yt": np.zeros((3, 0))}, "Yt must be a matrix .* shape (3, 0)"),
    ({"Yt": toy()["Yt"] + 1j}, "Yt .* found complex"),
    ({"Yt": "peaks"}, "Yt .* found char"),
    ({"Cv": np.array([1, "a"], dtype=object)}, "Cv .* found cell"),
    ({"Ct": csc_matrix(toy()["Ct"])}, "Ct .* found sparse"),
    (changed("Yt", (1, [4, 9]), np.nan), "Yt .* 2 entries .* first in column 5"),
    (changed("Yv", (0, 5), 1e39), "Yv .* too large for float32, .* column 6"),
    ({"Ct": toy()["Ct"][:, :11]}, "Yt and Ct must have equally many columns"),
    ({"Yt": toy()["Yt"][:, [0] * 12]}, "Yt must vary, found the same column"),
    ({"Yv": toy()["Yv"].T}, "Yv and Cv must have equally many columns"),
    ({"Yv": np.zeros((4, 6))}, "Yt and Yv must have equally many rows"),
    ({"Cv": np.eye(3)[:, np.arange(6) % 3]}, "Ct and Cv .* rows, not 2 and 3"),
    ({"Ct": np.arange(12)[None] % 2}, "Ct must be one-hot"),
    (changed("Ct", (ALL, 3), 0.5), "Ct .* 1 columns .* first is column 4"),
    (changed("Cv", (ALL, 0), [2, -1]), "Cv .* first is column 1"),
    ({"Ct": RAGGED}, "Ct .* found [12, 0] samples per class"),
    ({"Ct": np.ones((1, 12)), "Cv": np.ones((1, 6))}, "Ct .* found [12] samples"),
]


@pytest.mark.parametrize(
    ("content", "words"), [*OTHER, *((mat(toy(**new)), words) for new, words in BAD)]
)
def test_what_is_wrong_is_said(reading, content, words):
    pattern = ".*".join(map(re.escape, words.split(".*")))
    assert re.search(pattern, refusal(reading, content))


@pytest.mark.parametrize("compressed", [True, False])
def test_truncated_and_corrupt_files_are_refused_or_harmless(reading, compressed):
    """Compressed variables carry a checksum: what loads from them is unchanged."""
    content = mat(toy(), do_compression=compressed)
    for length in np.linspace(0, len(content) - 1, 100).astype(int):
        refusal(reading, content[:length])
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
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
    assert refused > 125


def tag(kind, size):
    return struct.pack("<II", kind, size)


def pack(data):
    one = zlib.compress(data)
    return tag(15, len(one)) + one


def test_zeros_behind_the_last_variable_are_none(reading):
    for compressed in (True, False):
        content = mat(toy(), do_compression=compressed)
        for more in (1, 7, 8, 4096):
            assert same(reading(content + bytes(more)), toy())
        message = refusal(reading, content + bytes(64) + b"x")
        assert "zeros where an element must begin" in message


def test_no_more_is_unpacked_than_a_variable_holds(reading, monkeypatch):
    """What others hold stays packed, and what is ours ends where its tag says."""
    unpacked, real = [], zlib.decompressobj

    class Counted:
        def __init__(self):
            self.real = real()

        def decompress(self, data, most):
            found = self.real.decompress(data, most)
            unpacked.append(len(found))
            return found

        eof = property(lambda self: self.real.eof)

    monkeypatch.setattr("data.matfile.zlib.decompressobj", Counted)
    content = mat({"bomb": np.zeros(10**6), **toy()}, do_compression=True)
    assert same(reading(content), toy())
    assert sum(unpacked) < 50_000
    Yt = mat(toy())[128:]
    size = struct.unpack("<II", Yt[:8])[1]
    bomb = Yt[: 8 + size] + bytes(10**6)
    unpacked.clear()
    assert "not the" in refusal(reading, content[:128] + pack(bomb))
    assert sum(unpacked) < 50_000


def test_what_is_packed_twice_or_too_large_is_refused(reading):
    header, body = mat(toy())[:128], mat(toy())[128:]
    size = struct.unpack("<II", body[:8])[1]
    inside = body[: 8 + size]
    assert "compressed twice" in refusal(reading, header + pack(pack(inside)))
    for claimed in (2**28 + 8, 2**32 - 1):
        large = pack(tag(14, claimed) + inside[8:])
        assert f"Yt has {claimed} bytes" in refusal(reading, header + large)


def test_memory_that_is_too_small_is_said(reading, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr("data.matfile.np.frombuffer", full)
    assert "more than fits into memory" in refusal(reading, mat(toy()))


def test_elements_of_unknown_types_are_refused(reading):
    content = mat(toy())
    numbers = content.index(toy()["Yt"].tobytes(order="F")) - 8
    for kind in (0, 8, 14, 15, 19, 250):
        damaged = content[:numbers] + bytes([kind]) + content[numbers + 1 :]
        assert "is truncated or damaged" in refusal(reading, damaged)


@pytest.mark.parametrize("row", ["abc,high,1", "abc", "a" * 200_000])
def test_a_broken_list_of_ceilings_is_named(tmp_path, row):
    savemat(tmp_path / "ToyData.mat", toy())
    (tmp_path / "ceilings.csv").write_text(f"sha256,ceiling,seed\n{row}\n")
    with pytest.raises(DatasetError, match=r"ceilings\.csv: expected the columns"):
        load("Toy", tmp_path)


# --- drawing samples


@pytest.fixture
def numbered():
    """1000 samples that carry their number; every third is of class 1."""
    number = np.arange(1000, dtype=np.float32)
    C = np.eye(2, dtype=np.float32)[:, (number % 3 == 0).astype(int)]
    return Dataset("Toy", np.stack([number, -number]), C, *2 * [C[:, :9]], 0.9, seed=4)


def is_paired(X, C):
    return np.array_equal(X[0], -X[1]) and np.array_equal(C[1], X[0] % 3 == 0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda data, rng: subsample(data, 200, rng).Yt,
        lambda data, rng: hold_out(data, 0.2, rng).Yv,
        lambda data, rng: minibatch(data, 200, rng)[0],
    ],
)
def test_draws_are_random_without_repetition_and_follow_their_seed(numbered, draw):
    seeds = np.random.default_rng(1), 1, 2  # a generator or a seed
    one, again, other = (draw(numbered, seed)[0] for seed in seeds)
    assert np.unique(one).size == one.size == 200
    assert np.array_equal(one, again)
    assert not np.array_equal(np.sort(one), np.sort(other))
    assert one.min() < 100
    assert one.max() > 900
    assert np.any(np.diff(one) < 0)
    assert numbered.Yt.shape == (2, 1000)


def test_subsamples_and_minibatches_keep_pairs_and_the_rest(numbered):
    few = subsample(numbered, 200, np.random.default_rng(1))
    assert is_paired(few.Yt, few.Ct)
    for name in vars(numbered).keys() - {"Yt", "Ct"}:
        assert getattr(few, name) is getattr(numbered, name)
    every = subsample(numbered, 1000, np.random.default_rng(1))
    assert np.array_equal(np.sort(every.Yt[0]), numbered.Yt[0])
    X, C = minibatch(numbered, 64, np.random.default_rng(1))
    assert X.dtype == C.dtype == np.float64
    assert X.shape == C.shape == (2, 64)
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
    same = jitter(numbered, 0, copies=1, rng=1)
    assert np.array_equal(same.Yt, numbered.Yt)


def test_hold_out_splits_the_training_samples_and_never_shows_the_others(numbered):
    secret = replace(numbered, Yv=numbered.Yv * 0 + 1e9, Cv=numbered.Cv * 0 + 1e9)
    split = hold_out(secret, 0.2, np.random.default_rng(1))
    together = np.concatenate([split.Yt[0], split.Yv[0]])
    assert np.array_equal(np.sort(together), numbered.Yt[0])
    assert is_paired(split.Yt, split.Ct)
    assert is_paired(split.Yv, split.Cv)
    assert (split.name, split.ceiling, split.seed) == ("Toy", 0.9, 4)
    for part, judged in ((0.25, 250), (0.3336, 334), (0.0006, 1), (0.0001, 1)):
        split = hold_out(numbered, part, np.random.default_rng(1))
        assert (split.Yt.shape[1], split.Yv.shape[1]) == (1000 - judged, judged)
    for part in (0, 1, -0.1, 0.9999):
        with pytest.raises(DatasetError, match=r"Toy: part = .* cannot be held out"):
            hold_out(numbered, part, np.random.default_rng(1))


@pytest.mark.parametrize("draw", [subsample, minibatch])
def test_impossible_numbers_of_samples(numbered, draw):
    for m in (-1, 0, 1001):
        with pytest.raises(DatasetError, match=rf"Toy: Yt has 1000 .* not {m}\."):
            draw(numbered, m, np.random.default_rng(1))


@pytest.mark.parametrize(("offset", "spread"), [(1.7e9, 20), (1, 1e-7)])
def test_what_is_small_beside_an_offset_is_not_lost(tmp_path, offset, spread):
    """The second offset leaves the samples about as long as they should be."""
    Y = offset + spread * np.random.default_rng(0).standard_normal((2, 240))
    C = np.eye(2)[:, np.arange(240) % 2]
    savemat(tmp_path / "TimeData.mat", {"Yt": Y, "Ct": C, "Yv": Y, "Cv": C})
    found = datasets.load("Time", tmp_path)
    assert found.standardised
    assert len(np.unique(found.Yt)) == len(np.unique(Y)) == 480
    assert np.array_equal(np.argsort(found.Yt), np.argsort(Y))
