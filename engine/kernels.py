"""Kernels: loops over one memory M of float32, in LLVM's words.

The bits of a number are the same on every processor (a NaN may have another sign): each
operation is rounded as IEEE 754 says, none is moved, and what is fused is fused
everywhere, by the C library where the processor cannot. How many entries are computed
at a time hangs on the processor; the operations of an entry, and their order, do not.

A place is (start, (rows, columns), (down, across)), with distances in numbers; a start
is the name of a kernel's argument.
"""

from functools import cache
from itertools import count

import numpy as np

from engine import processor
from engine.formulas import FORMULAS, Lanes

LANES = 16  # numbers that are computed at a time
F, I, B = (f"<{LANES} x {kind}>" for kind in ("float", "i32", "i1"))
WIDE = '"prefer-vector-width"="512" {'
OPERATIONS = {  # of numbers 0, 1, 2; what a line computes is _ in the next
    "add": "fadd {F} {0}, {1}",
    "subtract": "fsub {F} {0}, {1}",
    "multiply": "fmul {F} {0}, {1}",
    "divide": "fdiv {F} {0}, {1}",
    "fused": "call {F} @llvm.fma({F} {0}, {F} {1}, {F} {2})",
    "absolute": "call {F} @llvm.fabs({F} {0})",
    "sqrt": "call {F} @llvm.sqrt({F} {0})",
    "copysign": "call {F} @llvm.copysign({F} {0}, {F} {1})",
    "maximum": "call {F} @llvm.maximum({F} {0}, {F} {1})",
    "minimum": "call {F} @llvm.minimum({F} {0}, {F} {1})",
    "where": "fcmp une {F} {0}, zeroinitializer; select {B} {_}, {F} {1}, {F} {2}",
    "power_of_two": "fadd {F} {0}, splat (float 12583039.0); bitcast {F} {_} to {I}; "
    "shl {I} {_}, splat (i32 23); bitcast {I} {_} to {F}",
    "exponent": "bitcast {F} {0} to {I}; lshr {I} {_}, splat (i32 23); "
    "uitofp {I} {_} to {F}",
    "mantissa": "bitcast {F} {0} to {I}; and {I} {_}, splat (i32 8388607); "
    "or {I} {_}, splat (i32 1065353216); bitcast {I} {_} to {F}",
} | {
    name: f"fcmp {test} {{F}} {{0}}, {{1}}; uitofp {{B}} {{_}} to {{F}}"
    for name, test in {
        "greater": "ogt",
        "greater_equal": "oge",
        "less": "olt",
        "less_equal": "ole",
        "equal": "oeq",
        "not_equal": "une",
    }.items()
}


class Code:
    """The lines of a function, and names for what they compute."""

    def __init__(self):
        """Start without a line."""
        self.lines, self.names = [], count()

    def put(self, text):
        """Add a line; return the name of what it computes."""
        name = f"%v{next(self.names)}"
        self.lines.append(f"{name} = {text}")
        return name

    def do(self, operation, *operands):
        """Return what an operation, or a formula of such, makes of vectors."""
        if operation in FORMULAS:
            lanes = (Lanes(self, x) for x in operands)
            return FORMULAS[operation](*lanes).name
        last = ""
        for line in OPERATIONS[operation].split("; "):
            last = self.put(line.format(*operands, _=last, F=F, I=I, B=B))
        return last

    def number(self, x):
        """Return a number in all lanes."""
        return f"splat (float 0x{np.float64(np.float32(x)).view(np.uint64):016X})"

    def loop(self, times, body, values=()):
        """Have values = body(i, *values) done so often, at least once; return them."""
        if times == 1:
            return body(0, *values)
        first, again, last, after = (f"L{next(self.names)}" for _ in range(4))
        i, *carried = (f"%v{next(self.names)}" for _ in (0, *values))
        self.lines += [f"br label %{first}", f"{first}:", f"br label %{again}"]
        self.lines += [f"{again}:"]
        place = len(self.lines)
        found = body(i, *carried) or ()
        self.lines += [f"br label %{last}", f"{last}:"]
        more = self.put(f"add i64 {i}, 1")
        test = self.put(f"icmp ult i64 {more}, {times}")
        ends = [
            ("i64", i, 0, more),
            *zip([F] * len(found), carried, values, found, strict=True),
        ]
        self.lines[place:place] = [
            f"{name} = phi {kind} [{a}, %{first}], [{b}, %{last}]"
            for kind, name, a, b in ends
        ]
        self.lines += [f"br i1 {test}, label %{again}, label %{after}", f"{after}:"]
        return found

    def tiles(self, n, size, body):
        """Have body((i, size), m) done for parts of m ≤ size, the last one short."""
        full, rest = divmod(n, size)
        if full:
            self.loop(full, lambda i: body((i, size), size))
        if rest:
            body((full, size), rest)

    def at(self, start, *steps, base="%M", kind="float"):
        """Return a pointer to the number at start + Σ i·distance."""
        fixed = 0
        for i, distance in steps:
            if isinstance(i, int):
                fixed += i * distance
            elif distance:
                step = self.put(f"mul i64 {i}, {distance}")
                start = self.put(f"add i64 {start}, {step}")
        near = self.put(f"getelementptr {kind}, ptr {base}, i64 {start}")
        return self.put(f"getelementptr {kind}, ptr {near}, i64 {fixed}")

    def load(self, pointer, kind=F):
        """Return what is there."""
        return self.put(f"load {kind}, ptr {pointer}, align 4")

    def repeat(self, pointer):
        """Return the number there, in all lanes."""
        x = self.put(
            f"insertelement {F} poison, float {self.load(pointer, 'float')}, i32 0"
        )
        return self.put(f"shufflevector {F} {x}, {F} {x}, {I} zeroinitializer")

    def store(self, x, pointer, m=LANES):
        """Store the first m entries."""
        mask = ", ".join(f"i32 {k}" for k in range(m))
        x = self.put(f"shufflevector {F} {x}, {F} {x}, <{m} x i32> <{mask}>")
        self.lines.append(f"store <{m} x float> {x}, ptr {pointer}, align 4")


def entries(notes, stored):
    """Return the lines that do operations on matching entries, one after another.

    Of the results of the notes (name, result, operands), those in `stored` are written.
    """
    code = Code()

    def places(x, i, j, m):
        start, _, (down, across) = x
        apart = range(m if across not in (0, 1) else 1)
        j, size = j
        return [
            code.at(start, (i, down), (j, size * across), (k, across)) for k in apart
        ]

    def fetch(x, i, j, m):
        if isinstance(x, float):
            return code.number(x)
        found, *others = places(x, i, j, m)
        vector = code.load(found) if x[2][1] == 1 else code.repeat(found)
        for k, pointer in enumerate(others, start=1):
            number = code.load(pointer, "float")
            vector = code.put(f"insertelement {F} {vector}, float {number}, i32 {k}")
        return vector

    def some(i, j, m):
        values = {}
        for name, result, operands in notes:
            for x in operands:
                values[x] = values.get(x) or fetch(x, i, j, m)
            given = [values[x] for x in operands]
            values[result] = given[0] if name == "copy" else code.do(name, *given)
        for x in stored:
            found = places(x, i, j, m)
            if len(found) == 1:
                code.store(values[x], *found, m)
            else:
                for k, pointer in enumerate(found):
                    number = code.put(f"extractelement {F} {values[x]}, i32 {k}")
                    code.lines.append(f"store float {number}, ptr {pointer}, align 4")

    rows, columns = notes[0][1][1]
    code.loop(rows, lambda i: code.tiles(columns, LANES, lambda j, m: some(i, j, m)))
    return code.lines


def even(n, most):
    """Return the size of as few parts of n as there can be, of `most` at most."""
    return -(-n // -(-n // most))


def product(notes, stored):
    """Return the lines of A B, where the columns of B are next to each other.

    Each entry is summed from the first of its products to the last.
    """
    code, ((_, out, (a, b, *scratch)),) = Code(), notes
    (rows, columns), depth = out[1], a[1][1]
    height, width = (8, 3) if "+avx512f" in processor.name() else (6, 1)
    sums, width = height * width, even(-(-columns // LANES), width)
    height = even(rows, min(sums // width, 12))

    def block(i, h, j, m, start, *begin):
        vectors, (i, size) = range(-(-m // LANES)), i

        def step(k, *sums):
            x = [code.at(start, (k, begin[0]), (v, LANES), *begin[1:]) for v in vectors]
            x, new, sums = [code.load(pointer) for pointer in x], [], iter(sums)
            for r in range(h):
                place = (i, size * a[2][0]), (k, a[2][1]), (r, a[2][0])
                y = code.repeat(code.at(a[0], *place))
                new += [code.do("fused", y, z, next(sums)) for z in x]
            return new

        sums = iter(code.loop(depth, step, ["zeroinitializer"] * (h * len(vectors))))
        for r in range(h):
            for v in vectors:
                place = (i, size * out[2][0]), (r, out[2][0]), j, (v, LANES)
                code.store(
                    next(sums), code.at(out[0], *place), min(LANES, m - v * LANES)
                )

    def panel(j, m):
        own, size = (b[0], b[2][0], j), LANES * -(-m // LANES)

        def copy(k):
            for v in range(0, size, LANES):
                x = code.load(code.at(b[0], (k, b[2][0]), j, (v, 1)))
                code.store(x, code.at(scratch[0][0], (k, size), (v, 1)))

        if scratch:
            code.loop(depth, copy)
            own = scratch[0][0], size
        code.tiles(rows, height, lambda i, h: block(i, h, j, m, *own))

    code.tiles(columns, width * LANES, panel)
    return code.lines


def transpose(notes, stored):
    """Return the lines that copy the transpose of X, in squares of 8 × 8."""
    code, ((_, out, (x,)),), size, kind = Code(), notes, 8, "<8 x float>"

    def shuffled(a, b, places):
        mask = ", ".join(f"i32 {p}" for p in places)
        return code.put(f"shufflevector {kind} {a}, {kind} {b}, <8 x i32> <{mask}>")

    def square(j, h, i, m):
        rows = []
        for r in range(size):
            place = (j[0], size * x[2][0]), (min(r, h - 1), x[2][0]), i
            rows.append(code.load(code.at(x[0], *place), kind))
        for s in (1, 2, 4):
            low = [c if not c & s else size + c - s for c in range(size)]
            high = [c + s if not c & s else size + c for c in range(size)]
            for r in (r for r in range(size) if not r & s):
                a, b = rows[r], rows[r + s]
                rows[r], rows[r + s] = shuffled(a, b, low), shuffled(a, b, high)
        for r, row in enumerate(rows[:m]):
            place = code.at(out[0], (i[0], size * out[2][0]), (r, out[2][0]), j)
            code.lines.append(f"store {kind} {row}, ptr {place}, align 4")

    n, k = x[1]
    code.tiles(
        n, size, lambda j, h: code.tiles(k, size, lambda i, m: square(j, h, i, m))
    )
    return code.lines


def gather(m, rows):
    """Return the lines that fetch the samples of a batch to M, for what they are of.

    The arguments are where X, C, the order, and then the samples in M begin, and how
    many columns X and C have.
    """
    code = Code()
    for n, name in enumerate(("X", "C", "order")):
        code.lines.append(f"%{name} = inttoptr i64 %s{n} to ptr")

    def sample(j):
        place = code.at(0, ("%t", m), (j, 1), base="%order", kind="i64")
        start, to = code.load(place, "i64"), count(0, m)
        for data, n in zip(("%X", "%C"), rows, strict=True):
            for i in range(n):
                row = code.put(f"mul i64 %s4, {i}")
                x = code.load(code.at(start, (row, 1), base=data), "float")
                place = code.at("%s3", (j, 1), (next(to), 1))
                code.lines.append(f"store float {x}, ptr {place}, align 4")

    code.loop(m, sample)
    return code.lines


def add(numbers):
    """Return the lines that add what lies in M to the totals, at addresses."""
    code = Code()
    for n in range(numbers):
        code.lines.append(f"%t{n} = inttoptr i64 %s{numbers + n} to ptr")
        x = code.put(f"fpext float {code.load(code.at(f'%s{n}'), 'float')} to double")
        x = code.put(f"fadd double {x}, {code.load(f'%t{n}', 'double')}")
        code.lines.append(f"store double {x}, ptr %t{n}")
    return code.lines


def batches(calls):
    """Return the lines that do so many calls %t times: kernels, and their arguments."""
    code = Code()

    def call(t, n):
        kernel = code.load(code.at(0, (n, 2), base="%args", kind="ptr"), "ptr")
        begin = code.load(code.at(1, (n, 2), base="%args", kind="i64"), "i64")
        given = code.at(begin, base="%args", kind="i64")
        code.lines.append(f"call void {kernel}(ptr %M, ptr {given}, i64 {t})")

    code.loop("%t", lambda t: code.loop(calls, lambda n: call(t, n)))
    return code.lines


@cache
def kernel(make, starts, *arguments):
    """Return the address of a kernel with so many arguments, compiled."""
    text = ["define void @kernel(ptr %M, ptr %args, i64 %t) " + WIDE]
    for n in range(starts):
        text += [f"%a{n} = getelementptr i64, ptr %args, i64 {n}"]
        text += [f"%s{n} = load i64, ptr %a{n}"]
    return processor.compiled("\n".join([*text, *make(*arguments), "ret void", "}"]))


def ready(calls):
    """Return the address of what does (kernel, its arguments), and its own."""
    begins = 2 * len(calls) + np.cumsum([0, *(len(given) for _, given in calls[:-1])])
    table = zip((address for address, _ in calls), begins, strict=True)
    args = np.concatenate([np.ravel([*table]), *(given for _, given in calls)])
    return kernel(batches, 0, len(calls)), args.astype(np.int64)
