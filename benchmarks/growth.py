"""How the time of an epoch grows with replicas, samples, batches, width and depth.

One quantity is varied at a time; then width, batch and replicas all at once.
"""

import time
from itertools import product

import numpy as np
import pandas as pd

from benchmarks import ours
from helpers.datasets import Dataset
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.network import Network
from report import figures

FEATURES = CLASSES = 5
USUAL = {"replicas": 10, "samples": 10_000, "batch": 64, "width": 10, "depth": 3}
GRID = {
    "replicas": (1, 2, 5, 10, 20, 50),
    "samples": (1_000, 3_000, 10_000, 30_000, 100_000),
    "batch": (4, 16, 64, 256, 1024, 4096),
    "width": (10, 20, 40, 64, 128, 256),
    "depth": (1, 2, 4, 8, 16),
}
KINDS = {"engine": ours.Stack, "NumPy": ours.PlainStack}
SINGLES = {"engine": ours.Single, "NumPy": ours.PlainSingle}
CELLS = {"replicas": (1, 10), "batch": (16, 64, 256, 1024), "width": GRID["width"]}
FEW = 2_048  # samples of the cells


def measure(rounds, kinds):
    """Return a table of ms per epoch and replica, one quantity varied at a time."""
    rows = []
    for quantity, values in GRID.items():
        for value in values:
            size = {**USUAL, quantity: value}
            times = median_epochs(kinds, rounds, **size)
            rows += [
                {"quantity": quantity, "value": value, "run": name, "ms": 1e3 * s}
                for name, s in times.items()
            ]
    return pd.DataFrame(rows)


def measure_cells(rounds, singles, kinds):
    """Return ms per epoch and replica for all widths, batches and replicas in CELLS."""
    rows = []
    for values in product(*CELLS.values()):
        size = dict(zip(CELLS, values, strict=True))
        runs = kinds if size["replicas"] > 1 else singles
        times = median_epochs(runs, rounds, **{**USUAL, "samples": FEW, **size})
        rows += [{**size, "run": name, "ms": 1e3 * s} for name, s in times.items()]
    return pd.DataFrame(rows)


def median_epochs(kinds, rounds, replicas, samples, batch, width, depth):
    """Return the median seconds per epoch and replica of each kind, by turns.

    The networks have a hidden layer and depth − 1 residual ones.
    """
    rng = np.random.default_rng(0)
    X = rng.standard_normal((FEATURES, samples), dtype=np.float32)
    C = np.eye(CLASSES, dtype=np.float32)[:, rng.integers(CLASSES, size=samples)]
    data = Dataset("random", X, C, X[:, : samples // 4], C[:, : samples // 4])
    residual = [ResNetLayer(width) for _ in range(depth - 1)]
    layers = [HiddenLayer(FEATURES, width), *residual, OutputLayer(width, CLASSES)]
    parameters = Network(layers, generators(replicas), dtype=float).parameters
    return medians(
        {k: (kinds[k](layers, parameters, data, batch), replicas) for k in kinds},
        range(rounds + 1),
    )


def generators(replicas):
    """Return a generator for each replica, equal for all that are compared."""
    return [np.random.default_rng(r) for r in range(replicas)]


def medians(networks, turns):
    """Return {key: median seconds per epoch and replica} of {key: (network, replicas)}.

    The first turn, in which they are compiled and come into the cache, does not count.
    """
    times = {key: [] for key in networks}
    for _ in turns:
        for key, (network, replicas) in networks.items():
            rngs = generators(replicas)
            start = time.perf_counter()
            network.epoch(rngs)
            times[key].append((time.perf_counter() - start) / replicas)
    return {key: np.median(own[1:]) for key, own in times.items()}


@figures.style()
def draw(grown):
    """Draw the growth, a panel for each quantity, on log axes."""
    fig, axes = figures.panels(1, len(GRID), height=2.0, sharey=True)
    colours = (figures.COLOURS[1], "0.4", figures.COLOURS[0])
    for ax, (quantity, rows) in zip(
        axes[0], grown.groupby("quantity", sort=False), strict=True
    ):
        for (name, part), marker, colour in zip(
            rows.groupby("run", sort=False), figures.MARKERS, colours, strict=False
        ):
            look = {"marker": marker, "color": colour, "label": name}
            ax.loglog(part["value"], part["ms"], **look)
        ax.set_xlabel(quantity)
    axes[0, 0].set_ylabel("ms per epoch\nand replica")
    figures.legend_below(fig, axes[0])
    return fig


@figures.style()
def draw_cells(cells):
    """Draw the times of the others over the engine's against width, by batch."""
    ours = cells["run"] == "engine"
    over = cells[~ours].merge(cells[ours], on=[*CELLS], suffixes=("", " of ours"))
    over["R"] = [f"R = {n}" for n in over["replicas"]]
    over["samples"] = [f"batch {n}" for n in over["batch"]]
    settings = {"height": 1.7, "sharex": True, "sharey": True}
    labels = ("width", "time over ours")
    fig, axes, parts = figures.facets(over, ["R", "samples"], labels, **settings)
    looks = list(zip(figures.MARKERS, ("0.4", figures.COLOURS[0]), strict=False))
    for ax, _, part in parts:
        ax.axhline(1, color="0.7", linewidth=0.8)
        runs = part.groupby("run", sort=False)
        for (name, one), (marker, colour) in zip(runs, looks, strict=False):
            ratio, look = one["ms"] / one["ms of ours"], {"marker": marker}
            ax.loglog(one["width"], ratio, color=colour, label=name, **look)
    figures.legend_below(fig, axes[0])
    return fig
