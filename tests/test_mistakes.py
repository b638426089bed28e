"""The tester tested: every mistake fails where it should, no right derivative does."""

import numpy as np
import pytest

from helpers import checks
from helpers.mistakes import MISTAKES, failed, right_tests

SEEDS = 250


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_fails_in_the_blocks_it_spoils_and_nowhere_else(mistake):
    for seed in range(5):
        tests = mistake.tests(np.random.default_rng(seed))
        assert failed(tests) == set(mistake.spoils), seed
        assert any(test.passed for test in tests) or len(mistake.spoils) == 3


def test_there_are_many_different_mistakes_everywhere():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 15
    places = {mistake.place for mistake in MISTAKES}
    assert places >= {"softmax loss", "HiddenLayer", "ResNetLayer", "network"}


def test_no_right_derivative_fails_whatever_the_seed_and_the_shape():
    """The seeds are not those of the supplement, which draws many more."""
    tests = [
        test
        for seed in range(SEEDS)
        for test in right_tests(np.random.default_rng([1, seed]))
    ]
    assert len(tests) > 5 * SEEDS
    assert [str(test) for test in tests if not test.passed] == []
    kinds = {"Taylor", "Jacobian", "complex step", "central difference"}
    assert {test.kind for test in tests} == kinds | {"transpose", "stack"}
    layers = {f"layer: {b}" for b in ("x", "W", "b", "W1", "b1", "W2", "b2")}
    others = {"loss: W", "loss: b", "loss: X", "network: b of layer 6"}
    assert {test.name for test in tests} >= layers | others


def test_failed_counts_failures_only():
    verdicts = {"a": "pass", "b": "FAIL", "c": "refused"}
    tests = [checks.Check("", v, block=block) for block, v in verdicts.items()]
    assert failed(tests) == {"b"}
