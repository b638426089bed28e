"""From notes to kernels: what is needed, what is done in one go, and where it lies."""

from functools import cache

from engine import kernels
from engine.kernels import LANES

WHOLE = {"matmul": kernels.product, "transpose": kernels.transpose}


@cache
def extent(place):
    """Return where a place begins, and where it ends."""
    start, *sizes = place
    ends = [(n - 1) * s for n, s in zip(*sizes, strict=True)]
    low, high = (sum(f(e, 0) for e in ends) for f in (min, max))
    return start + low, start + high + 1


def grouped(notes):
    """Return the notes in groups of which one kernel does an entry after another.

    In a group, what overlaps with a result is that result itself.
    """
    groups, shape, read, written = [], None, {}, {}

    def apart(place, others):
        low, high = extent(place)
        return place in others or all(high <= a or b <= low for a, b in others.values())

    for name, out, operands in notes:
        places = [x for x in operands if isinstance(x, tuple)]
        same = shape == out[1] and name not in WHOLE and apart(out, read)
        if not same or not all(apart(x, written) for x in (out, *places)):
            groups.append([])
            read, written = {}, {}
        shape = None if name in WHOLE else out[1]
        groups[-1].append((name, out, operands))
        read |= {x: extent(x) for x in places}
        written[out] = extent(out)
    return groups


def needed(tape, notes, live):
    """Return the notes on which arrays depend that are named by where they begin.

    And those arrays on which these depend in turn, with what was there before.
    """
    kept, live = [], {*live}
    for name, out, operands in reversed(notes):
        if (buffer := tape.buffer(out)) in live:
            kept.insert(0, (name, out, operands))
            if out[1][0] * out[1][1] == tape.sizes[buffer]:
                live.discard(buffer)
            live |= {tape.buffer(x) for x in operands if isinstance(x, tuple)}
    return kept, live


def outside(group, stored):
    """Return the places that a kernel reads or writes, in order."""
    places, inside = {}, set()
    for _, out, operands in group:
        places |= {x: 0 for x in operands if isinstance(x, tuple) and x not in inside}
        inside.add(out)
    return [*(places | dict.fromkeys(stored))]


def lay(tape, uses, fixed):
    """Return {array: start} in a memory, which is used again as soon as it is free.

    The call n uses the arrays uses[n]; those that are fixed keep their places.
    """
    places, free, top = {}, {}, 0
    last = {x: n for n, arrays in enumerate(uses) for x in arrays}
    for n, arrays in enumerate([fixed, *uses], start=-1):
        for x in arrays:
            room = -(-max(tape.sizes[x], 1) // LANES) * LANES
            if x not in places and free.get(room):
                places[x] = free[room].pop()
            elif x not in places:
                places[x], top = top, top + room
        for x in arrays:
            if x not in fixed and last[x] == n:
                room = -(-max(tape.sizes[x], 1) // LANES) * LANES
                free.setdefault(room, []).append(places[x])
    return places, top


def call(tape, lain, group, stored):
    """Return (address of a kernel, where the arrays begin that it is given)."""
    starts, inside = {}, {}

    def local(x):
        if not isinstance(x, tuple):
            return x
        if (buffer := tape.buffer(x)) not in lain:
            return inside.setdefault(x[0], f"inside {len(inside)}"), *x[1:]
        start = lain[buffer] + x[0] - buffer
        return starts.setdefault(start, f"%s{len(starts)}"), *x[1:]

    make = WHOLE.get(group[0][0], kernels.entries)
    notes = tuple((name, local(out), (*map(local, xs),)) for name, out, xs in group)
    stored = tuple(map(local, stored))
    return kernels.kernel(make, len(starts), notes, stored), [*starts]


def groups(tape, wanted):
    """Return what is done in one go, in order: (notes, results that are stored).

    It computes the arrays that are wanted, named by where they begin on the tape.
    """
    found, live = [], {*wanted}
    notes = [
        (n, x, tuple(tape.same.get(y[0], y) for y in ys)) for n, x, ys in tape.notes
    ]
    for group in reversed(grouped(needed(tape, notes, live)[0])):
        stored = [*dict.fromkeys(x for _, x, _ in group if tape.buffer(x) in live)]
        _, live = needed(tape, group, live)
        found.insert(0, (group, stored))
    return found


def line(tape, lain, group, stored):
    """Return (operations, (rows, columns, depth), places written, places read)."""

    def starts(places):
        return [lain[tape.buffer(x)] + x[0] - tape.buffer(x) for x in places]

    name, out, operands = group[0]
    depth = operands[0][1][1] if name == "matmul" else 0
    read = [x for x in outside(group, []) if tape.buffer(x) in lain]
    names = [name for name, *_ in group]
    return names, (*out[1], depth), starts(stored), starts(read)


def program(tape, wanted, given):
    """Return calls of kernels, {array: start}, the size of their memory, and a listing.

    The calls compute the arrays that are wanted from those that are given.
    """
    done = groups(tape, wanted)
    uses = [[*dict.fromkeys(map(tape.buffer, outside(*one)))] for one in done]
    used = {x for arrays in uses for x in arrays}
    constants = [x for x in tape.numbers if x in used]
    lain, top = lay(tape, uses, dict.fromkeys([*given, *wanted, *constants]))
    calls, lines = ([f(tape, lain, *one) for one in done] for f in (call, line))
    return calls, lain, top, lines
