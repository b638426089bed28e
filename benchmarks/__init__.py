"""How fast training is, beside its peers: `make bench` runs `python -m benchmarks`.

A competitor is a class `Competitor(layers, parameters, data)`: it starts R replicas of
a network from the rows of `parameters` (R, P), and its `epoch(rngs)` trains each on all
samples once, in minibatches of BATCH in the order that its generator draws
(scikit-learn draws its own), then returns loss and accuracy on the training and the
validation samples. `flat()` returns its parameters (R, P). The modules, one per kind:
`plain`, `ours`, `scikit`, `pytorch`, `jaxed`, `limit`; the middle three need packages
that `make peers` installs, the last a C++ compiler. All of them run on one core.
"""

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
os.environ |= dict.fromkeys(THREADS, "1") | {  # before NumPy comes
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
}

BATCH = 64
RATE = 0.1


def scores(tanh, blocks, x):
    """Return the scores (classes, m) of one network: for peers that differentiate them.

    `blocks` has W and b of every layer, and W2 and b2 of a residual one.
    """
    for W, b, *rest in blocks[:-1]:
        h = tanh(W @ x + b)
        x = tanh(x + rest[0] @ h + rest[1]) if rest else h
    W, b = blocks[-1]
    return W @ x + b
