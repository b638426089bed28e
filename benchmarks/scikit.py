"""scikit-learn's MLPClassifier, which knows hidden layers but no residual ones."""

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks import BATCH, RATE
from helpers.layers import HiddenLayer
from helpers.network import Network


def expresses(layers):
    """Return whether an MLPClassifier can be this network."""
    hidden = layers[:-1]
    return bool(hidden) and all(isinstance(layer, HiddenLayer) for layer in hidden)


class Scikit:
    """One MLPClassifier, trained by its own `partial_fit`, an epoch at a time."""

    def __init__(self, layers, parameters, data):
        self.train = np.ascontiguousarray(data.Yt.T), data.Ct.argmax(axis=0)
        self.validation = np.ascontiguousarray(data.Yv.T), data.Cv.argmax(axis=0)
        self.model = MLPClassifier(
            [layer.outputs for layer in layers[:-1]],
            activation="tanh",
            solver="sgd",
            alpha=0,
            batch_size=BATCH,
            learning_rate_init=RATE,
            momentum=0,
            random_state=0,
        )
        X, labels = self.train
        first = np.unique(labels, return_index=True)[1]
        some = np.resize(first, BATCH)  # every class, as many samples as a minibatch
        self.model.partial_fit(X[some], labels[some], classes=np.unique(labels))
        blocks = Network(layers).split(parameters[0].astype(X.dtype))
        self.model.coefs_ = [W.T.copy() for W, _ in blocks]
        self.model.intercepts_ = [b.ravel() for _, b in blocks]

    def epoch(self, rngs):
        self.model.partial_fit(*self.train)
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    def evaluate(self, X, labels):
        """Return loss and accuracy."""
        P = self.model.predict_proba(X)
        loss = -np.mean(np.log(P[np.arange(len(labels)), labels]))
        return loss, np.mean(P.argmax(axis=1) == labels)

    def flat(self):
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return np.concatenate([a for W, b in pairs for a in (W.T.ravel(), b)])[None]
