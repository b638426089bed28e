"""What the seeds allow to be said: means with intervals, and paired comparisons.

Replicas with equal seeds start from equal draws and see equal minibatches, so two
networks are compared seed by seed. "Better" is said only where a confidence interval
excludes zero; where several comparisons are made at once, their intervals widen until
all of them hold together with the same confidence (Bonferroni).

Values are arrays (replicas,), in whatever unit; a result is in the same. A replica
whose training failed has the value NaN: it is left out of means and intervals, which
are those of the others, and a comparison says how many pairs it lost in this way.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, t

from report.results import ERRORS, LIMITS, Output, error_text, typeset

CONFIDENCE = 0.95
WORDS = {
    "check": {True: "Passed", False: "Failed", None: "Undecided"},
    "finding": {True: "Confirmed", False: "Not confirmed", None: "Undecided"},
}
MARKS = {True: "✓", False: "✗", None: "?"}


def interval(values, comparisons=1):
    """Return the mean and its two-sided interval, mean ± t s/√n of Student's t.

    Of k `comparisons` each gets the confidence 1 − 0.05/k. Values that are not finite
    are left out. A single value leaves the interval unknown, NaN, and none the mean.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    n, mean = values.size, values.mean() if values.size else np.nan
    if n < 2:
        return mean, np.nan, np.nan
    quantile = t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), n - 1)
    half = quantile * values.std(ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Comparison:
    """How much larger one is than the other, pair by pair: a mean and its interval.

    `effect` is Cohen's d of the pairs, the mean difference in units of its standard
    deviation, which does not depend on the number of seeds. `failed` of all `pairs`
    could not be compared, because a training failed; the others were. As text it reads
    "+1.20 (+0.30 to +2.10)", with as many digits as `format` is asked for.
    """

    difference: float
    low: float
    high: float
    effect: float
    failed: int = 0
    pairs: int = 0

    @property
    def larger(self):
        """True or False where the interval excludes zero, None where it does not."""
        if self.low > 0 or self.high < 0:
            return self.low > 0
        return None

    @property
    def word(self):
        """Say "better", "worse" or "undecided", where more is better."""
        return {True: "better", False: "worse", None: "undecided"}[self.larger]

    def __format__(self, digits):
        """Return difference and interval, and how many pairs failed if any did."""
        one, low, high = (
            f"{x:+{digits or '.2f'}}".replace("-", "−")
            for x in (self.difference, self.low, self.high)
        )
        lost = f", {self.failed} of {self.pairs} pairs failed" if self.failed else ""
        return f"{one} ({low} to {high}{lost})"

    def __str__(self):
        """Return the same with two digits."""
        return format(self, "")


def compare(one, other, comparisons=1):
    """Return the Comparison one − other of paired values, one of k `comparisons`.

    A pair of which one is not finite is left out and counted.
    """
    every = np.asarray(one, float) - np.asarray(other, float)
    difference = every[np.isfinite(every)]
    mean, low, high = interval(difference, comparisons)
    sd = difference.std(ddof=1) if difference.size > 1 else np.nan
    scattered = sd > np.finfo(float).eps * abs(mean)  # more than rounding does
    effect = mean / sd if scattered else np.nan
    failed = every.size - difference.size
    numbers = map(float, (mean, low, high, effect))
    return Comparison(*numbers, failed=failed, pairs=every.size)


def all_hold(truths):
    """Return False if one is False, else None if one is None, else True.

    Without any evidence nothing is decided: None.
    """
    truths = list(truths)
    if False in truths:
        return False
    return None if None in truths or not truths else True


def deciding(compared):
    """Return the Comparison that decides whether in all of them one is larger.

    The clearest of those that say the contrary, else the least certain.
    """
    compared = list(compared)
    contrary = [c for c in compared if c.larger is False]
    if contrary:
        return min(contrary, key=lambda c: c.high)
    return min(compared, key=lambda c: c.low)


def within(values, bound, comparisons=1):
    """Return whether the mean lies within ±bound: None where its interval leaves it."""
    _, low, high = interval(values, comparisons)
    if low > bound or high < -bound:
        return False
    return True if -bound < low and high < bound else None


def below(low, high, limit):
    """Return if an interval lies below a limit, or ends there; None if it is inside."""
    if high <= limit or low > limit:
        return bool(high <= limit)
    return None


def outnumbers(wins, pairs, comparisons=1):
    """Return whether wins outnumber losses of paired seeds by more than chance.

    A two-sided sign test, one of k `comparisons`: it asks nothing of the differences
    but their signs, so that a training which fails counts as one lost pair. None where
    chance could do the same.
    """
    if binomtest(wins, pairs).pvalue > (1 - CONFIDENCE) / comparisons:
        return None
    return 2 * wins > pairs


def spreads(values):
    """Return the sd between draws and the sd between seeds of one draw.

    values (draws, seeds): yᵢⱼ = μ + aᵢ + eᵢⱼ. The mean square within draws estimates
    the variance of e; that between draws, n Var(a) + Var(e) with n seeds of each, gives
    Var(a) by subtraction, zero where chance makes it negative (one-way analysis of
    variance with random effects).
    """
    values = np.asarray(values, float)
    seeds = values.shape[1]
    inside = values.var(axis=1, ddof=1).mean()
    between = seeds * values.mean(axis=1).var(ddof=1)
    return np.sqrt(max(between - inside, 0) / seeds), np.sqrt(inside)


# What is said of it -------------------------------------------------------------------


def check(item, claim, holds, number):
    """State what must hold, such as a right gradient, and by which number it does.

    `item` is the assignment's. `holds` is True, False, or None where the evidence
    leaves it undecided.
    """
    return verdict("check", item, claim, holds, number)


def finding(item, claim, holds, number, reported=False):
    """State what may come out either way, how it came out, and the number that decides.

    `reported` marks a conclusion of the report that this project began from: the last
    page says what has become of each.
    """
    return verdict("finding", item, claim, holds, number, reported=reported)


def verdict(kind, item, claim, holds, number, reported=False):
    """State a check or a finding; see `WORDS` and `MARKS` for how it reads."""
    holds = None if pd.isna(holds) else bool(holds)
    claim, number, word = typeset(claim), typeset(number), WORDS[kind][holds]
    return Output(
        f"{MARKS[holds]} **{word} ({item}).** {claim}: {number}.",
        verdict={"item": item, "kind": kind, "claim": claim, "holds": holds}
        | {"word": word, "number": number, "reported": reported},
    )


def better(item, claim, compared, reported=False):
    """State a finding: in all comparisons {name: Comparison} one is the better.

    The number is the comparison that decides it, in points. A name may have parts, of
    which one may be a pair (one, other).
    """
    c = deciding(compared.values())
    (name, *_) = (name for name, one in compared.items() if one is c)
    parts = [name] if isinstance(name, str) else name
    name = ", ".join(p if isinstance(p, str) else " over ".join(p) for p in parts)
    holds = all_hold(one.larger for one in compared.values())
    return finding(item, claim, holds, f"{c} points ({name})", reported)


def answer(item, question, holds, yes, no, number, evidence):
    """Answer an item of the assignment, for the first page of the report.

    The sentence is `yes` where `holds` is True, `no` where it is False; where it is
    None, it says that this is undecided. `number` is what the sentence rests on, and
    `evidence` the name of the figure or table that shows it.
    """
    unsure = f"Undecided: {yes}"
    said = {True: yes, False: no}.get(None if pd.isna(holds) else bool(holds), unsure)
    found = {"answer": typeset(said), "number": typeset(number), "evidence": evidence}
    return Output(
        f"**Answer to {item}.** {found['answer']} ({found['number']}.)",
        answer={"item": item, "question": question} | found,
    )


def certify(item, claim, tests):
    """State the check that all tests pass, and what they found.

    One failure refutes it; tests that refuse to judge, or none at all, decide nothing.
    """
    tests = list(tests)
    return check(item, claim, all_pass(tests), tally(tests))


def all_pass(tests):
    """Return True if all tests pass, False if any fails, None if it cannot be told."""
    truths = {"pass": True, "FAIL": False, "refused": None}
    return all_hold(truths[test.verdict] for test in tests)


def tally(tests):
    """Say how many tests pass, how many refuse, and the worst of their numbers."""
    told = [f"{sum(test.passed for test in tests)} of {len(tests)} pass"]
    refused = sum(test.verdict == "refused" for test in tests)
    orders = [t.orders[1] for t in tests if not np.isnan(t.orders[1])]
    told += [f"{refused} refused"] if refused else []
    told += [f"lowest order {min(orders):.1f}"] if orders else []
    for kind, column in ERRORS.items():
        errors = [t.error for t in tests if t.kind == kind and not np.isnan(t.error)]
        told += [f"{kind} {error_text(max(errors), LIMITS[column])}"] if errors else []
    return ", ".join(told)
