"""PyTorch three ways: modules with autograd, our formulas by hand, and vmap of grad."""

import numpy as np
import torch
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks import BATCH, RATE, scores
from helpers.layers import OutputLayer, ResNetLayer
from helpers.network import Network

torch.set_num_threads(1)


class Residual(torch.nn.Module):
    """y = tanh(x + W2 tanh(W1 x + b1) + b2)."""

    def __init__(self, layer):
        super().__init__()
        inner = layer.shapes["b1"][0]
        self.first = torch.nn.Linear(layer.inputs, inner)
        self.second = torch.nn.Linear(inner, layer.outputs)

    def forward(self, x):
        return torch.tanh(x + self.second(torch.tanh(self.first(x))))


def modules(layer):
    """Return the modules of one layer."""
    if isinstance(layer, ResNetLayer):
        return [Residual(layer)]
    linear = torch.nn.Linear(layer.inputs, layer.outputs)
    return [linear] if isinstance(layer, OutputLayer) else [linear, torch.nn.Tanh()]


class Eager:
    """One network of modules, autograd, torch.optim.SGD; samples are rows."""

    def __init__(self, layers, parameters, data):
        parts = [part for layer in layers for part in modules(layer)]
        self.network = torch.nn.Sequential(*parts)
        start = torch.tensor(parameters[0], dtype=torch.float32)
        vector_to_parameters(start, self.network.parameters())
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE)
        self.train, self.validation = (
            (torch.tensor(Y.T.copy()), torch.tensor(C.argmax(axis=0)))
            for Y, C in ((data.Yt, data.Ct), (data.Yv, data.Cv))
        )

    def epoch(self, rngs):
        X, labels = self.train
        order = torch.from_numpy(rngs[0].permutation(len(X)))
        for batch in order.split(BATCH):
            self.optimizer.zero_grad()
            cross_entropy(self.network(X[batch]), labels[batch]).backward()
            self.optimizer.step()
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    @torch.no_grad()
    def evaluate(self, X, labels):
        """Return loss and accuracy."""
        Z = self.network(X)
        right = (Z.argmax(dim=1) == labels).double().mean()
        return float(cross_entropy(Z, labels)), float(right)

    def flat(self):
        return parameters_to_vector(self.network.parameters()).detach().numpy()[None]


class ByHand:
    """R replicas, samples as columns: our formulas in batched products."""

    def __init__(self, layers, parameters, data):
        self.layers, self.split = layers, Network(layers).split
        self.parameters = torch.tensor(parameters, dtype=torch.float32)
        self.gradient = torch.empty_like(self.parameters)
        self.blocks = self.split(self.parameters)
        self.gradients = self.split(self.gradient)
        self.train = torch.tensor(data.Yt), torch.tensor(data.Ct)
        self.validation = torch.tensor(data.Yv), torch.tensor(data.Cv)

    def forward(self, x):
        """Return the scores and, for each layer, what its backward pass needs."""
        kept = []
        for layer, (W, b, *rest) in zip(self.layers, self.blocks, strict=True):
            h = torch.baddbmm(b, W, x)
            y = h if isinstance(layer, OutputLayer) else h.tanh_()
            if rest:
                y = torch.baddbmm(rest[1], rest[0], h).add_(x).tanh_()
            kept.append((x, h, y))
            x = y
        return x, kept

    def step(self, X, C):
        """Train on one minibatch X (R, features, m)."""
        Z, kept = self.forward(X)
        dy = (Z.softmax(dim=1) - C) / X.shape[-1]
        steps = zip(self.layers, self.blocks, self.gradients, kept, strict=True)
        for layer, blocks, gradients, (x, h, y) in reversed(list(steps)):
            if isinstance(layer, ResNetLayer):
                ds = (1 - y * y) * dy
                torch.bmm(ds, h.mT, out=gradients[2])
                torch.sum(ds, -1, keepdim=True, out=gradients[3])
                dz = (1 - h * h) * torch.bmm(blocks[2].mT, ds)
                dy = torch.baddbmm(ds, blocks[0].mT, dz)
            else:
                dz = dy if isinstance(layer, OutputLayer) else (1 - y * y) * dy
                dy = torch.bmm(blocks[0].mT, dz)
            torch.bmm(dz, x.mT, out=gradients[0])
            torch.sum(dz, -1, keepdim=True, out=gradients[1])
        self.parameters.sub_(self.gradient, alpha=RATE)

    @torch.no_grad()
    def epoch(self, rngs):
        Y, C = self.train
        order = np.stack([rng.permutation(Y.shape[1]) for rng in rngs])
        order = torch.from_numpy(order)
        Y, C = Y[:, order].transpose(0, 1), C[:, order].transpose(0, 1)
        for X, K in zip(Y.split(BATCH, -1), C.split(BATCH, -1), strict=True):
            self.step(X, K)
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    def evaluate(self, X, C):
        """Return loss and accuracy of each replica, from chunks that fit a cache."""
        R, totals = len(self.parameters), 0
        size = max(1, 8192 // R)
        for x, c in zip(X.split(size, 1), C.split(size, 1), strict=True):
            Z = self.forward(x.expand(R, *x.shape))[0]
            loss = -(c * Z.log_softmax(dim=1)).sum(dim=(1, 2))
            right = (Z.argmax(dim=1) == c.argmax(dim=0)).sum(dim=1)
            totals = totals + torch.stack([loss, right])
        return totals / X.shape[1]

    def flat(self):
        return self.parameters.numpy()


class Vmap(ByHand):
    """R replicas by vmap of grad of the loss of one."""

    def __init__(self, layers, parameters, data):
        super().__init__(layers, parameters, data)

        def loss(flat, X, C):
            Z = scores(torch.tanh, self.split(flat), X)
            return -(C * Z.log_softmax(dim=0)).sum() / X.shape[1]

        self.gradient_of = vmap(grad(loss))

    def step(self, X, C):
        with torch.enable_grad():
            gradient = self.gradient_of(self.parameters, X, C)
        self.parameters.sub_(gradient, alpha=RATE)
