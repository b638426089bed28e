"""The runs behind the notebooks: what is trained on what, with which settings.

A `Run` is one stack of replicas: one architecture, one dataset, one replica per seed.
Runs are independent, so `run_all` spreads them over all cores, or over the machines of
a Dask cluster; the numbers do not depend on how many there are.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend
from scipy.stats import ttest_1samp, ttest_rel
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import sgd
from helpers.datasets import subsample
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.losses import CrossEntropy
from helpers.network import Network, is_correct

WIDTH = 10
PATIENCE = 10  # seconds to wait for a scheduler

# Each takes the number of features n and of classes c. To add one, add a line.
ARCHITECTURES = {
    "softmax": lambda n, c: [OutputLayer(n, c)],
    "1 hidden": lambda n, c: [HiddenLayer(n, WIDTH), OutputLayer(WIDTH, c)],
    "2 hidden": lambda n, c: [
        HiddenLayer(n, WIDTH),
        HiddenLayer(WIDTH, WIDTH),
        OutputLayer(WIDTH, c),
    ],
    "2 hidden + 1 ResNet": lambda n, c: [
        HiddenLayer(n, WIDTH),
        HiddenLayer(WIDTH, WIDTH),
        ResNetLayer(WIDTH),
        OutputLayer(WIDTH, c),
    ],
    "1 hidden + 3 ResNet": lambda n, c: [
        HiddenLayer(n, WIDTH),
        *(ResNetLayer(WIDTH) for _ in range(3)),
        OutputLayer(WIDTH, c),
    ],
}


@dataclass(frozen=True)
class Run:
    """The settings of one stack of replicas; everything that decides its numbers.

    `seeds` has one entry per replica; rates, momenta and decays are numbers, or tuples
    with one entry per replica. `samples` draws that many training points at random, a
    different draw for each seed.
    """

    dataset: str
    architecture: str = "softmax"
    seeds: tuple = (0,)
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float | tuple = 0.1
    momentum: float | tuple = 0.9
    weight_decay: float | tuple = 0.0
    schedule: object = sgd.cosine
    loss: object = CrossEntropy()
    samples: int | None = None
    every: int = 1


@dataclass(frozen=True)
class Result:
    """What a run leaves: the trained stack and its history (epochs + 1, replicas)."""

    run: Run
    network: Network
    history: dict

    def final(self, name):
        """Return the last epoch of a history entry, one value per replica."""
        return self.history[name][-1]

    def diverged(self):
        """Return {replica: epoch} of the replicas that were frozen, and when."""
        lost = np.isnan(self.history["train_loss"])
        epochs = np.minimum(lost.argmax(axis=0) * self.run.every, self.run.epochs)
        return {r: int(epochs[r]) for r in np.flatnonzero(lost.any(axis=0)).tolist()}

    def frozen_replicas(self):
        """Return a sentence that names the frozen replicas; none if there are none."""
        run = self.run
        rates = np.broadcast_to(run.learning_rate, len(run.seeds))
        told = [
            f"seed {run.seeds[r]} at rate {rates[r]:g} in epoch {epoch}"
            for r, epoch in self.diverged().items()
        ]
        name = f"{run.dataset}, {run.architecture}, batch size {run.batch_size}"
        return f"{name}: frozen as not finite, {'; '.join(told)}" if told else ""


def generators(seeds, purpose):
    """Return one generator per seed, an independent stream for each purpose.

    Every architecture sees the same minibatches and the same drawn training points for
    the same seed, so that their comparison is paired.
    """
    purposes = ["weights", "minibatches", "training points"]
    return [np.random.default_rng([purposes.index(purpose), seed]) for seed in seeds]


def drawn(data, samples, seeds):
    """Return `data` with training points (replicas, features, samples) of each seed."""
    draws = [
        subsample(data, samples, rng) for rng in generators(seeds, "training points")
    ]
    return replace(
        data, Yt=np.stack([d.Yt for d in draws]), Ct=np.stack([d.Ct for d in draws])
    )


def perform(run, layers, data):
    """Train the stack of one run and return its Result."""
    network = Network(layers, generators(run.seeds, "weights"), loss=run.loss)
    if run.samples:
        data = drawn(data, run.samples, run.seeds)
    with threadpool_limits(1):  # products of 10 × 10 matrices gain nothing from threads
        history = sgd.train(
            network,
            data,
            rng=generators(run.seeds, "minibatches"),
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=per_replica(run.learning_rate),
            momentum=per_replica(run.momentum),
            weight_decay=per_replica(run.weight_decay),
            schedule=run.schedule,
            every=run.every,
            progress=False,
        )
    return Result(run, network, history)


def per_replica(value):
    """Return a tuple as a float32 column (replicas, 1), a number as Python's own.

    A float64 scalar of NumPy would turn float32 training into float64.
    """
    if isinstance(value, tuple):
        return np.array(value, np.float32)[:, None]
    return float(value)


@contextmanager
def workers(data):
    """Choose where to perform runs: on the Dask cluster that SCHEDULER names, if any.

    The environment variable holds its address, tcp://host:port. Otherwise, and inside
    a `joblib.parallel_config` of the caller, joblib decides.

    Raises ConnectionError if there is no scheduler at that address.
    """
    address = os.environ.get("SCHEDULER")
    if not address:
        yield
        return
    from distributed import Client  # noqa: PLC0415 - slow to import, seldom needed

    try:
        client = Client(address, timeout=PATIENCE)
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at SCHEDULER={address}: start one with "
            "`.venv/bin/dask scheduler`, and workers with `.venv/bin/dask worker`"
        ) from error
    # The datasets go to every worker once, not along with every run.
    shared = {"client": client, "scatter": list(data.values())}
    with client, parallel_config(backend="dask", **shared):
        yield


def perform_all(runs, data, n_jobs=-1):
    """Perform independent runs side by side, the deepest first; yield each when done.

    `data` maps dataset names to datasets. Yields (number of the run, Result), so that
    results need not be kept: a sweep of any length takes no more memory than one run.
    """

    def job(number):
        run = runs[number]
        dataset = data[run.dataset]
        layers = ARCHITECTURES[run.architecture](dataset.features, dataset.classes)
        return len(layers), number, run, layers, dataset

    jobs = sorted(map(job, range(len(runs))), key=lambda job: job[0], reverse=True)
    with workers(data):
        streams = get_active_backend()[0].supports_return_generator
        done = Parallel(n_jobs, return_as="generator_unordered" if streams else "list")(
            delayed(numbered)(*job[1:]) for job in jobs
        )
        for number, result in tqdm(done, total=len(runs), unit="run"):
            # What comes from another process is a copy; the run asked for is not.
            yield number, replace(result, run=runs[number])


def numbered(number, run, layers, data):
    """Return the number of a run with its Result."""
    return number, perform(run, layers, data)


def run_all(runs, data, n_jobs=-1):
    """Perform independent runs and return their results in the order of `runs`.

    Replicas that diverge are named; the others are not affected.
    """
    results = dict(perform_all(runs, data, n_jobs))
    results = [results[number] for number in range(len(runs))]
    for sentence in filter(None, (result.frozen_replicas() for result in results)):
        tqdm.write(sentence)
    return results


def summary(results):
    """Return a table with one row per run: final accuracies in %, mean and sd."""
    rows = []
    for result in results:
        row = {
            "dataset": result.run.dataset,
            "network": result.run.architecture,
            "parameters": result.network.parameters.shape[-1],
            "replicas": len(result.run.seeds),
        }
        for part in ("train", "validation"):
            percent = 100 * result.final(f"{part}_accuracy")
            row[part] = percent.mean()
            row[f"{part} sd"] = pd.Series(percent).std(skipna=False)
        rows.append(row)
    return pd.DataFrame(rows)


def paired_difference(one, other, name="validation_accuracy"):
    """Return the mean of one − other in points, and its 95 % confidence interval.

    Replicas with equal seeds saw the same minibatches, so the difference is paired
    (Student's t over the seeds).
    """
    test = ttest_rel(100 * one.final(name), 100 * other.final(name))
    low, high = test.confidence_interval(0.95)
    mean = 100 * (one.final(name) - other.final(name)).mean()
    return mean, low, high


def averaged_accuracy(result, data):
    """Return the validation accuracy of the replicas' averaged probabilities."""
    probabilities = result.network.probabilities(data.Yv).mean(axis=0)
    return np.count_nonzero(is_correct(probabilities, data.Cv)) / data.Yv.shape[-1]


def gap(result):
    """Return train − validation accuracy in points with a 95 % interval over seeds."""
    points = 100 * (
        result.final("train_accuracy") - result.final("validation_accuracy")
    )
    low, high = ttest_1samp(points, 0).confidence_interval(0.95)
    return points.mean(), low, high
