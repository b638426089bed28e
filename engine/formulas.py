"""Functions of one number, made of operations that every processor rounds alike.

They are right to 2.5 units in the last place. Each rises with its argument: small terms
are summed first and the large one last, so that from number to number what is rounded
grows by more than it errs. The coefficients are minimax fits.
"""

from functools import partialmethod, reduce


class Lanes:
    """Numbers in a vector of the code, for formulas written as usual."""

    def __init__(self, code, name):
        """Have this name there."""
        self.code, self.name = code, name

    def do(self, operation, *others):
        """Return what an operation makes of these and other numbers."""
        names = (
            x.name if isinstance(x, Lanes) else self.code.number(x) for x in others
        )
        return Lanes(self.code, self.code.do(operation, self.name, *names))

    __add__ = __radd__ = partialmethod(do, "add")
    __mul__ = __rmul__ = partialmethod(do, "multiply")
    __sub__, __truediv__ = partialmethod(do, "subtract"), partialmethod(do, "divide")
    __gt__, __lt__ = partialmethod(do, "greater"), partialmethod(do, "less")
    __abs__ = partialmethod(do, "absolute")

    def __rsub__(self, number):
        """Return what is left of a number."""
        return Lanes(self.code, self.code.number(number)) - self

    def __rtruediv__(self, number):
        """Return a number divided by these."""
        return Lanes(self.code, self.code.number(number)) / self


def polynomial(x, *coefficients):
    """Return ((first·x + second)·x + …), each step rounded once."""
    first, second, *others = coefficients
    start = x.do("fused", first, second)
    return reduce(lambda y, c: y.do("fused", x, c), others, start)


def whole(x):
    """Return the nearest whole number."""
    return (x + 12582912) - 12582912  # 3·2²²


def exp(x):
    """Return eˣ = 2ⁿ (1 + (r + r²s(r))) with r = x − n log 2, |r| ≤ log(2)/2."""
    x = x.do("minimum", 90).do("maximum", -110)
    n = whole(x * 1.44269504)
    r = (x - n * 0.693359375) + n * 2.12194440e-4  # log 2 in two parts
    s = (0.00138209458, 0.00836868398, 0.0416682661, 0.166665211, 0.49999994)
    half = whole(n * 0.5)  # 2ⁿ in two factors, since the result may be subnormal
    y = 1 + (r + r * r * polynomial(r, *s))
    return y * half.do("power_of_two") * (n - half).do("power_of_two")


def tanh(x):
    """Return tanh x, with a = |x|: a + a³p(a²) near 0, else 1 − 2 / (e²ᵃ + 1).

    e²ᵃ = 2ⁿ (1 + r q(r)) with r = a − n log(2)/2; from a = 9.1 on it changes nothing.
    """
    a = abs(x).do("minimum", 9.1)
    n, t = whole(a * 2.88539008), a * a
    r = a - n * 0.34657359
    q = (0.088441208, 0.267798513, 0.666692615, 1.33332169, 1.99999976, 2, 1)
    p = polynomial(t, -0.049901143, 0.13309656, -0.33332938)
    far = 1 - 2 / (n.do("power_of_two") * polynomial(r, *q) + 1)
    return (a < 0.32).do("where", a + a * t * p, far).do("copysign", x)


def log(x):
    """Return log x = n log 2 + (f + (f³p(f) − f²/2)) with x = 2ⁿ (1 + f)."""
    small = x < 1.17549435e-38  # subnormal: times 2²⁵ it is not
    y = small.do("where", x * 33554432, x)
    m = y.do("mantissa")
    large = m > 1.41421356  # so that √½ ≤ 1 + f < √2
    n = (y.do("exponent") - 127) + large - 25 * small
    f = large.do("where", m * 0.5, m) - 1
    p = (-0.0763455853, 0.127616778, -0.131602079, 0.142017469, -0.16623354)
    p = polynomial(f, *p, 0.200012267, -0.250008225, 0.333333313)
    g = (f * f * f * p - 0.5 * f * f) - n * 2.12194440e-4
    y = (x < float("inf")).do("where", n * 0.693359375 + (f + g), x)
    y = x.do("equal", 0).do("where", float("-inf"), y)
    return (x < 0).do("where", float("nan"), y)


FORMULAS = {"exp": exp, "log": log, "tanh": tanh}
