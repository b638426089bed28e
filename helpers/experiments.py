"""The runs behind the notebooks: what is trained on what, with which settings.

A `Run` is one stack of replicas: one architecture, one dataset, one replica per seed.
Runs are independent, so `run_all` spreads them over all cores; the numbers do not
depend on how many there are.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import ttest_1samp, ttest_rel
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import sgd
from helpers.datasets import subsample
from helpers.layers import HiddenLayer, OutputLayer, ResNetLayer
from helpers.losses import CrossEntropy
from helpers.network import Network, is_correct

WIDTH = 10

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
    """Return a tuple as a float32 column (replicas, 1), a number as it is."""
    if isinstance(value, tuple):
        return np.array(value, np.float32)[:, None]
    return value


def run_all(runs, data, n_jobs=-1):
    """Perform independent runs on all cores, the deepest first; return their results.

    `data` maps dataset names to datasets. Results come in the order of `runs`.
    """

    def job(run):
        layers = ARCHITECTURES[run.architecture](
            data[run.dataset].features, data[run.dataset].classes
        )
        return len(layers), delayed(perform)(run, layers, data[run.dataset])

    jobs = [job(run) for run in runs]
    order = sorted(range(len(runs)), key=lambda i: jobs[i][0], reverse=True)
    done = Parallel(n_jobs, return_as="generator")(jobs[i][1] for i in order)
    bar = tqdm(done, total=len(runs), unit="run")
    results = dict(zip(order, bar, strict=True))
    return [results[i] for i in range(len(runs))]


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
