"""A small processor for arrays of float32, compiled by Numba once and kept on disk.

Its memory M is one vector. A program is a table with a row t of whole numbers for each
instruction:

- t[0], its place in INSTRUCTIONS;
- t[ROWS], t[COLUMNS] and t[DEPTH], the sizes of the result, and of a product's sums;
- from t[OUT], t[A] and t[B] on, three each: where in M the result and the operands
  begin, and how far it is to the next row and the next column (0 repeats an entry);
- from t[ADD] on, two such numbers: a column that is added to a product.

The bits of a number are the same on every processor (a NaN may have another sign):
operations are rounded one by one, as IEEE 754 says, none is fused or moved, sums have
an order of their own, and exp, log and tanh are made of such operations. All stands in
one file, because Numba compiles again what it has kept when this file changes, and
would not see a change in another.
"""

import math
from functools import cache

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS, COLUMNS, DEPTH, OUT, A, B, ADD, WIDTH = 1, 2, 3, 4, 7, 10, 13, 15
F, I = np.float32, np.int32  # in formulas
kernel = njit(error_model="numpy")
inline = njit(error_model="numpy", forceinline=True)

# Functions of one number, right to 2.5 units in the last place. Each rises with its
# argument: small terms are summed first and the large one last, so that from number to
# number what is rounded grows by more than it errs. The coefficients are minimax fits.


@inline
def exp(x):
    """Return eˣ = 2ⁿ (1 + (r + r²s(r))) with r = x − n log 2, |r| ≤ log(2)/2."""
    x = F(-110) if x < F(-110) else x
    x = F(90) if x > F(90) else x
    shifted = F(x * F(1.44269504) + F(12582912))  # 3·2²²: what is added is rounded to n
    whole, n = shifted - F(12582912), shifted.view(I) - I(0x4B400000)
    r = (x - whole * F(0.693359375)) + whole * F(2.12194440e-4)  # log 2 in two parts
    s = (F(0.00138209458) * r + F(0.00836868398)) * r + F(0.0416682661)
    s = (s * r + F(0.166665211)) * r + F(0.49999994)
    half = n >> I(1)  # 2ⁿ in two factors, since the result may be subnormal
    return (F(1) + (r + r * r * s)) * power_of_two(half) * power_of_two(n - half)


@inline
def power_of_two(n):
    """Return 2ⁿ, −127 < n < 128."""
    return I((n + I(127)) << I(23)).view(F)


@inline
def tanh(x):
    """Return tanh x, with a = |x|: a + a³p(a²) near 0, else 1 − 2 / (e²ᵃ + 1).

    e²ᵃ = 2ⁿ (1 + r q(r)) with r = a − n log(2)/2; from a = 9.1 on it changes nothing.
    """
    a = abs(x)
    a = F(9.1) if a > F(9.1) else a
    shifted = F(a * F(2.88539008) + F(12582912))
    power = I((shifted.view(I) << I(23)) + I(0x3F800000)).view(F)
    r, t = a - (shifted - F(12582912)) * F(0.34657359), a * a
    q = (F(0.088441208) * r + F(0.267798513)) * r + F(0.666692615)
    q = ((q * r + F(1.33332169)) * r + F(1.99999976)) * r + F(2)
    p = (F(-0.049901143) * t + F(0.13309656)) * t + F(-0.33332938)
    y = a + a * t * p if a < F(0.32) else F(1) - F(2) / (power * (F(1) + q * r) + F(1))
    return math.copysign(y, x)


@inline
def log(x):
    """Return log x = n log 2 + (f + (f³p(f) − f²/2)) with x = 2ⁿ (1 + f)."""
    small = x < F(1.17549435e-38)  # subnormal: times 2²⁵ it is not
    bits = F(x * (F(33554432) if small else F(1))).view(I)
    e = (bits - I(0x3F3504F3)) >> I(23)  # so that √½ ≤ 1 + f < √2
    f = I(bits - (e << I(23))).view(F) - F(1)
    n = F(e) - (F(25) if small else F(0))
    p = (F(-0.0763455853) * f + F(0.127616778)) * f + F(-0.131602079)
    p = ((p * f + F(0.142017469)) * f + F(-0.16623354)) * f + F(0.200012267)
    p = (p * f + F(-0.250008225)) * f + F(0.333333313)
    g = (f * f * f * p - F(0.5) * f * f) - n * F(2.12194440e-4)
    y = n * F(0.693359375) + (f + g) if x < F(np.inf) else x
    y = F(-np.inf) if x == F(0) else y
    return F(np.nan) if x < F(0) else y


# Instructions -----------------------------------------------------------------------


def sum_products(lanes, inner):
    """Return write(M, y, c, a, across, b, down, n), said in the compiler's own words.

    It writes c + Σ a_k b_k, k < n, with vectors b_k of so many numbers, at b + k·down.
    The a_k, at a + k·across, are numbers, or if `inner` vectors too: then the entries
    of the sum are added by halves. A compiler may not make such sums of loops unasked.
    """
    number, word = ir.FloatType(), ir.IntType(32)
    many = ir.VectorType(number, lanes)

    @intrinsic
    def write(typing, M, y, c, a, across, b, down, n):
        def generate(context, builder, signature, arguments):
            array, y, c, a, across, b, down, n = arguments
            M = context.make_array(signature.args[0])(context, builder, array).data

            def pointer(start, k, step, kind):
                place = builder.gep(M, [builder.add(start, builder.mul(k, step))])
                return builder.bitcast(place, kind.as_pointer())

            def repeat(x):
                mask = ir.Constant(ir.VectorType(word, lanes), [0] * lanes)
                one = builder.insert_element(
                    ir.Constant(many, ir.Undefined), x, word(0)
                )
                return builder.shuffle_vector(one, one, mask)

            first = ir.Constant(many, [0.0] * lanes) if inner else repeat(c)
            total = cgutils.alloca_once_value(builder, first)
            with cgutils.for_range(builder, n) as loop:
                x, z = (
                    builder.load(pointer(*place, kind), align=4)
                    for *place, kind in (
                        (a, loop.index, across, many if inner else number),
                        (b, loop.index, down, many),
                    )
                )
                product = builder.fmul(x if inner else repeat(x), z)
                builder.store(builder.fadd(builder.load(total), product), total)
            s, size = builder.load(total), lanes
            while inner and size > 1:
                size //= 2
                halves = [[*range(size)], [*range(size, 2 * size)]]
                masks = [ir.Constant(ir.VectorType(word, size), h) for h in halves]
                s = builder.fadd(*(builder.shuffle_vector(s, s, m) for m in masks))
            if inner:
                s = builder.fadd(c, builder.extract_element(s, word(0)))
            builder.store(s, pointer(y, y, y.type(0), s.type), align=4)
            return context.get_dummy_value()

        i = types.intp
        return types.void(M, i, types.float32, i, i, i, i, i), generate

    return write


def combine_by(lanes):
    """Return result = A B + c: combinations of the rows of B, so many entries at once.

    Some are computed twice where the columns are not a multiple of it.
    """
    write = sum_products(lanes, inner=False)

    @kernel
    def perform_row(M, t):
        y, a, c, last = t[OUT], t[A], t[ADD], t[COLUMNS] - lanes
        across, b, down, depth = t[A + 2], t[B], t[B + 1], t[DEPTH]
        for _ in range(t[ROWS]):
            for start in range(0, last + lanes, lanes):
                j = min(start, last)
                write(M, y + j, M[c], a, across, b + j, down, depth)
            y, a, c = y + t[OUT + 1], a + t[A + 1], c + t[ADD + 1]

    return perform_row


def inner_by(lanes):
    """Return result = A B + c: inner products of rows and columns, in partial sums."""
    write = sum_products(lanes, inner=True)

    @kernel
    def perform_row(M, t):
        y, a, c, n = t[OUT], t[A], t[ADD], t[COLUMNS]
        far, depth, steps = t[B + 2], t[DEPTH], t[DEPTH] // lanes
        for _ in range(t[ROWS]):
            b, first = t[B], M[c]
            for j in range(y, y + n):
                write(M, j, first, a, lanes, b, lanes, steps)
                for k in range(steps * lanes, depth):
                    M[j] += M[a + k] * M[b + k]
                b += far
            y, a, c = y + t[OUT + 1], a + t[A + 1], c + t[ADD + 1]

    return perform_row


def widest(make, size):
    """Return the instruction with as many lanes as t[size] has use for."""
    wide, middle, single = make(32), make(8), make(1)

    @kernel
    def perform_row(M, t):
        if t[size] >= 32:
            wide(M, t)
        elif t[size] >= 8:
            middle(M, t)
        else:
            single(M, t)

    return perform_row


def entries(f):
    """Return the instruction result = f(a, b), entry by entry."""
    f = inline(f)

    @kernel
    def perform_row(M, t):
        n, far, across, along = t[COLUMNS], t[OUT + 2], t[A + 2], t[B + 2]
        plain = far == 1 and across in (0, 1) and along in (0, 1)
        for i in range(t[ROWS]):
            y, a, b = t[OUT] + i * t[OUT + 1], t[A] + i * t[A + 1], t[B] + i * t[B + 1]
            Y, P, Q = M[y:], M[a:], M[b:]
            for p in (0, 1):
                for q in (0, 1):
                    if plain and across == p and along == q:
                        for j in range(n):
                            Y[j] = f(P[p * j], Q[q * j])
            for j in range(0 if plain else n):
                M[y + far * j] = f(M[a + across * j], M[b + along * j])

    return perform_row


INSTRUCTIONS = {
    "combine": widest(combine_by, COLUMNS),
    "inner": widest(inner_by, DEPTH),
    "copy": entries(lambda a, b: a),
    "absolute": entries(lambda a, b: abs(a)),
    "exp": entries(lambda a, b: exp(a)),
    "log": entries(lambda a, b: log(a)),
    "sqrt": entries(lambda a, b: np.sqrt(a)),
    "tanh": entries(lambda a, b: tanh(a)),
    "add": entries(lambda a, b: a + b),
    "subtract": entries(lambda a, b: a - b),
    "multiply": entries(lambda a, b: a * b),
    "divide": entries(lambda a, b: a / b),
    "greater": entries(lambda a, b: F(a > b)),
    "equal": entries(lambda a, b: F(a == b)),
    "maximum": entries(lambda a, b: a if (a >= b) | np.isnan(a) else b),
}


@intrinsic
def perform(typing, M, t):
    """Perform the instruction in row t."""

    def generate(context, builder, signature, arguments):
        row = context.make_array(signature.args[1])(context, builder, arguments[1])
        what = builder.load(row.data)
        for number, instruction in enumerate(INSTRUCTIONS.values()):
            with builder.if_then(builder.icmp_signed("==", what, what.type(number))):
                context.compile_internal(
                    builder, instruction.py_func, signature, arguments
                )
        return context.get_dummy_value()

    return types.void(M, t), generate


@intrinsic
def borrow(typing, x):
    """Return the array without reference counting, which costs more than the work."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(x)(context, builder, arguments[0])
        array.meminfo = array.meminfo.type(None)
        return array._getvalue()

    return x(x), generate


def run(program, M, X, C, order, m, places, totals):
    """Perform the program for each m entries of `order`, as long as there are m.

    These columns of X and C are written to M at the first of `places`, and what lies at
    the others is added to `totals`.
    """
    program, M = borrow(program), borrow(M)
    for start in range(0, len(order) - m + 1, m):
        chosen, place = order[start : start + m], places[0]
        for data in (X, C):
            for i in range(len(data)):
                y = M[place : place + m]
                for j in range(m):
                    y[j] = data[i, chosen[j]]
                place += m
        for number in range(len(program)):
            perform(M, program[number])
        for i in range(len(totals)):
            totals[i] += M[places[i + 1]]


@cache
def compiled():
    """Return `run` compiled, from disk where it was kept; where it cannot be, anew."""
    samples = types.Array(types.float32, 2, "A", readonly=True)
    order = types.Array(types.int64, 1, "C", readonly=True)
    table, memory, totals = types.int64[:, ::1], types.float32[::1], types.float64[::1]
    kinds = table, memory, samples, samples, order, types.int64, order, totals
    try:
        return njit(types.void(*kinds), error_model="numpy", cache=True)(run)
    except (OSError, RuntimeError):
        return njit(types.void(*kinds), error_model="numpy")(run)
