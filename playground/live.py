"""A training to look at: `sgd.train(network, data, SGD(0.1), rng=0, watch=Live(data))`.

Loss and accuracy grow as curves, and for two features the decision regions change while
the network learns. A frame is drawn only when the time since the last one allows it, so
that drawing takes a small share of the training's time.
"""

import io
from time import perf_counter

import numpy as np
from IPython.display import Image, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Pixels

from report import figures

SHARE = 0.15  # of the time may go into drawing
PAUSE = 0.12  # seconds from one frame to the next at least
RESOLUTION = 60  # points along a side of the plane
CURVES = ("train_loss", "train_accuracy", "validation_accuracy")


class Live:
    """Called after every epoch with (epoch, epochs, last record, network).

    `row` is what `sgd.evaluation` returns. Of a stack the curves show the mean over the
    replicas that are finite, the regions the first of them. `frames` counts the
    pictures and `spent` the seconds they took; `show(png)` puts one on the screen, by
    default into the cell's output.
    """

    def __init__(self, data, show=None, share=SHARE, pause=PAUSE, points=300):
        """Prepare a view of a training; share=inf and pause=0 show every epoch."""
        self.data, self.show, self.points = data, show or InCell(), points
        self.share, self.pause = share, pause
        self.plane = data.features == 2
        self.frames, self.spent, self.cost = 0, 0.0, 0.0
        self.last, self.canvas = -np.inf, None
        self.history = {name: [] for name in ("epoch", *CURVES)}
        if self.plane:
            self.side, self.X = figures.square(data, RESOLUTION, data.Yt.dtype)

    def __call__(self, epoch, epochs, row, network):
        """Note an epoch, and draw it if it is time, or the last one."""
        self.history["epoch"].append(epoch)
        for name in CURVES:
            good = np.asarray(row[name])[np.isfinite(row[name])]
            self.history[name].append(good.mean() if good.size else np.nan)
        start = perf_counter()
        wait = max(self.pause, self.cost / self.share)  # of the last frame
        if start - self.last >= wait or epoch == epochs:
            self.draw(epochs, row, network)
            self.last = perf_counter()
            self.cost = self.last - start
            self.spent += self.cost
            self.frames += 1

    @figures.style()
    def draw(self, epochs, row, network):
        """Draw one frame and show it."""
        if self.canvas is None:
            self.prepare(epochs)
        for line, name in zip(self.lines, CURVES, strict=True):
            scale = 1 if name.endswith("loss") else 100
            line.set_data(self.history["epoch"], scale * np.array(self.history[name]))
        if self.plane:
            finite = np.flatnonzero(np.isfinite(np.atleast_1d(row["train_loss"])))
            scores = network.scores(self.X)
            scores = scores if scores.ndim == 2 else scores[finite[:1]].sum(axis=0)
            n = len(self.side)
            self.image.set_data(scores.argmax(axis=0).reshape(n, n))
        if self.limits():
            self.canvas.draw()
            self.canvas.figure.set_layout_engine("none")  # the places stay
            self.still = self.canvas.copy_from_bbox(self.canvas.figure.bbox)
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        self.show(encode(self.canvas))

    def prepare(self, epochs):
        """Draw what stays: axes, labels and points."""
        fig = Figure(figsize=(9, 2.6), dpi=80)
        self.canvas = FigureCanvasAgg(fig)
        axes = fig.subplots(1, 3 if self.plane else 2)
        self.lines = [
            axes[0].plot([], [], animated=True, label="training")[0],
            axes[1].plot([], [], animated=True, label="training")[0],
            axes[1].plot([], [], animated=True, label="validation")[0],
        ]
        self.lines[0].set_color(self.lines[1].get_color())
        axes[0].set(xlabel="epoch", title="loss", yscale="log", xlim=(0, epochs))
        axes[1].set(xlabel="epoch", title="accuracy / %", xlim=(0, epochs))
        figures.draw_ceiling(axes[1], self.data.ceiling)
        axes[1].legend(loc="lower right")
        self.moving, self.span = list(self.lines), None
        if self.plane:
            look = figures.PIXELS | {"extent": self.side[[0, -1, 0, -1]]}
            empty = np.zeros((len(self.side),) * 2)
            self.image = axes[2].imshow(empty, animated=True, **look)
            figures.draw_samples(axes[2], self.data, self.points)
            dots = axes[2].collections[-1]
            dots.set(animated=True, rasterized=False)
            axes[2].set(title="decision regions", xticks=[], yticks=[])
            self.moving += [self.image, dots]

    def limits(self):
        """Widen the axes to hold the curves; return whether anything changed."""
        losses = np.array(self.history[CURVES[0]])
        if not np.isfinite(losses).any():
            first, self.span = self.span is None, self.span or ()
            return first
        quarters = np.floor(4 * np.log10(np.nanmin(losses))) / 4  # of a decade
        least = np.nanmin([self.history[name] for name in CURVES[1:]])
        span = 10**quarters, np.nanmax(losses), 10 * np.floor(10 * least)
        if span == self.span:
            return False
        self.span = span
        self.lines[0].axes.set_ylim(span[0], 1.1 * span[1])
        self.lines[1].axes.set_ylim(span[2], 100)
        return True


class InCell:
    """Shows pictures in one place of a cell's output, each in place of the last."""

    def __init__(self):
        """Wait for the first picture."""
        self.handle = None

    def __call__(self, png):
        """Show a PNG."""
        picture = Image(data=png, alt="loss, accuracy and decision regions")
        if self.handle:
            self.handle.update(picture)
        else:
            self.handle = display(picture, display_id=True)


def encode(canvas):
    """Return what a canvas shows as a PNG, packed quickly rather than small."""
    buffer = io.BytesIO()
    pixels = Pixels.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.save(buffer, "png", compress_level=1)
    return buffer.getvalue()
