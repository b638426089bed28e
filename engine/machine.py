"""A small processor for arrays of float32, compiled by Numba once and kept on disk.

Its memory M is one vector. A program is a table with a row t of whole numbers for each
instruction:

- t[0], its place in INSTRUCTIONS;
- t[ROWS], t[COLUMNS] and t[DEPTH], the sizes of the result, and of a product's sums;
- from t[OUT], t[A] and t[B] on, three each: where in M the result and the operands
  begin, and how far it is to the next row and the next column (0 repeats an entry);
- from t[ADD] on, two such numbers: a column that is added to a product.

The bits are the same on every processor: operations are rounded one by one, as IEEE 754
says, none is fused or moved, sums have an order of their own, and exp, log and tanh are
made of such operations. All stands in one file, because Numba compiles again what it
has kept when this file changes, and would not see a change in another.
"""

import math
from functools import cache

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS, COLUMNS, DEPTH, OUT, A, B, ADD, WIDTH = 1, 2, 3, 4, 7, 10, 13, 15
LANES = 8  # partial sums of an inner product
F, I = np.float32, np.int32
kernel = njit(error_model="numpy")
inline = njit(error_model="numpy", forceinline=True)

# Functions of one number, right to 1.5 units in the last place. Each rises with its
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
    """Return tanh x, with a = |x|: a + a³p(a²) near 0, else 1 − 2 / (e²ᵃ + 1)."""
    a = abs(x)
    t = a * a
    p = (F(-0.0062428494) * t + F(0.021050714)) * t + F(-0.0538475476)
    p = (p * t + F(0.133325443)) * t + F(-0.333333164)
    y = a + a * t * p if a < F(0.55) else F(1) - F(2) / (exp(a + a) + F(1))
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


@inline
def row(M, t, x, i, n):
    """Return n entries of row i of the operand at t[x]."""
    start = t[x] + i * t[x + 1]
    return M[start : start + n]


@kernel
def combine(M, t):
    """Result = A B + c: combinations of the rows of B, five at a time."""
    n, depth, across = t[COLUMNS], t[DEPTH], t[A + 2]
    five = depth - depth % 5
    for k in range(0, five, 5):
        b0, b1, b2 = row(M, t, B, k, n), row(M, t, B, k + 1, n), row(M, t, B, k + 2, n)
        b3, b4 = row(M, t, B, k + 3, n), row(M, t, B, k + 4, n)
        for i in range(t[ROWS]):
            y, c = row(M, t, OUT, i, n), M[t[ADD] + i * t[ADD + 1]]
            p = t[A] + i * t[A + 1] + k * across
            a0, a1, a2 = M[p], M[p + across], M[p + 2 * across]
            a3, a4 = M[p + 3 * across], M[p + 4 * across]
            for j in range(n):
                s = (y[j] if k else c) + a0 * b0[j] + a1 * b1[j] + a2 * b2[j]
                y[j] = s + a3 * b3[j] + a4 * b4[j]
    for k in range(five, depth):
        b0 = row(M, t, B, k, n)
        for i in range(t[ROWS]):
            y, c = row(M, t, OUT, i, n), M[t[ADD] + i * t[ADD + 1]]
            a0 = M[t[A] + i * t[A + 1] + k * across]
            for j in range(n):
                y[j] = (y[j] if k else c) + a0 * b0[j]


@kernel
def inner(M, t):
    """Result = A B + c: inner products of the rows of A and the columns of B."""
    whole = t[DEPTH] - t[DEPTH] % LANES
    for i in range(t[ROWS]):
        a, y = t[A] + i * t[A + 1], row(M, t, OUT, i, t[COLUMNS])
        for j in range(t[COLUMNS]):
            b = t[B] + j * t[B + 2]
            s = M[t[ADD] + i * t[ADD + 1]] + dot(M, a, b, whole)
            for k in range(whole, t[DEPTH]):
                s += M[a + k] * M[b + k]
            y[j] = s


@intrinsic
def dot(typing, M, a, b, n):
    """Return Σ M[a + k] M[b + k], k < n, a multiple of LANES, in so many partial sums.

    Said in the compiler's own words, because it may not make vectors of a sum unasked:
    a loop over vectors of products, whose sum is halved until one number is left.
    """
    lanes, word = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)

    def generate(context, builder, signature, arguments):
        array, *starts, n = arguments
        M = context.make_array(signature.args[0])(context, builder, array).data
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * LANES))
        steps = n.type(0), n, n.type(LANES), n.type
        with cgutils.for_range_slice(builder, *steps) as (k, _):
            places = [builder.gep(M, [builder.add(start, k)]) for start in starts]
            vectors = [builder.bitcast(place, lanes.as_pointer()) for place in places]
            product = builder.fmul(*(builder.load(v, align=4) for v in vectors))
            builder.store(builder.fadd(builder.load(total), product), total)
        s, size = builder.load(total), LANES
        while size > 1:
            size //= 2
            halves = [[*range(size)], [*range(size, 2 * size)]]
            masks = [ir.Constant(ir.VectorType(word, size), half) for half in halves]
            s = builder.fadd(*(builder.shuffle_vector(s, s, mask) for mask in masks))
        return builder.extract_element(s, word(0))

    return types.float32(M, types.intp, types.intp, types.intp), generate


def entries(f):
    """Return the instruction result = f(a, b), entry by entry."""
    f = inline(f)

    @kernel
    def instruction(M, t):
        n, across, along = t[COLUMNS], t[A + 2], t[B + 2]
        for i in range(t[ROWS]):
            y, a, b = row(M, t, OUT, i, n), row(M, t, A, i, n), row(M, t, B, i, n)
            p, q = t[A] + i * t[A + 1], t[B] + i * t[B + 1]
            x, z = M[p], M[q]
            if across == 1 and along == 1:
                for j in range(n):
                    y[j] = f(a[j], b[j])
            elif across == 1 and along == 0:
                for j in range(n):
                    y[j] = f(a[j], z)
            elif across == 0 and along == 1:
                for j in range(n):
                    y[j] = f(x, b[j])
            else:
                for j in range(n):
                    y[j] = f(M[p + j * across], M[q + j * along])

    return instruction


copy, sqrt = entries(lambda a, b: a), entries(lambda a, b: np.sqrt(a))
exps, logs = entries(lambda a, b: exp(a)), entries(lambda a, b: log(a))
add, subtract = entries(lambda a, b: a + b), entries(lambda a, b: a - b)
multiply, divide = entries(lambda a, b: a * b), entries(lambda a, b: a / b)
greater, equal = entries(lambda a, b: F(a > b)), entries(lambda a, b: F(a == b))
maximum = entries(lambda a, b: a if (a >= b) | np.isnan(a) else b)
tanhs = entries(lambda a, b: tanh(a))
INSTRUCTIONS = (
    *("combine", "inner", "copy", "add", "subtract", "multiply", "divide", "maximum"),
    *("greater", "equal", "exp", "log", "sqrt", "tanh"),
)
COMBINE, INNER, COPY, *_ = range(len(INSTRUCTIONS))


@kernel
def perform(program, M):  # noqa: PLR0912 - a branch for each
    """Perform the instructions one after another."""
    for number in range(len(program)):
        t = program[number]
        what = t[0]
        if what == 0:
            combine(M, t)
        elif what == 1:
            inner(M, t)
        elif what == 2:
            copy(M, t)
        elif what == 3:
            add(M, t)
        elif what == 4:
            subtract(M, t)
        elif what == 5:
            multiply(M, t)
        elif what == 6:
            divide(M, t)
        elif what == 7:
            maximum(M, t)
        elif what == 8:
            greater(M, t)
        elif what == 9:
            equal(M, t)
        elif what == 10:
            exps(M, t)
        elif what == 11:
            logs(M, t)
        elif what == 12:
            sqrt(M, t)
        else:
            tanhs(M, t)


def run(program, M, X, C, order, m, places, totals):
    """Perform the program for each m entries of `order`, as long as there are m.

    These columns of X and C are written to M at the first of `places`, and what lies at
    the others is added to `totals`.
    """
    for start in range(0, len(order) - m + 1, m):
        chosen, place = order[start : start + m], places[0]
        for data in (X, C):
            for i in range(len(data)):
                y = M[place : place + m]
                for j in range(m):
                    y[j] = data[i, chosen[j]]
                place += m
        perform(program, M)
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
