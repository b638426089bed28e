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
DATA = (int, float, str, dict, *SEVERAL, *[*STATES][:4])


def generators():
    """Return the states of NumPy's and of Python's global generators."""
    return np.random.get_state(), random.getstate()  # noqa: NPY002 - not to draw


def restore(states):
    """Set the global generators to what they were."""
    np.random.set_state(states[0])  # noqa: NPY002
    random.setstate(states[1])


def seen(function):
    """Return {name: what it is} of all that a function is made of and can see."""
    found, visited = {}, {}

    def visit(name, x):
        if id(x) in visited:
            found[name] = visited[id(x)][0]
            return
        found[name], parts = what(name, x)
        if parts:
            visited[id(x)] = name, x  # which lives on, and so keeps its number
        for part, value in parts.items():
            visit(part, value)

    visit("the function", function)
    visit("a global generator", generators())
    return found


def what(name, x):
    """Return what tells an object from another, and its parts {name: object}."""
    parts = dict(attributes(x))
    for kind, state in STATES.items():
        if isinstance(x, kind):
            return sha256(pickle.dumps(state(x))).digest(), {}
    if isinstance(x, FunctionType):
        parts = {f"{n} of {x.__name__}": one for n, one in surroundings(x)}
    elif isinstance(x, (MethodType, partial)):
        names = ("__self__", "__func__", "func", "args", "keywords")
        parts = {f"{name}.{n}": getattr(x, n, None) for n in names}
    elif isinstance(x, (dict, *SEVERAL)):
        items = x.items() if isinstance(x, dict) else enumerate(x)
        parts |= {f"{name}[{n!r}]": one for n, one in items}
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
    kind = type(x)
    for name, value in getattr(x, "__dict__", {}).items():
        yield f"{kind.__name__}.{name}", value
    for base in kind.__mro__[:-1]:
        for name in getattr(base, "__slots__", ()):
            if hasattr(x, name):
                yield f"{kind.__name__}.{name}", getattr(x, name)
        if hasattr(x, "__dict__"):
            for name, value in vars(base).items():
                if isinstance(value, (FunctionType, *DATA)):
                    yield f"{base.__name__}.{name}", value
