"""Data files: what a MATLAB file must hold, what is wrong with one, what is known.

A file has four variables, samples in columns: `Yt` (features, m) and `Ct` (classes, m)
for training, `Yv` and `Cv` for validation. Everything that could spoil a training run
unnoticed is checked here, once, so that nothing later needs to ask.
"""

import csv
import io
import struct
import zlib
from hashlib import sha256
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

DATA = Path(__file__).parent
VARIABLES = ("Yt", "Ct", "Yv", "Cv")
CEILINGS = "ceilings.csv"


class DatasetError(ValueError):
    """A data file is not what it must be; one sentence says how."""


def path_of(name, folder=DATA):
    """Return where the file of a dataset lies."""
    return Path(folder) / f"{name}Data.mat"


def read(path):
    """Return {variable: float32 array}; raises DatasetError if anything is amiss."""
    raw = _read(path)
    arrays = {v: _numbers(raw[v], f"{path}: {v}") for v in VARIABLES}
    for Y, C in (("Yt", "Ct"), ("Yv", "Cv")):
        _check_same(arrays, Y, C, 1, path)
        _check_one_hot(arrays[C], f"{path}: {C}")
    _check_same(arrays, "Yt", "Yv", 0, path)
    _check_same(arrays, "Ct", "Cv", 0, path)
    _check_classes(arrays["Ct"], f"{path}: Ct")
    return arrays


def digest(arrays):
    """SHA-256 over names, shapes, type and values of the four float32 arrays."""
    state = sha256()
    for v in VARIABLES:
        state.update(f"{v} {arrays[v].shape} float32\n".encode())
        state.update(arrays[v].astype("<f4").tobytes())
    return state.hexdigest()


def ledger(folder=DATA):
    """{sha256: {ceiling, seed}} of the files that `data.recipes` drew."""
    path = Path(folder) / CEILINGS
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return {
            row["sha256"]: {"ceiling": float(row["ceiling"]), "seed": int(row["seed"])}
            for row in rows
        }
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path}: expected the columns sha256, ceiling and seed with numbers, "
            f"found {error!r}: delete the file and run `make data`."
        ) from error


def require(holds, sentence):
    """Raise DatasetError with this sentence unless it holds."""
    if not holds:
        raise DatasetError(sentence)


# --- reading: SciPy trusts a file, so its structure is looked at first ---------------

V5 = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
V73 = (b"\x00\x02IM", b"\x02\x00MI")
COMPRESSED = 15
COMPLEX = 0x800
SPARSE = 5
NUMBER_CLASSES = range(6, 16)
NUMBER_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
DAMAGE = (OSError, TypeError, ValueError, struct.error, zlib.error)


def _read(path):
    """The four variables in whatever type they were saved."""
    content = _bytes(path)
    try:
        listed = whosmat(io.BytesIO(content))
        _check_names([name for name, *_ in listed], path)
        _check_structure(content, listed, path)
        return loadmat(io.BytesIO(content), variable_names=VARIABLES)
    except DatasetError:
        raise
    except DAMAGE as error:
        raise DatasetError(f"{path} is truncated or damaged: {error}.") from error


def _bytes(path):
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} does not exist: run `make data` or put the course's file there."
        ) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened: {error.strerror}.") from error
    _check_version(content, path)
    return content


def _check_version(content, path):
    """A MATLAB 5 to 7 header ends in version and byte order; v4 starts with zeros."""
    version = content[124:128]
    require(
        version not in V73,
        f"{path} is a MATLAB v7.3 (HDF5) file, which is not supported: "
        "save it in MATLAB with save(..., '-v7').",
    )
    require(
        version in V5 and 0 not in content[:4],
        f"{path} is not a .mat file of MATLAB's version 5 to 7.",
    )


def _check_names(names, path):
    for v in VARIABLES:
        require(
            names.count(v) == 1,
            f"{path}: variable {v} must be there once, "
            f"found {', '.join(names) or 'no variables'}.",
        )


def _elements(data, order):
    """Yield the type and the bytes of each element of a MAT-file.

    A tag is two 32-bit numbers, type and size; a small element is all in its tag, and
    comes here without its bytes. All but compressed ones are padded to 8 bytes.
    """
    while data:
        kind, size = struct.unpack(f"{order}II", data[:8])
        stop = 8 if kind > 0xFFFF else 8 + size
        yield kind & 0xFFFF, data[8:stop]
        data = data[stop if kind == COMPRESSED else stop + -stop % 8 :]


def _unpacked(kind, data, order):
    if kind != COMPRESSED:
        return data
    ((_, matrix),) = _elements(memoryview(zlib.decompress(data)), order)
    return matrix


def _check_structure(content, listed, path):
    """The four variables are full, real matrices of numbers, and whole.

    Such a matrix has exactly the elements flags, dimensions, name and numbers. Where
    one is missing or of unknown type, SciPy crashes rather than raises.
    """
    order = V5[content[124:128]]
    variables = _elements(memoryview(content)[128:], order)
    for (name, _, kind), variable in zip(listed, variables, strict=True):
        if name not in VARIABLES:
            continue
        types, parts = zip(*_elements(_unpacked(*variable, order), order), strict=True)
        (flags,) = struct.unpack(f"{order}I", parts[0][:4])
        odd = {SPARSE: "sparse"}.get(flags & 0xFF, "complex" if flags & COMPLEX else "")
        require(
            not odd and flags & 0xFF in NUMBER_CLASSES,
            f"{path}: {name} must be a full matrix of real numbers, "
            f"found {odd or kind}.",
        )
        if len(types) != 4 or not NUMBER_TYPES.issuperset(types):
            raise ValueError(f"{name} has elements of types {types}")


# --- checking ------------------------------------------------------------------------


def _numbers(array, where):
    """A finite, real matrix as float32."""
    require(
        array.ndim == 2 and array.size > 0,
        f"{where} must be a matrix with samples in columns, found shape {array.shape}.",
    )
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)
    require(
        not bad.any(),
        f"{where} must be finite, found {bad.sum()} entries that are NaN, infinite or "
        f"too large for float32, the first in column {bad.any(axis=0).argmax() + 1}.",
    )
    return np.ascontiguousarray(array, dtype=np.float32)


def _check_same(arrays, one, other, axis, path):
    a, b = arrays[one].shape[axis], arrays[other].shape[axis]
    what = ("rows", "columns (one per sample)")[axis]
    require(
        a == b,
        f"{path}: {one} and {other} must have equally many {what}, not {a} and {b}.",
    )


def _check_one_hot(C, where):
    bad = ~np.isin(C, (0, 1)).all(axis=0) | (C.sum(axis=0) != 1)
    require(
        not bad.any(),
        f"{where} must be one-hot (each column a single 1, else 0), found {bad.sum()} "
        f"columns that are not, the first is column {bad.argmax() + 1}.",
    )


def _check_classes(C, where):
    counts = C.sum(axis=1).astype(int).tolist()
    require(
        len(counts) > 1 and all(counts),
        f"{where} must have at least two classes and samples of each, "
        f"found {counts} samples per class.",
    )
