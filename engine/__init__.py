"""The engine: records what a function asks of NumPy, and performs it compiled.

`programs(function, state, X, C, batch)` is all that others need of it. It knows nothing
of networks: any function of a state and samples will do, if it is made of what
`engine.machine` has instructions for. Where it is not, or where Numba is missing, the
answer is None, after one line that says why: plain NumPy then does the same.
"""

from functools import cache


def programs(function, state, X, C, batch):
    """Return `function` compiled for batches of samples (see Programs), or None."""
    try:
        from engine.program import Programs, UnknownError  # noqa: PLC0415 - needs Numba
    except ImportError as error:
        say(f"Numba cannot be imported ({error})")
        return None
    try:
        return Programs(function, state, X, C, batch)
    except UnknownError as error:
        if str(error):
            say(f"the compiled engine does not do {error}")
        return None
    except Exception as error:  # whatever is wrong with the function, NumPy says best
        say(f"the compiled engine cannot record it ({type(error).__name__}: {error})")
        return None


@cache
def say(reason):
    """Say once that plain NumPy does the work, and why."""
    print(f"by plain NumPy, which is slower: {reason}")
