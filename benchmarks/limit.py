"""What these very networks could reach: C++ for their sizes, compiled where it runs."""

import shutil
import subprocess
import tempfile
from ctypes import CDLL, c_char_p, c_float, c_int
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks import RATE
from helpers.layers import OutputLayer, ResNetLayer

COMPILER = "c++"
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffast-math", "-fPIC", "-c")
SOURCE = Path(__file__).with_suffix(".cpp")

if not shutil.which(COMPILER):
    raise ModuleNotFoundError("no C++ compiler", name=f"a C++ compiler ({COMPILER})")


@cache
def compiled(features, width, classes):
    """Return the C++ function `go` for these sizes."""
    sizes = (f"-DFEATURES={features}", f"-DWIDTH={width}", f"-DCLASSES={classes}")
    with tempfile.TemporaryDirectory() as folder:
        code, linked = Path(folder) / "limit.o", Path(folder) / "limit.so"
        subprocess.run([COMPILER, *FLAGS, *sizes, SOURCE, "-o", code], check=True)
        # Linked with -ffast-math it would set subnormal numbers to zero in all NumPy.
        command = [COMPILER, "-shared", code, "-o", linked, "-lmvec", "-lm"]
        subprocess.run(command, check=True)
        go = CDLL(str(linked)).go
    x = np.ctypeslib.ndpointer(flags="C")
    go.argtypes = c_char_p, c_int, x, c_int, x, x, c_int, x, c_int, c_float, x
    return go


class Limit:
    """One network in float32."""

    def __init__(self, layers, parameters, data):
        self.theta = parameters[0].astype(np.float32)
        self.train, self.validation = (
            [np.ascontiguousarray(x, np.float32) for x in part]
            for part in ((data.Yt, data.Ct), (data.Yv, data.Cv))
        )
        kinds = {OutputLayer: "o", ResNetLayer: "r"}
        self.kinds = "".join(kinds.get(type(layer), "h") for layer in layers).encode()
        width = layers[-1].inputs if len(layers) > 1 else 1
        self.go = compiled(layers[0].inputs, width, layers[-1].outputs)

    def perform(self, X, C, order=None, rate=0):
        """Train on the samples in order; at rate 0 return mean loss and accuracy."""
        order = np.arange(X.shape[1]) if order is None else order
        network = self.kinds, len(self.kinds), self.theta, len(self.theta)
        totals = np.zeros(2)
        self.go(*network, X, C, X.shape[1], order, len(order), rate, totals)
        return totals / len(order)

    def epoch(self, rngs):
        m = self.train[0].shape[1]
        self.perform(*self.train, rngs[0].permutation(m), RATE)
        return self.perform(*self.train), self.perform(*self.validation)

    def flat(self):
        return self.theta[None]
