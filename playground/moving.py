"""`python -m playground.moving` makes figures/learning.gif: a network while it learns.

Every frame is what `Live` shows of a real training, one epoch after the other.
"""

import io

import numpy as np
from PIL import Image

from helpers import datasets, sgd
from helpers.architectures import ARCHITECTURES
from helpers.network import Network
from playground.live import Live
from report import files

DATASET, NETWORK, EPOCHS = "SwissRoll", "2 hidden + 1 ResNet", 60
COLOURS, PAUSE = 48, 120  # milliseconds from frame to frame


def frames():
    """Train, and return a picture for every epoch."""
    data, shown = datasets.load(DATASET), []
    layers = ARCHITECTURES[NETWORK](data.features, data.classes)
    rng = np.random.default_rng(0)
    view = Live(data, shown.append, share=np.inf, pause=0)
    network, how = Network(layers, rng), sgd.SGD(0.02, momentum=0.9)
    sgd.train(network, data, how, rng=rng, epochs=EPOCHS, progress=False, watch=view)
    return [Image.open(io.BytesIO(png)).quantize(COLOURS) for png in shown]


def main():
    """Write the pictures as one that moves."""
    first, *rest = frames()
    buffer = io.BytesIO()
    look = {"duration": PAUSE, "loop": 0, "optimize": True}
    first.save(buffer, "gif", save_all=True, append_images=rest, **look)
    files.write(files.ROOT / "figures" / "learning.gif", buffer.getvalue())


if __name__ == "__main__":
    main()
