"""What a call leaves behind: everything that can be seen of objects, before and after.

A function that draws, counts or keeps something does otherwise the next time. It is no
function of its arguments, and a record of one call says nothing of another.
"""

import pickle
import random
from collections import deque
from contextlib import suppress
from functools import partial
from hashlib import sha256
from types import FunctionType, MethodType, ModuleType

import numpy as np

SEVERAL = (list, tuple, set, frozenset, deque)
STATES = {  # of objects that have no other parts
    np.ndarray: lambda x: (x.shape, x.dtype.str, x.tobytes()),
    np.random.Generator: lambda x: x.bit_generator.state,
    np.random.RandomState: lambda x: x.get_state(),
    random.Random: lambda x: x.getstate(),
    ModuleType: lambda x: x.__name__,
    type: id,
}
SIMPLE = (int, float, str, bytes, type(None))
GENERATOR = "a global generator"  # of random numbers, which all threads share
DATA = (int, float, str, dict, *SEVERAL, *[*STATES][:4])


def generators():
    """Return the states of NumPy's and of Python's global generators."""
    return np.random.get_state(), random.getstate()  # noqa: NPY002 - not to draw


def restore(states):
    """Set the global generators to what they were."""
    np.random.set_state(states[0])  # noqa: NPY002
    random.setstate(states[1])


def seen(function):
    """Return {way/to/it: what it is} of all that a function can see."""
    found, visited = {}, {}

    def visit(way, x):
        if id(x) in visited:
            found[way] = visited[id(x)][0]
            return
        found[way], parts = what(x)
        if parts:
            visited[id(x)] = way, x  # which lives on, and so keeps its number
        for name, part in parts.items():
            visit(f"{way}/{name}", part)

    visit("the function", function)
    visit(GENERATOR, pickle.dumps(generators()))
    return found


def what(x):
    """Return what tells an object from another, and its parts {name: object}."""
    if isinstance(x, SIMPLE):
        return (type(x), repr(x) if isinstance(x, float) else x), {}
    for kind, state in STATES.items():
        if isinstance(x, kind):
            return sha256(pickle.dumps(state(x))).digest(), {}
    parts = dict(attributes(x))
    if isinstance(x, FunctionType):
        parts = {f"{n} of {x.__name__}": one for n, one in surroundings(x)}
    elif isinstance(x, (MethodType, partial)):
        names = ("__self__", "__func__", "func", "args", "keywords")
        parts = {n: getattr(x, n, None) for n in names}
    elif isinstance(x, (dict, *SEVERAL)):
        items = x.items() if isinstance(x, dict) else enumerate(x)
        parts |= {f"[{n!r}]": one for n, one in items}
    return (type(x), [*parts]) if parts else repr(x), parts


def surroundings(function):
    """Yield the names and values that a function finds outside of its arguments."""
    yield from vars(function).items()
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        with suppress(ValueError):  # that has no value yet
            yield name, cell.cell_contents
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, DATA) or type(value).__module__ == "itertools":
            yield name, value


def attributes(x):
    """Yield the names and values of an object's attributes, and of its class's."""
    name = type(x).__name__
    if hasattr(x, "__dict__"):
        for base in reversed(type(x).__mro__[:-1]):
            for attribute, value in vars(base).items():
                if isinstance(value, (FunctionType, *DATA)):
                    yield f"{name}.{attribute}", value
    for attribute in getattr(type(x), "__slots__", ()):
        if hasattr(x, attribute):
            yield f"{name}.{attribute}", getattr(x, attribute)
    for attribute, value in getattr(x, "__dict__", {}).items():
        yield f"{name}.{attribute}", value
