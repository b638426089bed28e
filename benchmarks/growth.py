"""How the time of an epoch grows with replicas, samples, width and depth."""

import time

import numpy as np
import pandas as pd

from benchmarks import ours, plain
from helpers import figures
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.network import Network

FEATURES = CLASSES = 5
USUAL = {"replicas": 10, "samples": 10_000, "width": 10, "depth": 3}
GRID = {
    "replicas": (1, 2, 5, 10, 20, 50),
    "samples": (1_000, 3_000, 10_000, 30_000, 100_000),
    "width": (5, 10, 20, 40, 80, 160),
    "depth": (1, 2, 4, 8, 16),
}
KINDS = {"stack": ours.Stack, "plain layers": plain.Plain}


def measure(rounds):
    """Return a table of ms per epoch and replica, one quantity varied at a time."""
    rows = []
    for quantity, values in GRID.items():
        for value in values:
            for name, kind in KINDS.items():
                if name == "stack" or quantity != "replicas":
                    size = {**USUAL, quantity: value}
                    seconds = median_epoch(kind, rounds, **size)
                    row = {"quantity": quantity, "value": value, "run": name}
                    rows.append({**row, "ms": 1e3 * seconds})
    return pd.DataFrame(rows)


def median_epoch(kind, rounds, replicas, samples, width, depth):
    """Return the median seconds per epoch and replica: depth − 1 residual layers."""
    replicas = replicas if kind is ours.Stack else 1
    rng = np.random.default_rng(0)
    X = rng.standard_normal((FEATURES, samples), dtype=np.float32)
    C = np.eye(CLASSES, dtype=np.float32)[:, rng.integers(CLASSES, size=samples)]
    data = Dataset("random", X, C, X[:, : samples // 4], C[:, : samples // 4])
    layers = [HiddenLayer(FEATURES, width), OutputLayer(width, CLASSES)]
    layers[1:1] = [ResNetLayer(width) for _ in range(depth - 1)]
    rngs = [np.random.default_rng(r) for r in range(replicas)]
    network = kind(layers, Network(layers, rngs, dtype=float).parameters, data)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        network.epoch(rngs)
        times.append(time.perf_counter() - start)
    return np.median(times[1:]) / replicas


def draw(grown):
    """Draw the growth, a panel for each quantity, on log axes."""
    fig, axes = figures.panels(1, len(GRID), height=2.0, sharey=True)
    for ax, (quantity, rows) in zip(
        axes[0], grown.groupby("quantity", sort=False), strict=True
    ):
        for (name, part), marker, colour in zip(
            rows.groupby("run", sort=False),
            figures.MARKERS,
            (figures.COLOURS[1], "0.4"),
            strict=False,
        ):
            look = {"marker": marker, "color": colour, "label": name}
            ax.loglog(part["value"], part["ms"], **look)
        ax.set_xlabel(quantity)
    axes[0, 0].set_ylabel("ms per epoch\nand replica")
    figures.legend_below(fig, axes[0])
    return fig
