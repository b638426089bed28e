"""Results of training, kept on disk and found again by everything that decided them.

The key of a result is a digest of the settings, the layers, the samples, the code of
`helpers` that trains, and the libraries beneath it: if any of these changes, there is
no such result yet. What lies in the folder may be deleted at any time.
"""

import io
import platform
from dataclasses import fields
from hashlib import sha256
from types import FunctionType

import numpy as np

from helpers import datasets, files

FOLDER = files.BUILD / "cache"
DECIDE = ("datasets", "losses", "layers", "network", "sgd", "experiments")
TRUSTED = [f"helpers.{name}" for name in DECIDE]
SEAL = 64  # characters of a digest


def code():
    """Return digests of what decides numbers besides settings and samples.

    The first is of our code, the second of the libraries and the processor beneath it.
    """
    modules = [files.ROOT / "helpers" / f"{name}.py" for name in DECIDE]
    build = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"]
    versions = platform.python_version(), np.__version__, blas["name"], blas["version"]
    beneath = versions, build["SIMD Extensions"]
    ours = digest(*(path.read_bytes() for path in modules))
    return ours, digest(repr(beneath).encode())


def digest(*parts):
    """Return the SHA-256 of byte strings, each with its length."""
    state = sha256()
    for part in parts:
        state.update(b"%d:" % len(part) + part)
    return state.hexdigest()


CODE = code()  # as it is imported: the files may change while a kernel runs


class UnknownError(TypeError):
    """Something decides the result whose code is not in the key."""


def described(value):
    """Return plain data that says all about a setting or a layer.

    Raises UnknownError for what is not defined in these modules: nobody would notice if
    its code changed.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [described(one) for one in value]
    if isinstance(value, dict):
        return [[key, described(one)] for key, one in value.items()]
    kind = value if isinstance(value, (FunctionType, type)) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ not in TRUSTED or "<" in name:
        raise UnknownError(name)
    return [name] if kind is value else [name, described(vars(value))]


def key(run, layers, data):
    """Return the key of a result, or None if it is not to be kept."""
    arrays = [getattr(data, name) for name in datasets.VARIABLES]
    samples = [f"{A.dtype} {A.shape}".encode() + A.tobytes() for A in arrays]
    settings = {each.name: getattr(run, each.name) for each in fields(run)}
    try:
        plain = repr([described(settings), described(layers)])
    except UnknownError:
        return None
    return digest(repr(CODE).encode(), plain.encode(), *samples)


def load(key):
    """Return (parameters, history) kept under a key; None if absent or damaged."""
    try:
        content = (FOLDER / key).read_bytes()
    except OSError:
        return None
    if content[:SEAL] != digest(key.encode(), content[SEAL:]).encode():
        return None
    with np.load(io.BytesIO(content[SEAL:]), allow_pickle=False) as arrays:
        history = dict(arrays)
    return history.pop("parameters"), history


def save(key, parameters, history):
    """Keep a result under its key, sealed with a digest."""
    file = io.BytesIO()
    np.savez_compressed(file, parameters=parameters, **history)
    content = file.getvalue()
    files.write(FOLDER / key, digest(key.encode(), content).encode() + content)
