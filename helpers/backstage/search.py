"""The choice of a learning rate: one that another processor would choose as well.

Rounding differs from processor to processor, and a step at the edge of stability turns
that into a network that learns or does not. So a try is a pair of learning rate η and
momentum μ, of effective step η/(1 − μ), it is made with several seeds for all networks
that will use it, at the length that will be used, and

1. the **edge** is the largest effective step tried at which no replica is ruined; what
   is chosen must stay a factor of two below;
2. among these the lowest score wins, where the WORST seed counts: a seed's score is the
   geometric mean of its losses over all networks and datasets;
3. tries that are worse by no more than the winner's seeds differ, or by 0.1 %, are its
   equals, and the gentlest of the equals is taken.

Shapes: losses and accuracies (pairs, tries, seeds), a pair being a network and a
dataset; NaN where a replica was frozen.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from helpers.experiments import Run, run_all

RUINED = 0.25  # of the training samples: less is chance where these are few
MARGIN = 2  # between what is chosen and the edge
LEAST = np.finfo(np.float32).eps  # a loss below is rounding
TIE = 1e-3  # differences of a loss that no reader would care about


@dataclass(frozen=True)
class Choice:
    """The rate and momentum chosen from `tries`, a table with a row per try.

    `edge` is the largest effective step that ruined no replica, and `lead` how much
    larger the score of the next try is that is no equal, as a fraction: NaN if there
    is none.
    """

    learning_rate: float
    momentum: float
    edge: float
    lead: float
    tries: pd.DataFrame

    @property
    def step(self):
        """The effective step η/(1 − μ)."""
        return effective_step(self.learning_rate, self.momentum)

    @property
    def margin(self):
        """How many times larger than the chosen step the edge is."""
        return self.edge / self.step

    def with_margin(self, name=""):
        """Return the choice; raises ValueError unless it is MARGIN below the edge.

        The sentence begins with a name, if one is given.
        """
        if self.margin < MARGIN:
            raise ValueError(
                f"{f'{name}: ' if name else ''}no learning rate tried leaves a factor "
                "of two to the largest effective step that ruins no replica, "
                f"{self.edge:g}: try smaller ones, from {self.learning_rate / 10:g} on"
            )
        return self

    @property
    def settings(self):
        """What a Run asks for."""
        return {"learning_rate": self.learning_rate, "momentum": self.momentum}


def effective_step(learning_rate, momentum):
    """Return η/(1 − μ), the sum of what one gradient moves in all later steps.

    Rounded, so that equal steps are equal: 0.02/(1 − 0.9) is not 0.2 in binary.
    """
    return np.round(np.divide(learning_rate, 1 - np.asarray(momentum)), 12)


def too_large(losses, accuracies, steps, batch_sizes=0):
    """Return where a step was too large: frozen, or much worse than a gentler one.

    Much worse is a training accuracy more than RUINED below the best that the same seed
    reached with a smaller step and equal batches, and a loss above the least. What has
    a lower loss is on its way: half trained, a network may answer worse than at first.
    """
    sizes = np.broadcast_to(batch_sizes, steps.shape)
    gentler = [(steps < s) & (sizes == b) for s, b in zip(steps, sizes, strict=True)]
    best = [np.fmax.reduce(accuracies[:, s], axis=1, initial=0.0) for s in gentler]
    least = [np.fmin.reduce(losses[:, s], axis=1, initial=np.inf) for s in gentler]
    best, least = np.stack(best, axis=1), np.stack(least, axis=1)
    worse = (accuracies < best - RUINED) & (losses > least)
    return worse | np.isnan(accuracies)


def run_tries(tries, data, networks, seeds, epochs, batch_size):
    """Train every network on every dataset with every try and seed, in one stack each.

    `tries` are pairs of a learning rate and a momentum. Returns {(dataset, network):
    Result}, a replica for each try and seed.
    """
    rates, momenta = np.repeat(tries, len(seeds), axis=0).T
    settings = {"learning_rate": rates, "momentum": momenta, "every": epochs}
    runs = {
        (d, n): Run(d, n, seeds * len(tries), epochs, batch_size, **settings)
        for d, n in product(data, networks)
    }
    return run_all(runs, data, architectures=networks)


def choose_from(tries, results, loss="validation_loss"):
    """Choose among the tries by the results of `run_tries`, and require the margin.

    Raises ValueError, which names the datasets that leave none.
    """
    results = list(results)
    losses, accuracies = (
        np.reshape([one.final(name) for one in results], (len(results), len(tries), -1))
        for name in (loss, "train_accuracy")
    )
    without = {
        one.run.dataset: None
        for k, one in enumerate(results)
        if choose(tries, losses[[k]], accuracies[[k]]).margin < MARGIN
    }
    return choose(tries, losses, accuracies).with_margin(", ".join(without))


def choose_batch_size(tries, results, name=""):
    """Choose among the tries and the batch sizes of {size: Result}; return both.

    The replicas of a Result are a try and seed each. The tries of the Choice come batch
    size by batch size. Raises ValueError if none leaves the margin.
    """
    pairs, sizes = [*tries] * len(results), np.repeat([*results], len(tries))
    losses, accuracies = (
        np.reshape([one.final(part) for one in results.values()], (1, len(pairs), -1))
        for part in ("validation_loss", "train_accuracy")
    )
    choice = choose(pairs, losses, accuracies, sizes).with_margin(name)
    return choice, int(sizes[choice.tries["chosen"].argmax()])


def choose(pairs, losses, accuracies, batch_sizes=0):
    """Choose among `pairs` of a learning rate and a momentum; return the Choice.

    Each pair may have a batch size of its own. Where no try is as far below the edge as
    it should be, the gentlest is taken.
    """
    tries = pd.DataFrame(pairs, columns=["learning rate", "momentum"])
    tries["step"] = steps = effective_step(*np.transpose(pairs))
    bad = too_large(losses, accuracies, steps, batch_sizes)
    scores = np.exp(np.log(np.maximum(losses, LEAST)).mean(axis=0))
    tries["ruined"] = bad.sum(axis=(0, 2))
    tries["best"], tries["worst"] = scores.min(axis=1), scores.max(axis=1)
    first = steps[tries["ruined"] > 0].min(initial=np.inf)
    edge = float(steps[steps < first].max(initial=0.0))
    allowed = tries[steps <= max(edge / MARGIN, steps.min())]
    winner = allowed.loc[allowed["worst"].fillna(np.inf).idxmin()]
    noise = max(winner["worst"] / winner["best"], 1 + TIE)
    equal = allowed["worst"] <= noise * winner["worst"]
    equal[winner.name] = True
    chosen = allowed[equal].sort_values(["step", "learning rate"]).iloc[0]
    lead = float(allowed[~equal]["worst"].min() / winner["worst"] - 1)
    settings = map(float, chosen[["learning rate", "momentum"]])
    return Choice(
        *settings, edge, lead, tries.assign(chosen=tries.index == chosen.name)
    )
