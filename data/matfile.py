"""Data files: what a MATLAB file must hold, what is wrong with one, what is known.

A file has four variables, samples in columns: `Yt` (features, m) and `Ct` (classes, m)
for training, `Yv` and `Cv` for validation. Everything that could spoil a training run
unnoticed is checked here, once, so that nothing later needs to ask. The format is read
here, too: SciPy's reader trusts a file, and crashes on some that are damaged.
"""

import csv
import struct
import zlib
from hashlib import sha256
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent
VARIABLES = ("Yt", "Ct", "Yv", "Cv")
CEILINGS = "ceilings.csv"
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # how a header ends, up to v7
V73 = (b"\x00\x02IM", b"\x02\x00MI")
COMPRESSED, COMPLEX, OPAQUE = 15, 0x800, 17
HEAD, LARGEST = 4096, 2**28  # bytes: of what names a variable, and of a whole one
NONE = 0, b""  # an element that is missing
OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse"}
OTHERS |= {16: "function", OPAQUE: "opaque"}
TYPES = dict(zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), "bBhHiIfdqQ", strict=True))


class DatasetError(ValueError):
    """A data file is not what it must be; one sentence says how."""


def require(holds, sentence):
    """Raise DatasetError with this sentence unless it holds."""
    if not holds:
        raise DatasetError(sentence)


def path_of(name, folder=DATA):
    """Return where the file of a dataset lies."""
    return Path(folder) / f"{name}Data.mat"


def digest(arrays):
    """SHA-256 over names, shapes, type and values of the four arrays in float32."""
    state = sha256()
    for v in VARIABLES:
        state.update(f"{v} {arrays[v].shape} float32\n".encode())
        state.update(arrays[v].astype("<f4").tobytes())
    return state.hexdigest()


def ledger(folder=DATA):
    """{sha256: {ceiling, seed}} of the files that `data.recipes` drew."""
    path, known = Path(folder) / CEILINGS, {}
    try:
        for row in csv.DictReader(path.read_text("utf-8").splitlines()):
            ceiling, seed = float(row["ceiling"]), int(row["seed"])
            known[row["sha256"]] = {"ceiling": ceiling, "seed": seed}
    except FileNotFoundError:
        pass
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path}: expected the columns sha256, ceiling and seed with numbers, "
            f"found {error!r}: delete the file and run `make data`."
        ) from error
    return known


def read(path):
    """Return {variable: array of floats}; raises DatasetError if anything is amiss.

    Numbers that float32 would round stay float64: what is small beside a large offset
    is lost in float32.
    """
    get = "run `make data` or put the course's file there"
    require(path.exists(), f"{path} does not exist: {get}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened: {error.strerror}.") from error
    new = "a MATLAB v7.3 (HDF5) file, which is not supported"
    save = "save it in MATLAB with save(..., '-v7')"
    require(content[124:128] not in V73, f"{path} is {new}: {save}.")
    known = content[124:128] in ORDERS and 0 not in content[:4]  # v4 begins with zeros
    require(known, f"{path} is not a .mat file of MATLAB's version 5 to 7.")
    try:
        variables = [*_variables(content)]
    except (ValueError, struct.error, zlib.error) as error:
        raise DatasetError(f"{path} is truncated or damaged: {error}.") from error
    except MemoryError as error:
        raise DatasetError(f"{path} holds more than fits into memory.") from error
    for holds, sentence in _demands(variables):
        require(holds, f"{path}: {sentence}")
    arrays = dict(variables)
    return {v: _floats(arrays[v]) for v in VARIABLES}


def _floats(x):
    """Return numbers as float32 if it holds them all, else as float64."""
    single = np.array(x, np.float32, order="C")
    return single if (single == x).all() else np.array(x, float, order="C")


def _elements(data, order):
    """Yield the type and the bytes of each element of a MAT-file, as they are stored.

    A tag is two 32-bit numbers, type and size; up to four bytes follow a single one,
    with the size in its upper half. All but compressed elements are padded to 8 bytes.
    Zeros behind the last are none.
    """
    while data:
        if not any(data[:8]):
            if bytes(data).strip(b"\0"):
                raise ValueError("there are zeros where an element must begin")
            return
        kind, size = struct.unpack(f"{order}II", data[:8])
        start, size = (4, kind >> 16) if kind > 0xFFFF else (8, size)
        stop = start + size
        if stop > len(data):
            raise ValueError("its end is missing")
        yield kind & 0xFFFF, data[start:stop]
        data = data[stop if kind == COMPRESSED else stop + -stop % 8 :]


def _whole(packed, size):
    """Unpack a variable of so many bytes, and of no more, behind its tag."""
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(packed, size + 9)
    if len(found) != size + 8 or not unpacker.eof:
        raise ValueError(f"a variable has not the {size} bytes that it says")
    return memoryview(found)[8:]


def _variables(content):
    """Yield each variable's name, and its numbers or in a word what it is instead.

    A variable begins with flags, dimensions (unless opaque) and name; in a full, real
    matrix only the numbers follow. Those of other variables than ours are not read,
    nor unpacked: a small file may be packed of gigabytes.
    """
    order = ORDERS[content[124:128]]
    for kind, data in _elements(memoryview(content)[128:], order):
        head, size = data, len(data)
        if kind == COMPRESSED:
            head = zlib.decompressobj().decompress(data, HEAD)
            inner, size = struct.unpack(f"{order}II", head[:8])
            if inner == COMPRESSED:
                raise ValueError("a variable is compressed twice")
            head = head[8:]
        parts = _elements(head, order)
        (flags,) = struct.unpack(f"{order}I", next(parts, NONE)[1][:4])
        array = flags & 0xFF
        shape = None if array == OPAQUE else next(parts, NONE)[1]
        name = bytes(next(parts, NONE)[1]).decode("latin-1")
        what = OTHERS.get(array, "complex" if flags & COMPLEX else None)
        if what or name not in VARIABLES:
            yield name, what
            continue
        if size > LARGEST:
            raise ValueError(f"{name} has {size} bytes, {LARGEST} are read at most")
        whole = _whole(data, size) if kind == COMPRESSED else data
        types, parts = zip(*_elements(whole, order), strict=True)
        if len(types) != 4 or types[3] not in TYPES:
            raise ValueError(f"{name} has elements of types {types}")
        numbers = np.frombuffer(parts[3], order + TYPES[types[3]])
        yield name, numbers.reshape(np.frombuffer(shape, f"{order}u4"), order="F")


def _demands(variables):
    """Yield what must hold, in order, with the sentence that is said where it fails."""
    names = [name for name, _ in variables if name]
    there = ", ".join(names) or "no variables"
    for v in VARIABLES:
        yield names.count(v) == 1, f"variable {v} must be there once, found {there}."
    Yt, Ct, Yv, Cv = (dict(variables)[v] for v in VARIABLES)
    for v, x in zip(VARIABLES, (Yt, Ct, Yv, Cv), strict=True):
        real = isinstance(x, np.ndarray)
        yield real, f"{v} must be a full matrix of real numbers, found {x}."
        must = f"{v} must be a matrix with samples in columns"
        yield x.ndim == 2 and x.size > 0, f"{must}, found shape {x.shape}."
        bad = ~(np.abs(x) <= np.finfo(np.float32).max)
        must = f"{v} must be finite, found {bad.sum()} entries that are NaN, infinite"
        first = f"the first in column {bad.any(axis=0).argmax() + 1}"
        yield not bad.any(), f"{must} or too large for float32, {first}."
    varies = np.any(Yt != Yt[:, :1])
    yield varies, "Yt must vary, found the same column for every sample."
    Ct, Cv = (C.astype(np.float32) for C in (Ct, Cv))
    for v, C in (("Ct", Ct), ("Cv", Cv)):
        bad = ~np.isin(C, (0, 1)).all(axis=0) | (C.sum(axis=0) != 1)
        must = f"{v} must be one-hot (each column a single 1, else 0)"
        first = f"the first is column {bad.argmax() + 1} of {C.shape[1]}"
        yield not bad.any(), f"{must}, found {bad.sum()} columns that are not, {first}."
    for both, a, b in (("Yt and Ct", Yt, Ct), ("Yv and Cv", Yv, Cv)):
        must, n, m = f"{both} must have equally many columns", a.shape[1], b.shape[1]
        yield n == m, f"{must} (one per sample), not {n} and {m}."
    for both, a, b in (("Yt and Yv", Yt, Yv), ("Ct and Cv", Ct, Cv)):
        must, n, m = f"{both} must have equally many rows", len(a), len(b)
        yield n == m, f"{must}, not {n} and {m}."
    counts = Ct.sum(axis=1).astype(int).tolist()
    must = "Ct must have at least two classes and samples of each"
    yield len(counts) > 1 and all(counts), f"{must}, found {counts} samples per class."
