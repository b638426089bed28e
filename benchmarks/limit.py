"""What these very networks could reach: C++ for their sizes, compiled where it runs."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import RATE
from helpers.layers import OutputLayer, ResNetLayer

COMPILER = "c++"
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffast-math", "-fPIC", "-c")
SOURCE = Path(__file__).with_suffix(".cpp")

if not shutil.which(COMPILER):
    raise ModuleNotFoundError("no C++ compiler", name=f"a C++ compiler ({COMPILER})")


def library(features, width, classes):
    """Return the compiled code for these sizes."""
    sizes = (f"-DFEATURES={features}", f"-DWIDTH={width}", f"-DCLASSES={classes}")
    with tempfile.TemporaryDirectory() as folder:
        code, linked = Path(folder) / "limit.o", Path(folder) / "limit.so"
        subprocess.run([COMPILER, *FLAGS, *sizes, SOURCE, "-o", code], check=True)
        # Linked with -ffast-math it would set subnormal numbers to zero in all NumPy.
        libraries = ["-lmvec", "-lm"]
        command = [COMPILER, "-shared", code, "-o", linked, *libraries]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(linked))


class Limit:
    """One network in float32."""

    def __init__(self, layers, parameters, data):
        """Start from the single row of `parameters`."""
        self.parameters = parameters[0].astype(np.float32)
        self.parts = [
            [np.ascontiguousarray(x, np.float32) for x in part]
            for part in ((data.Yt, data.Ct), (data.Yv, data.Cv))
        ]
        kinds = {OutputLayer: "o", ResNetLayer: "r"}
        self.kinds = "".join(kinds.get(type(layer), "h") for layer in layers).encode()
        width = layers[-1].inputs if len(layers) > 1 else 1
        self.code = library(layers[0].inputs, width, layers[-1].outputs)

    def go(self, X, C, order, rate):
        """Go through the samples in order; return the sums of losses and hits."""
        totals = np.zeros(2)
        pointers = [
            ctypes.c_void_p(x.ctypes.data)
            for x in (self.parameters, X, C, order, totals)
        ]
        theta, X_, C_, order_, totals_ = pointers
        sizes = len(self.kinds), len(self.parameters), X.shape[1], len(order)
        layers, P, columns, m = map(ctypes.c_int, sizes)
        rate = ctypes.c_float(rate)
        self.code.go(
            self.kinds, layers, theta, P, X_, C_, columns, order_, m, rate, totals_
        )
        return totals

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
        train, _ = self.parts
        self.go(*train, rngs[0].permutation(train[0].shape[1]), RATE)
        sizes = [X.shape[1] for X, _ in self.parts]
        return [
            self.go(*part, np.arange(m), 0) / m
            for part, m in zip(self.parts, sizes, strict=True)
        ]

    def flat(self):
        """Return the parameters (1, P)."""
        return self.parameters[None]
