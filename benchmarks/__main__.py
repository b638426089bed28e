"""`make bench`: every competitor does the same work by turns, on one core.

First each takes one step beside our float64 engine, and is timed only if its weights
agree; then rounds of epochs are interleaved, so that a busy moment hits all alike, and
the medians are printed and written to figures/benchmark.csv, .svg and _machine.csv,
which the report shows in an appendix. QUICK=1 makes fewer rounds and writes nothing.
"""

import datetime
import importlib
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from benchmarks import BATCH, growth
from helpers import datasets
from helpers.architectures import ARCHITECTURES
from helpers.experiments import Run, run_all
from helpers.network import Network
from report import figures, results
from report.files import QUICK

ROUNDS = 1 if QUICK else 7
DATASETS = ("Peaks",) if QUICK else ("Peaks", "GMM")
SEEDS, EPOCHS = 10, 200  # of the whole job
TOLERANCE = 1e-6  # of the weights after one step, relative to the largest
DEEPEST = "1 hidden + 3 ResNet"


@dataclass(frozen=True)
class Competitor:
    """What is timed: a class of a module of this package, with R replicas."""

    name: str
    module: str
    kind: str
    replicas: int = 1

    def code(self):
        """Return the module; raises ModuleNotFoundError where its package is absent."""
        return importlib.import_module(f"benchmarks.{self.module}")

    def expresses(self, layers):
        """Return whether it has such a network."""
        return getattr(self.code(), "expresses", lambda layers: True)(layers)

    def build(self, layers, data):
        """Return its replicas of a network, with equal weights for all competitors."""
        start = Network(layers, growth.generators(self.replicas), dtype=float)
        return getattr(self.code(), self.kind)(layers, start.parameters, data)


COMPETITORS = [
    Competitor("plain layers, float64", "plain", "Plain"),
    Competitor("helpers, single", "ours", "Single"),
    Competitor("helpers, R = 10", "ours", "Stack", 10),
    Competitor("helpers, R = 20", "ours", "Stack", 20),
    Competitor("helpers without engine, single", "ours", "PlainSingle"),
    Competitor("helpers without engine, R = 10", "ours", "PlainStack", 10),
    Competitor("scikit-learn MLPClassifier", "scikit", "Scikit"),
    Competitor("PyTorch eager", "pytorch", "Eager"),
    Competitor("PyTorch by hand, R = 10", "pytorch", "ByHand", 10),
    Competitor("PyTorch vmap, R = 10", "pytorch", "Vmap", 10),
    Competitor("JAX scan", "jaxed", "Single"),
    Competitor("JAX scan + vmap, R = 10", "jaxed", "Vmap", 10),
    Competitor("JAX scan + vmap, R = 20", "jaxed", "Vmap", 20),
    Competitor("C++ for these sizes", "limit", "Limit"),
]
PLAIN, *OURS = [each.name for each in COMPETITORS[:4]]
PACKAGES = {"scikit": "scikit-learn", "pytorch": "torch", "jaxed": "jax"}


def present(competitors):
    """Return the competitors whose packages are installed; name the others."""
    found = []
    for competitor in competitors:
        try:
            competitor.code()
        except ModuleNotFoundError as error:
            package = PACKAGES.get(competitor.module)
            needed = f"{package} (make peers)" if package else error.name
            print(f"absent: {competitor.name} needs {needed}")
        else:
            found.append(competitor)
    return found


def step_error(competitor, layers, data):
    """Return how far one step leads from that of our float64 engine, relative."""
    small = replace(data, Yt=data.Yt[:, :BATCH].copy(), Ct=data.Ct[:, :BATCH].copy())
    ends = []
    for each in (competitor, replace(competitor, module="ours", kind="Stack64")):
        network = each.build(layers, small)
        network.epoch(growth.generators(each.replicas))
        ends.append(network.flat())
    return abs(ends[0] - ends[1]).max() / abs(ends[1]).max()


def epoch_times(competitors, data, rounds):
    """Return {(competitor, dataset, network): seconds per epoch and replica}.

    Raises AssertionError if a competitor does not take the same step as ours.
    """
    networks = {}
    for name, dataset in data.items():
        for network, architecture in ARCHITECTURES.items():
            layers = architecture(dataset.features, dataset.classes)
            for each in competitors:
                if each.expresses(layers):
                    error = step_error(each, layers, dataset)
                    assert error <= TOLERANCE, f"{each.name}, {network}: {error:.0e}"
                    key = each.name, name, network
                    networks[key] = each.build(layers, dataset), each.replicas
    return growth.medians(networks, tqdm(range(rounds + 1), unit="round"))


def table(times, names):
    """Return ms per epoch and replica, summed over the networks, and ratios.

    "it / ours" compares with `helpers` at as many replicas. A competitor that lacks
    some networks is compared on those it has.
    """
    wide = 1e3 * pd.Series(times).unstack([1, 2]).loc[names]
    wide.columns.names = "dataset", "network"
    rows = []
    for name, row in wide.iterrows():
        has = row.dropna().index
        rows.append(
            {
                "competitor": name,
                "networks": has.get_level_values("network").nunique(),
                **{d: row[d].sum() for d in has.get_level_values("dataset").unique()},
                "ms": row[has].sum(),
                "plain / it": wide.loc[PLAIN, has].sum() / row[has].sum(),
                "it / ours": row[has].sum() / wide.loc[ours(name), has].sum(),
            }
        )
    return pd.DataFrame(rows)


def ours(name):
    """Return the name of `helpers` with as many replicas as the competitor's."""
    return next((each for each in OURS if name.endswith(each[-6:])), OURS[0])


def peak_memory(competitor):
    """Return the peak memory, in MB, of a process of its own for one epoch."""
    command = [sys.executable, "-m", "benchmarks", "memory", competitor.name]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def print_memory(name):
    """Train the deepest network for an epoch, and print the peak memory in MB.

    It is NaN where the competitor has no such network, or the system hides it.
    """
    (competitor,) = [each for each in COMPETITORS if each.name == name]
    data, status = datasets.load("Peaks"), Path("/proc/self/status")
    layers = ARCHITECTURES[DEEPEST](data.features, data.classes)
    if not competitor.expresses(layers) or not status.exists():
        print("nan")
        return
    competitor.build(layers, data).epoch(growth.generators(competitor.replicas))
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8"))
    print(int(line) / 1000)


def whole_job(data, plain):
    """Return the seconds of the whole job on two processes, and how much that gains.

    All networks on all datasets, SEEDS replicas each, for EPOCHS epochs: against plain
    layers on one core, which take `plain` seconds for an epoch of one replica.
    """
    seeds, epochs = tuple(range(SEEDS)), 2 if QUICK else EPOCHS
    settings = {"epochs": epochs, "momentum": 0.0}
    runs = [Run(d, a, seeds, **settings) for d in data for a in ARCHITECTURES]
    start = time.perf_counter()
    run_all(runs, data, n_jobs=2)
    seconds = time.perf_counter() - start
    return seconds, plain * len(seeds) * epochs / seconds


def machine(competitors):
    """Return what the times were measured on, as rows of two."""
    listed, config = Path("/proc/cpuinfo"), np.show_config(mode="dicts")
    text = listed.read_text("utf-8") if listed.exists() else ""
    names = re.findall(r"model name\s*: (.*)", text)
    blas = config["Build Dependencies"]["blas"]
    packages = {PACKAGES.get(each.module) for each in competitors} - {None}
    rows = {
        "processor": [*names, platform.processor() or platform.machine()][0],
        "vector extensions": ", ".join(config["SIMD Extensions"]["found"]),
        "cores in use": "1, two for the whole job",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "llvmlite": version("llvmlite"),
        "BLAS": f"{blas['name']} {blas['version']}",
        **{name: version(name) for name in sorted(packages)},
        "rounds": ROUNDS,
        "growth, held": ", ".join(f"{q} {v}" for q, v in growth.USUAL.items()),
        "date": datetime.date.today().isoformat(),
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"])


def main():
    """Measure, print, and write the files of the appendix."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    competitors = present(COMPETITORS)
    jax = [each.code() for each in competitors if each.module == "jaxed"]
    kinds = growth.KINDS | ({"JAX": jax[0].Vmap} if jax else {})
    singles = growth.SINGLES | ({"JAX": jax[0].Single} if jax else {})
    data = {name: datasets.load(name) for name in DATASETS}
    if len(cores) > 1:
        os.sched_setaffinity(0, {min(cores)})
    times = epoch_times(competitors, data, ROUNDS)
    found = table(times, [each.name for each in competitors])
    found["peak MB"] = [peak_memory(each) for each in competitors]
    grown = growth.measure(ROUNDS, kinds)
    cells = growth.measure_cells(ROUNDS, singles, kinds)
    everything = datasets.load_all()
    plain = sum(epoch_times(COMPETITORS[:1], everything, ROUNDS).values())
    if len(cores) > 1:
        os.sched_setaffinity(0, cores)
    seconds, gain = whole_job(everything, plain)
    print(found.to_string(index=False, float_format="{:.2f}".format))
    print(f"whole job on two processes: {seconds:.0f} s, plain layers / it {gain:.1f}")
    if QUICK:
        return
    rows = machine(competitors)
    rows.loc[len(rows)] = ["whole job, s", f"{seconds:.0f}"]
    rows.loc[len(rows)] = ["whole job, plain / it", f"{gain:.1f}"]
    figures.save(dots(found), "benchmark", rounded(found))
    figures.save(growth.draw(grown), "benchmark_growth", grown)
    figures.save(growth.draw_cells(cells), "benchmark_cells", cells)
    results.write_csv(rows, "benchmark_machine")


def rounded(found):
    """Return the table as text, with the digits that a repetition would confirm."""
    digits = dict.fromkeys(found.columns[2:], 1)
    digits |= {"peak MB": 0, "plain / it": 2, "it / ours": 2}
    texts = found.copy()
    for column, n in digits.items():
        texts[column] = found[column].map(f"{{:.{n}f}}".format, na_action="ignore")
    return texts


@figures.style()
def dots(found):
    """Mark the time of every competitor on a log axis, ours in another colour."""
    whole = found[found["networks"] == len(ARCHITECTURES)][::-1]
    fig, axes = figures.panels(1, 1, height=0.11 * len(whole) + 0.5)
    (ax,) = axes[0]
    colours = np.where(whole["competitor"].isin(OURS), figures.COLOURS[1], "0.6")
    ax.scatter(whole["ms"], whole["competitor"], color=colours, s=14, zorder=3)
    for place, ms in enumerate(whole["ms"]):
        ax.text(1.08 * ms, place, f"{ms:.0f}", va="center", fontsize=7)
    ax.set_xscale("log")
    ax.set_xlim(right=1.5 * whole["ms"].max())
    ax.set_xlabel("ms per epoch and replica, all networks and datasets")
    return fig


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print_memory(sys.argv[2])
    else:
        main()
