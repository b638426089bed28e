"""Neural networks from scratch: the mechanism that the notebooks import.

Every array is `(..., features, samples)`: samples are COLUMNS, and any leading axes
are replicas, so that the same lines train one network or a stack of seeds. `X` holds
samples, `C` their one-hot classes, `m` is the number of samples.

Read the modules in the order of the lessons: `files`, `datasets`, `synthetic`,
`losses`, `layers`, `network`, `sgd`, `checks`, `mistakes`, `statistics`,
`experiments`, `search`, `results`, `figures`; each imports only from those before it.
`report` turns the executed notebooks into one PDF.
"""

__version__ = "1.0"
