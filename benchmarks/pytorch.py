"""PyTorch three ways: modules with autograd, our formulas by hand, and vmap of grad."""

import numpy as np
import torch
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from benchmarks import BATCH, RATE
from helpers.layers import OutputLayer, ResNetLayer
from helpers.network import Network

torch.set_num_threads(1)


def tensors(data):
    """Return training and validation samples as rows, with the labels as numbers."""
    return [
        (torch.tensor(Y.T.copy()), torch.tensor(C.argmax(axis=0)))
        for Y, C in ((data.Yt, data.Ct), (data.Yv, data.Cv))
    ]


class Residual(torch.nn.Module):
    """y = tanh(x + W2 tanh(W1 x + b1) + b2)."""

    def __init__(self, layer):
        """Make both affine parts."""
        super().__init__()
        inner = layer.shapes["b1"][0]
        self.first = torch.nn.Linear(layer.inputs, inner)
        self.second = torch.nn.Linear(inner, layer.outputs)

    def forward(self, x):
        """Return y."""
        return torch.tanh(x + self.second(torch.tanh(self.first(x))))


def module(layer):
    """Return the modules of one layer."""
    if isinstance(layer, ResNetLayer):
        return [Residual(layer)]
    linear = torch.nn.Linear(layer.inputs, layer.outputs)
    return [linear] if isinstance(layer, OutputLayer) else [linear, torch.nn.Tanh()]


class Eager:
    """One network of modules, autograd, torch.optim.SGD."""

    def __init__(self, layers, parameters, data):
        """Start from the single row of `parameters`."""
        parts = [part for layer in layers for part in module(layer)]
        self.network = torch.nn.Sequential(*parts)
        start = torch.tensor(parameters[0], dtype=torch.float32)
        blocks = [b for own in Network(layers).split(start) for b in own]
        with torch.no_grad():
            for own, block in zip(self.network.parameters(), blocks, strict=True):
                own.copy_(block.reshape(own.shape))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE)
        self.train, self.validation = tensors(data)

    def epoch(self, rngs):
        """Train on all samples once, then evaluate."""
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
        """Return the parameters (1, P)."""
        own = [p.detach().numpy().ravel() for p in self.network.parameters()]
        return np.concatenate(own)[None]


class ByHand:
    """R replicas, samples as columns: our formulas in batched products."""

    def __init__(self, layers, parameters, data):
        """Start from `parameters`."""
        self.layers = layers
        self.parameters = torch.tensor(parameters, dtype=torch.float32)
        self.gradient = torch.empty_like(self.parameters)
        split = Network(layers).split
        self.blocks, self.gradients = split(self.parameters), split(self.gradient)
        self.train = torch.tensor(data.Yt), torch.tensor(data.Ct)
        self.validation = torch.tensor(data.Yv), torch.tensor(data.Cv)

    def forward(self, x):
        """Return the scores and, for each layer, what its backward pass needs."""
        kept = []
        for layer, blocks in zip(self.layers, self.blocks, strict=True):
            W, b = blocks[:2]
            h = torch.baddbmm(b, W, x)
            if isinstance(layer, OutputLayer):
                y = h
            elif isinstance(layer, ResNetLayer):
                h = h.tanh_()
                y = torch.baddbmm(blocks[3], blocks[2], h).add_(x).tanh_()
            else:
                y = h.tanh_()
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
        """Train on all samples once, then evaluate."""
        Y, C = self.train
        order = np.stack([rng.permutation(Y.shape[1]) for rng in rngs])
        order = torch.from_numpy(order)
        Y, C = Y[:, order].transpose(0, 1), C[:, order].transpose(0, 1)
        for X, K in zip(Y.split(BATCH, -1), C.split(BATCH, -1), strict=True):
            self.step(X, K)
        return self.evaluate(*self.train), self.evaluate(*self.validation)

    def evaluate(self, X, C):
        """Return loss and accuracy of each replica."""
        parts = []
        labels = C.argmax(dim=0)
        size = max(1, 8192 // len(self.parameters))
        for x, c, label in zip(
            X.split(size, 1), C.split(size, 1), labels.split(size), strict=True
        ):
            Z = self.forward(x.expand(len(self.parameters), *x.shape))[0]
            loss = -(c * Z.log_softmax(dim=1)).sum(dim=(1, 2))
            parts.append(torch.stack([loss, (Z.argmax(dim=1) == label).sum(dim=1)]))
        return torch.stack(parts).sum(dim=0) / X.shape[1]

    def flat(self):
        """Return the parameters (R, P)."""
        return self.parameters.numpy()


class Vmap(ByHand):
    """R replicas by vmap of grad of the loss of one."""

    def __init__(self, layers, parameters, data):
        """Start from `parameters`."""
        super().__init__(layers, parameters, data)

        def loss(flat, X, C):
            scores = self.scores(Network(layers).split(flat), X)
            return -(C * scores.log_softmax(dim=0)).sum() / X.shape[1]

        self.all_gradients = vmap(grad(loss))

    def scores(self, blocks, x):
        """Return the scores of one network, (classes, m)."""
        for layer, (W, b, *rest) in zip(self.layers, blocks, strict=True):
            z = W @ x + b
            if isinstance(layer, ResNetLayer):
                x = torch.tanh(x + rest[0] @ torch.tanh(z) + rest[1])
            else:
                x = z if isinstance(layer, OutputLayer) else torch.tanh(z)
        return x

    def step(self, X, C):
        """Train on one minibatch X (R, features, m)."""
        with torch.enable_grad():
            gradient = self.all_gradients(self.parameters, X, C)
        self.parameters.sub_(gradient, alpha=RATE)
