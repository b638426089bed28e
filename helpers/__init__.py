"""Neural networks from scratch: the mechanism that the notebooks import.

Every array is `(..., features, samples)`: samples are COLUMNS, and any leading axes
are replicas, so that the same lines train one network or a stack of seeds. `X` holds
samples, `C` their one-hot classes, `m` is the number of samples.

Read the modules in the order of the lessons: `datasets`, `losses`, `layers`, `network`,
`sgd`, `thresholds`, `checks`, `mistakes`, `architectures`, `experiments`. Each imports
from those before it, from the rooms `data` and `engine`, and from `backstage`, which
they lean on: what must be, said in sentences, and what makes it fast.
"""

__version__ = "1.0"
