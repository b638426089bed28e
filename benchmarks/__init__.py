"""How fast training is, beside its peers: `make bench` runs `python -m benchmarks`.

A competitor is a class `Competitor(layers, parameters, data)`: it starts R replicas of
a network from the rows of `parameters` (R, P), and its `epoch(rngs)` trains each on all
samples once, in minibatches of BATCH in the order that its generator draws
(scikit-learn draws its own), then returns loss and accuracy on the training and the
validation samples. `flat()` returns its parameters (R, P). The modules, one per kind:
`plain`, `ours`, `scikit`, `pytorch`, `jaxed`, `limit`; the middle three need packages
that `make peers` installs, the last a C++ compiler.
"""

BATCH = 64
RATE = 0.1
