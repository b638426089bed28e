"""A training by hand: one line builds it, and it goes on a step at a time.

The line is that of the playground's settings: `Training(dataset="Peaks", width=20)`.
"""

import ast
from dataclasses import replace
from functools import cache

import numpy as np

from helpers import checks, datasets, mistakes, sgd
from helpers.layers import HiddenLayer, OutputLayer, ReLU, ResNetLayer, Tanh
from helpers.network import Network
from report import figures

OWN = "own points"
ACTIVATIONS = {"tanh": Tanh, "ReLU": ReLU}
WRONG = {
    "none": None,
    "skip connection forgotten": mistakes.ForgottenSkip,
    "W1 and W2 swapped": mistakes.SwappedWeights,
    "second bias left out": mistakes.ForgottenBias,
    "last sample's gradient only": mistakes.LastSampleOnly,
    "gradient taken after the update": mistakes.UpdatedTooSoon,
    "output bias never trained": mistakes.UntrainedBias,
}
SETTINGS = {
    "dataset": "SwissRoll",
    "share": 25,  # % of the training samples
    "noise": 0.0,  # standard deviation, added to all samples
    "seed": 0,
    "points": ((-0.5, -0.5, 1), (0.5, 0.5, 1), (-0.5, 0.5, 2), (0.5, -0.5, 2)),
    "layers": 2,
    "width": 10,
    "kind": "plain",
    "activation": "tanh",
    "mistake": "none",
    "rate": 0.05,
    "momentum": 0.9,
    "decay": 0.0,
    "batch": 64,
}
load = cache(datasets.load)


class Training:
    """A network, its data, and what was recorded after every epoch."""

    def __init__(self, **settings):
        """Draw data and network; raises ValueError for what cannot be had."""
        if strange := settings.keys() - SETTINGS.keys():
            raise ValueError(f"there is no setting {min(strange)!r}")
        vars(self).update(SETTINGS | settings)
        rng = np.random.default_rng(self.seed)
        self.data = self.draw_data(rng)
        layers = self.build(self.data.features, self.data.classes)
        inject(layers, WRONG[self.mistake])
        self.network, self.rng = Network(layers, rng), rng
        self.history = [{"epoch": 0} | sgd.evaluation(self.network, self.data)]
        self.configure()

    def __repr__(self):
        """Return the line that builds it: the settings that are not as usual."""
        own = {n: getattr(self, n) for n, usual in SETTINGS.items()}
        own = {name: value for name, value in own.items() if value != SETTINGS[name]}
        return (
            f"Training({', '.join(f'{name}={value!r}' for name, value in own.items())})"
        )

    def draw_data(self, rng):
        """Return the share of a dataset that is trained on, with noise."""
        if self.dataset == OWN:
            return own_data(self.points)
        data = load(self.dataset)
        m = max(1, self.share * data.Yt.shape[1] // 100)
        data = datasets.subsample(data, m, rng)
        if not self.noise:
            return data
        noisy = (
            X + self.noise * rng.standard_normal(X.shape, X.dtype)
            for X in (data.Yt, data.Yv)
        )
        return replace(
            data, **dict(zip(("Yt", "Yv"), noisy, strict=True)), ceiling=None
        )

    def plane(self, n):
        """Return a side (n,) of the square that is drawn, and its points."""
        if self.dataset != OWN:
            return figures.square(self.data, n, self.data.Yt.dtype)
        edge = max(1, 1.1 * abs(self.data.Yt).max())
        side = np.linspace(-edge, edge, n, dtype=np.float32)
        return side, np.stack(np.meshgrid(side, side)).reshape(2, -1)

    def build(self, n, classes):
        """Return the layers; a residual network begins with a hidden one."""
        layers, inputs, f = [], n, ACTIVATIONS[self.activation]()
        for number in range(self.layers):
            if self.kind == "residual" and number:
                layers.append(ResNetLayer(self.width, activation=f))
            else:
                layers.append(HiddenLayer(inputs, self.width, f))
            inputs = self.width
        return [*layers, OutputLayer(inputs, classes)]

    def configure(self, **settings):
        """Change rate, momentum, decay or batch in the midst of a training."""
        vars(self).update(settings)
        how = sgd.SGD(self.rate, self.momentum, self.decay)
        one = self.data
        self.epoch = sgd.prepare_epoch(self.network, how, one.Yt, one.Ct, self.batch)

    def step(self):
        """Train for an epoch; raises DivergenceError if the loss is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.epoch(self.data.Yt, self.data.Ct, self.rng, 1.0)
            row = sgd.evaluation(self.network, self.data)
        self.history.append({"epoch": len(self.history)} | row)
        if not np.isfinite(row["train_loss"]):
            raise sgd.DivergenceError(
                "The loss is no longer finite: try a smaller rate, then Reset."
            )

    def certificate(self):
        """Return the checks of every derivative: of the network, then of each layer."""
        rng, m = np.random.default_rng(0), min(8, self.data.Yt.shape[1])
        X, C = datasets.minibatch(self.data, m, rng)
        network, smooth = self.network, self.activation == "tanh"
        found = checks.network_tests("network", network, X, C, rng, smooth)
        blocks = network.split(network.parameters)
        for number, (layer, some) in enumerate(
            zip(network.layers, blocks, strict=True), start=1
        ):
            name = f"layer {number}"
            found += checks.layer_tests(name, layer, X, rng, smooth)
            X = layer.forward(X, *some)[0]
        return found


def own_data(points):
    """Return points (x, y, class) as a dataset that is trained and judged on."""
    rows = np.array(points, float).reshape(-1, 3)
    if len({*rows[:, 2]}) < 2:
        raise ValueError("Own points want two classes at least: x y class; x y class.")
    C = (rows[:, 2] == np.unique(rows[:, 2])[:, None]).astype(np.float32)
    X = rows[:, :2].T.astype(np.float32)
    return datasets.Dataset(OWN, X, C, X, C)


def inject(layers, wrong):
    """Make the first layer of its kind a wrong one."""
    for layer in layers:
        if wrong and type(layer) is wrong.__mro__[1]:
            layer.__class__ = wrong
            return
    if wrong:
        raise ValueError("No layer of this network can have that mistake.")


def settings_of(line):
    """Return the settings of `Training(...)`; raises ValueError for another line."""
    try:
        call = ast.parse(line.strip(), mode="eval").body
        found = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        good = (
            call.func.id == "Training" and not call.args and found.keys() <= {*SETTINGS}
        )
    except (SyntaxError, ValueError, AttributeError):
        good = False
    if not good:
        raise ValueError("This is no line such as Training(width=20).")
    return SETTINGS | found
