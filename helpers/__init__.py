"""Neural networks from scratch: the mechanism that the notebooks import.

Every array is `(..., features, samples)`: samples are COLUMNS, and any leading axes
are replicas, so that the same lines train one network or a stack of seeds. `X` holds
samples, `C` their one-hot classes, `m` is the number of samples.

Read the modules in the order of the lessons: `datasets`, `losses`, `layers`, `network`,
`progress`, `sgd`, `thresholds`, `checks`, `mistakes`, `parallel`, `experiments`,
`search`; each imports only from those before it, and from the rooms `data` and
`engine`.
"""

__version__ = "1.0"
