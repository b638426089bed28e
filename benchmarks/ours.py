"""The engine of `helpers`, as `helpers.sgd.train` runs it for one epoch."""

from dataclasses import replace

import numpy as np

from benchmarks import BATCH, RATE
from helpers import sgd
from helpers.network import Network


class Stack:
    """R replicas in one stack, float32."""

    dtype = np.float32

    def __init__(self, layers, parameters, data):
        """Start from `parameters`; data in the same precision."""
        parts = ("Yt", "Ct", "Yv", "Cv")
        kinds = {part: getattr(data, part).astype(self.dtype) for part in parts}
        self.data = replace(data, **kinds)
        network = Network(layers).with_parameters(self.start(parameters))
        X, C = self.data.Yt, self.data.Ct
        self.network = network.recorded(X, C)
        self.steps = sgd.prepare_epoch(self.network, sgd.SGD(RATE), X, C, BATCH)

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


class Stack64(Stack):
    """The same in float64."""

    dtype = np.float64


class Single(Stack):
    """One network without a leading axis, float32."""

    def start(self, parameters):
        """Return the parameters of the single network."""
        return parameters[0].astype(self.dtype)

    def order(self, rngs):
        """Return the single generator."""
        return rngs[0]


class Single64(Single):
    """The same in float64."""

    dtype = np.float64
