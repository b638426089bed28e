"""`helpers`, as `helpers.sgd.train` runs it for one epoch, with engine or without."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np

import engine
from benchmarks import BATCH, RATE
from helpers import sgd
from helpers.network import Network


class Stack:
    """R replicas in one stack, by the engine."""

    dtype = np.float32

    def __init__(self, layers, parameters, data, batch=BATCH):
        """Start from `parameters`; data in the same precision."""
        parts = ("Yt", "Ct", "Yv", "Cv")
        kinds = {part: getattr(data, part).astype(self.dtype) for part in parts}
        self.data = replace(data, **kinds)
        network = Network(layers).with_parameters(self.start(parameters))
        X, C = self.data.Yt, self.data.Ct
        self.network = network.recorded(X, C)
        self.steps = sgd.prepare_epoch(self.network, sgd.SGD(RATE), X, C, batch)

    def start(self, parameters):
        """Return the parameters of the stack."""
        return parameters.astype(self.dtype)

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        self.steps(self.data.Yt, self.data.Ct, self.order(rngs), 1.0)
        return sgd.evaluation(self.network, self.data)

    def order(self, rngs):
        """Return what draws the minibatches: a generator for each replica."""
        return rngs

    def flat(self):
        """Return the parameters (R, P)."""
        return np.atleast_2d(self.network.parameters)


class Single(Stack):
    """One network without a leading axis, by the engine."""

    def start(self, parameters):
        """Return the parameters of the single network."""
        return parameters[0].astype(self.dtype)

    def order(self, rngs):
        """Return the single generator."""
        return rngs[0]


class PlainStack(Stack):
    """R replicas in one stack, by NumPy: what is done where there is no Numba."""

    def __init__(self, *arguments):
        """Do as if the engine had refused."""
        with patch.object(engine, "programs", lambda *_: None):
            super().__init__(*arguments)


class PlainSingle(PlainStack, Single):
    """One network without a leading axis, by NumPy."""


class Stack64(PlainStack):
    """R replicas in one stack, by NumPy in float64."""

    dtype = np.float64
