"""`helpers`, as `helpers.sgd.train` runs it for one epoch, with engine or without."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np

import engine
from benchmarks import BATCH, RATE
from helpers import sgd
from helpers.backstage import compiled
from helpers.network import Network


class Stack:
    """R replicas in one stack, by the engine."""

    dtype = np.float32

    def __init__(self, layers, parameters, data, batch=BATCH):
        parts = ("Yt", "Ct", "Yv", "Cv")
        kinds = {part: getattr(data, part).astype(self.dtype) for part in parts}
        self.data = replace(data, **kinds)
        X, C = self.data.Yt, self.data.Ct
        start = self.own(parameters).astype(self.dtype)
        self.network = compiled.recorded(Network(layers).with_parameters(start), X, C)
        self.steps = sgd.prepare_epoch(self.network, sgd.SGD(RATE), X, C, batch)

    def own(self, rows):
        """Return what the network takes of parameters or generators."""
        return rows

    def epoch(self, rngs):
        self.steps(self.data.Yt, self.data.Ct, self.own(rngs), 1.0)
        return sgd.evaluation(self.network, self.data)

    def flat(self):
        return np.atleast_2d(self.network.parameters)


class Single(Stack):
    """One network without a leading axis, by the engine."""

    def own(self, rows):
        """Return those of the only replica."""
        return rows[0]


class PlainStack(Stack):
    """R replicas in one stack, by NumPy: what is done where there is no llvmlite."""

    def __init__(self, *arguments):
        with patch.object(engine, "programs", lambda *_: None):
            super().__init__(*arguments)


class PlainSingle(PlainStack, Single):
    """One network without a leading axis, by NumPy."""


class Stack64(PlainStack):
    """R replicas in one stack, by NumPy in float64."""

    dtype = np.float64
