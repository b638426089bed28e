"""The runs behind the notebooks: what is trained on what, with which settings.

A `Run` is one stack of replicas: one architecture, one dataset, one replica per seed.
Runs are independent, so `run_all` spreads them over all cores, or over the machines of
a cluster; the numbers do not depend on how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from helpers import sgd
from helpers.architectures import ARCHITECTURES
from helpers.backstage import compiled
from helpers.backstage.contracts import (
    one_or_column,
    require_counts,
    require_functions,
    require_parts,
)
from helpers.backstage.parallel import perform_jobs
from helpers.backstage.progress import follow, status
from helpers.backstage.rehearsal import rehearse
from helpers.datasets import subsample
from helpers.losses import CrossEntropy
from helpers.network import Network

FAILED = 0.2  # of the training samples: what a failed replica lacks to the median
COUNTS = ("epochs", "batch_size", "every")
OWN = ("learning_rate", "momentum", "weight_decay")  # what replicas may differ in


@dataclass(frozen=True)
class Run:
    """The settings of one stack of replicas; everything that decides its numbers.

    `seeds` has one entry per replica; rates, momenta and decays are those of SGD:
    numbers, or tuples with one entry per replica. Another `optimizer` takes its place,
    and has settings of its own. `record` is that of `helpers.sgd.train`.
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
    record: object = sgd.evaluation
    every: int = 1
    optimizer: object = None

    def __post_init__(self):
        """Make tuples of sequences; raise ValueError for settings that are none."""
        whole = np.ndim(self.seeds) == 1 and np.asarray(self.seeds).dtype.kind in "iu"
        if not whole or not len(self.seeds):
            raise ValueError(
                f"seeds = {self.seeds!r}: give whole numbers, one for each replica, "
                "such as (0, 1, 2)"
            )
        require_counts(**{name: getattr(self, name) for name in COUNTS})
        require_functions(schedule=self.schedule, record=self.record)
        if self.optimizer and any(getattr(self, n) != getattr(Run, n) for n in OWN):
            raise ValueError(f"{', '.join(OWN)} are SGD's: give those of the optimizer")
        own = {name: self.own(name) for name in OWN}
        vars(self).update(own, seeds=tuple(map(int, self.seeds)))  # the rest is frozen

    def own(self, name):
        """Return a setting of SGD as a float, or as a tuple, one for each replica."""
        value = getattr(self, name)
        one_or_column(name, value)
        numbers = np.ravel(value).astype(float).tolist()
        if np.ndim(value) and len(numbers) != len(self.seeds):
            raise ValueError(
                f"{name} has {len(numbers)} entries, but there are {len(self.seeds)} "
                "seeds: one replica has one of each"
            )
        return tuple(numbers) if np.ndim(value) else numbers[0]

    @property
    def method(self):
        """The optimiser: SGD with the settings of this run, unless another is given."""
        settings = {name: getattr(self, name) for name in OWN}
        return self.optimizer or sgd.SGD(**settings)


@dataclass(frozen=True, repr=False)
class Result:
    """What a run leaves: the trained stack and its history (records, replicas)."""

    run: Run
    network: Network
    history: dict

    def __repr__(self):
        """Return dataset, network, and what was reached, in one line."""
        last = {name: values[-1] for name, values in self.history.items()}
        where = f"{self.run.dataset}, {self.run.architecture}"
        return f"Result({where}, epoch {last.pop('epoch')}: {status(last)})"

    def final(self, name):
        """Return the last epoch of a history entry, one value per replica."""
        return self.history[name][-1]

    def failed(self):
        """Return (replicas,): which were frozen, or have not learnt what others have.

        That is 20 points of training accuracy below the median of the stack; seeds of
        one network that train well differ by up to 15 points.
        """
        accuracy = self.final("train_accuracy")
        if np.isnan(accuracy).all():
            return np.ones(accuracy.shape, bool)
        return ~(accuracy >= np.nanmedian(accuracy) - FAILED)

    def complaint(self):
        """Return a sentence that names the frozen replicas, or "" if all went well.

        A stack of which no replica ends below its first loss has learnt nothing.
        """
        run, epochs = self.run, self.history["epoch"]
        rates = np.broadcast_to(run.learning_rate, len(run.seeds))
        bad = np.isnan([*self.history.values()][1])
        told = "; ".join(
            f"seed {run.seeds[r]} at rate {rates[r]:g} by epoch {epochs[bad[:, r]][0]}"
            for r in np.flatnonzero(bad.any(axis=0))
        )
        name = f"{run.dataset}, {run.architecture}, {type(run.loss).__name__}"
        name += f", batch size {run.batch_size}"
        first, *_, last = self.history.get("train_loss", (1.0, 0.0))
        if not told and np.all(last >= first):
            return (
                f"{name}: nothing learnt at rate {np.max(rates):g}, the loss was "
                f"{np.mean(first):.3g} and is {np.mean(last):.3g}: try a smaller rate"
            )
        return told and f"{name}: frozen as not finite, {told}"


def generators(seeds, purpose):
    """Return one generator per seed, an independent stream for each purpose.

    Every architecture sees the same minibatches and the same drawn training points for
    the same seed, so that their comparison is paired.
    """
    purposes = ["weights", "minibatches", "training points"]
    return [np.random.default_rng([purposes.index(purpose), seed]) for seed in seeds]


def draw_samples(data, m, draws):
    """Return `data` with m training samples of its own for each entry of `draws`."""
    found = [subsample(data, m, rng) for rng in generators(draws, "training points")]
    return replace(
        data, Yt=np.stack([d.Yt for d in found]), Ct=np.stack([d.Ct for d in found])
    )


def gradient_norms(network, data, samples=1000):
    """Record accuracies, losses, and the gradient's norm in every layer: "layer 1", …

    The gradient is that of the mean loss over about so many training samples, taken at
    equal distances: a file may be sorted by class. Layers without parameters have none.
    """
    some = slice(None, None, -(-data.Yt.shape[-1] // samples))
    squares = compiled.gradient_squares(network, data.Yt[..., some], data.Ct[..., some])
    norms = {
        f"layer {number}": np.sqrt(square)
        for number, square in enumerate(squares, start=1)
        if network.layers[number - 1].shapes
    }
    return sgd.evaluation(network, data) | norms


def perform(number, run, layers, data, watch):
    """Train the stack of one run; return its number, parameters and history."""
    network = Network(layers, generators(run.seeds, "weights"), loss=run.loss)
    names = (*COUNTS, "schedule", "record")
    settings = {name: getattr(run, name) for name in names}
    rng = generators(run.seeds, "minibatches")
    with threadpool_limits(1):  # products of 10 × 10 matrices gain nothing from threads
        look = {"progress": False, "watch": watch}
        history = sgd.train(network, data, run.method, rng=rng, **look, **settings)
    return number, network.parameters, history


def perform_all(runs, data, n_jobs=-1, architectures=None):
    """Perform independent runs side by side, the deepest first; yield each when done.

    `data` maps names to datasets, `architectures` to functions of the numbers of
    features and classes. Yields (number of the run, Result), so that a sweep of any
    length takes no more memory than one run. Raises ValueError, before anything is
    trained, for names that are not there, and layers that do not fit the samples.
    """
    if isinstance(runs, Run):
        raise ValueError("runs is a single Run: give a list, [run]")
    runs = list(runs)
    architectures = architectures or ARCHITECTURES
    jobs = [(n, run, *prepare(run, data, architectures)) for n, run in enumerate(runs)]
    layers = [job[2] for job in jobs]
    jobs.sort(key=lambda job: len(job[2]), reverse=True)
    with follow(sum(run.epochs for run in runs)) as watch:
        jobs = [(*job, watch) for job in jobs]
        for number, parameters, history in perform_jobs(perform, jobs, n_jobs):
            network = Network(layers[number], loss=runs[number].loss)
            network.parameters = parameters
            yield number, Result(runs[number], network, history)


def prepare(run, data, architectures):
    """Return layers and dataset of a run once a step of it is known to work."""
    dataset = look_up("dataset", run.dataset, data)
    build = look_up("architecture", run.architecture, architectures)
    layers = callable(build) and build(dataset.features, dataset.classes)
    if not isinstance(layers, (list, tuple)):
        raise ValueError(
            f"architecture {run.architecture!r}: give a function of the numbers of "
            "features and classes that returns a list of layers"
        )
    network = Network(layers, generators(run.seeds, "weights"), loss=run.loss)
    if dataset.Yt.ndim > 2 and len(dataset.Yt) != len(run.seeds):
        raise ValueError(
            f"dataset {run.dataset!r} has samples for {len(dataset.Yt)} replicas, but "
            f"there are {len(run.seeds)} seeds"
        )
    require_parts(network, dataset, dataset.Yt, dataset.Ct)
    rehearse(network, run.method, dataset.Yt, dataset.Ct)
    return layers, dataset


def look_up(kind, name, known):
    """Return known[name]; raises ValueError that says which names there are."""
    if name in known:
        return known[name]
    near = get_close_matches(str(name), known, n=1, cutoff=0.4)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no {kind} {name!r}, only {', '.join(known)}.{meant}")


def run_all(runs, data, n_jobs=-1, architectures=None):
    """Perform runs {key: Run} and return {key: Result}; a list of runs gives a list.

    Replicas that diverge are named; the others are not affected.
    """
    if isinstance(runs, Mapping):
        results = run_all([*runs.values()], data, n_jobs, architectures)
        return dict(zip(runs, results, strict=True))
    found = dict(perform_all(runs, data, n_jobs, architectures))
    results = [found[number] for number in range(len(runs))]
    for sentence in filter(None, (result.complaint() for result in results)):
        tqdm.write(sentence)
    return results
