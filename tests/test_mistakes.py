"""The tester tested: every mistake fails where it should, no right derivative does."""

import numpy as np
import pytest

from helpers import checks
from helpers.mistakes import MISTAKES, failed, right_tests

SEEDS = 1000


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_fails_in_the_blocks_it_spoils_and_nowhere_else(mistake, seed):
    tests = mistake.tests(np.random.default_rng(seed))
    assert failed(tests) == set(mistake.spoils)
    assert any(test.passed for test in tests) or len(mistake.spoils) == 3


def test_there_are_many_different_mistakes_everywhere():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 15
    places = {mistake.place for mistake in MISTAKES}
    assert places >= {"softmax loss", "HiddenLayer", "ResNetLayer", "network"}


@pytest.mark.parametrize("block", range(10))
def test_no_right_derivative_fails_whatever_the_seed_and_the_shape(block):
    """The thousand seeds are not those of the report."""
    found = [
        (seed, test)
        for seed in range(block, SEEDS, 10)
        for test in right_tests(np.random.default_rng([1, seed]))
    ]
    assert len(found) > 5 * SEEDS / 10
    assert [(seed, str(test)) for seed, test in found if not test.passed] == []


def test_right_tests_cover_everything():
    tests = [t for s in range(200) for t in right_tests(np.random.default_rng(s))]
    names = {test.name for test in tests}
    assert {test.kind for test in tests} == {
        "Taylor",
        "Jacobian",
        "complex step",
        "central difference",
        "transpose",
        "stack",
    }
    blocks = {f"layer: {b}" for b in ("x", "W", "b", "W1", "b1", "W2", "b2")}
    assert names >= {"loss: W", "loss: b", "loss: X", *blocks}
    assert names >= {"network: b of layer 6", "network: all parameters"}


def test_failed_counts_failures_only():
    verdicts = {"a": "pass", "b": "FAIL", "c": "refused"}
    tests = [checks.Check("", v, block=block) for block, v in verdicts.items()]
    assert failed(tests) == {"b"}
