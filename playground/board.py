"""The playground's picture: regions, what every unit answers to, weights, curves."""

import numpy as np
from ipycanvas import Canvas, hold_canvas
from matplotlib.colors import to_rgb

from helpers.losses import softmax
from report import figures, tables

SIZE = 515, 444
PLANE = 214, 16, 300  # left, top, side
NET = 2, 16, 208, 300  # left, top, width, height
CHARTS = 2, 350, 522, 72
RESOLUTION = 72  # points along a side of the plane
INK = "#888888"  # can be read on white and on black
SIGNS = np.array([to_rgb(figures.BRIGHT[1]), to_rgb(figures.BRIGHT[0])]) * 255
CLASSES = np.array([to_rgb(colour) for colour in figures.TEN]) * 255


class Board:
    """A canvas; `unit` is the (column, row) shown in the plane's place, or None."""

    def __init__(self):
        """Make the canvas."""
        look = {"width": f"{SIZE[0]}px", "height": f"{SIZE[1]}px", "flex": "0 0 auto"}
        self.canvas = Canvas(width=SIZE[0], height=SIZE[1], layout=look)
        self.unit, self.data, self.frames = None, None, 0

    def draw(self, training, failed=()):
        """Draw a training; `failed` are the names of blocks that fail a check."""
        data = training.data
        if data is not self.data:
            self.side, self.X = training.plane(RESOLUTION)
            some = tables.evenly(data.Yt, 300)
            self.dots = self.pixels(tables.project(data, data.Yt[:, some]))
            self.labels = data.Ct[:, some].argmax(axis=0) % len(CLASSES)
            self.data = data
        with np.errstate(over="ignore", invalid="ignore"):  # of a diverged network
            answers = [*map(np.nan_to_num, respond(training.network, self.X))]
        self.places = places([len(one) for one in answers])
        if self.unit and self.unit not in self.places:
            self.unit = None
        with hold_canvas(), np.errstate(over="ignore", invalid="ignore"):
            self.canvas.clear()
            self.canvas.font = "11px sans-serif"
            self.draw_weights(training.network)
            self.draw_units(answers)
            self.draw_plane(answers)
            self.mark(failed)
            self.draw_charts(training)
        self.frames += 1

    def draw_plane(self, answers):
        """Draw the regions, or the answers of one unit, and the training samples."""
        x, y, side = PLANE
        if self.unit:
            image = shade(answers[self.unit[0]][self.unit[1]], answers[self.unit[0]])
            self.say(f"unit {self.unit[1] + 1} of column {self.unit[0]}", x, y - 4)
        else:
            p = answers[-1]
            sure = (p.max(axis=0) - 1 / len(p)) / (1 - 1 / len(p))
            colours = CLASSES[p.argmax(axis=0) % len(CLASSES)]
            image = np.concatenate([colours, 40 + 130 * sure[:, None]], axis=-1)
            self.say("decision regions", x, y - 4)
        image = image.reshape(RESOLUTION, RESOLUTION, 4)[::-1]
        self.put(image, x, y, side / RESOLUTION)
        size = 2.2 if len(self.labels) > 100 else 4
        self.canvas.fill_styled_circles(*self.dots, size, CLASSES[self.labels])

    def draw_units(self, answers):
        """Draw each unit as a small picture of what it answers to over the plane."""
        left, top, width, height = NET
        image = np.zeros((height + 1, width + 1, 4))
        for (column, row), (x, y, side) in self.places.items():
            some = np.linspace(0, RESOLUTION - 1, side).astype(int)
            answer = answers[column][row].reshape(RESOLUTION, RESOLUTION)[::-1]
            tile = shade(answer[np.ix_(some, some)], answers[column])
            image[y - top : y - top + side, x - left : x - left + side] = tile
        self.put(image, left, top)
        self.say("units: input to output", left, top - 4)

    def draw_weights(self, network):
        """Draw the weights between units: colour by sign, thickness by size."""
        for column, blocks in enumerate(network.split(network.parameters)):
            W = blocks[0] if len(blocks) == 2 else blocks[2] @ blocks[0]
            W = np.nan_to_num(W)
            ends = [
                (self.middle(column, j, 1), self.middle(column + 1, i, 0))
                for i, j in np.ndindex(*W.shape)
            ]
            size = (abs(W) / (abs(W).max() or 1)).ravel()
            colours = SIGNS[(W > 0).astype(int)].reshape(-1, 3)
            for low, high, width in ((0.1, 0.3, 0.5), (0.3, 0.6, 1), (0.6, 1.1, 2)):
                some = np.flatnonzero((size >= low) & (size < high))
                self.canvas.line_width, lines = width, np.array(ends)[some]
                if some.size:
                    self.canvas.stroke_styled_line_segments(lines, colours[some], 0.8)

    def middle(self, column, row, side):
        """Return the point at the left (0) or right (1) of a unit's picture."""
        x, y, size = self.places[column, row]
        return x + side * size, y + size / 2

    def mark(self, failed):
        """Frame the layers in which a block fails, and name the blocks."""
        self.canvas.stroke_style = self.canvas.fill_style = figures.OTHERS[0]
        self.canvas.line_width = 2
        for number in sorted(
            {int(name.split()[-1]) for name in failed if "layer" in name}
        ):
            spots = [spot for (c, _), spot in self.places.items() if c == number]
            x, y, size = spots[0]
            height = spots[-1][1] + size - y
            self.canvas.stroke_rect(x - 3, y - 3, size + 6, height + 6)
            names = [name.split()[0] for name in failed if name.endswith(f" {number}")]
            self.canvas.fill_text(", ".join(names), x - 3, y + height + 16)

    def draw_charts(self, training):
        """Draw loss, accuracy and the gradient of each layer."""
        x, y, width, height = CHARTS
        boxes = [(x + 34 + n * width / 3, y, width / 3 - 50, height) for n in range(3)]
        ceiling = training.data.ceiling and 100 * training.data.ceiling
        self.chart(boxes[0], "loss", np.log10(values(training, "loss")), 10, None)
        self.chart(boxes[1], "accuracy", 100 * values(training, "accuracy"), 0, ceiling)
        self.bars(boxes[2], norms(training))

    def chart(self, box, title, lines, base, best):
        """Draw both lines (2, epochs + 1); `base` is that of logarithms, or 0."""
        x, y, width, height = box
        finite = lines[np.isfinite(lines)]
        low, high = finite.min(), max(finite.max(), best or -np.inf)
        at = np.linspace(x, x + width, lines.shape[1])
        up = y + height * (high - lines) / max(high - low, 1e-3)
        some = slice(None, None, -(-lines.shape[1] // 300))
        self.axes(box, f"{lines.shape[1] - 1} epochs" if not base else "")
        for number, colour in enumerate(figures.BRIGHT[:2]):
            points = np.stack([at, up[number]], axis=1)[np.isfinite(up[number])][some]
            self.canvas.stroke_style, self.canvas.line_width = colour, 1.5
            if len(points) > 1:
                self.canvas.stroke_lines(points)
        if best:
            place = y + height * (high - best) / max(high - low, 1e-3)
            self.say(f"best possible {best:.1f}", x + width, y + height - 5, "right")
            self.canvas.set_line_dash([2, 3])
            self.canvas.stroke_line(x, place, x + width, place)
            self.canvas.set_line_dash([])
        now, low, high = (base**one if base else one for one in (lines, low, high))
        self.say(f"{high:.3g}", x - 4, y + 8, "right")
        self.say(f"{low:.3g}", x - 4, y + height, "right")
        self.say(title, x - 34, y - 6)
        for number, colour in enumerate(figures.BRIGHT[:2]):
            self.say(
                f"{now[number, -1]:.3g}", x + 34 + 44 * number, y - 6, colour=colour
            )
            if base:
                name = ("training", "validation")[number]
                self.say(name, x + 48 * number, y + height + 13, colour=colour)

    def bars(self, box, sizes):
        """Draw the norm of the gradient in each layer."""
        x, y, width, height = box
        self.axes(box, "")
        self.say("gradient of each layer", x - 34, y - 6)
        step, top = width / len(sizes), max(sizes) or 1
        self.say(f"{top:.2g}", x - 4, y + 8, "right")
        self.say("0", x - 4, y + height, "right")
        for number, size in enumerate(sizes):
            left, tall = x + (number + 0.2) * step, height * size / top
            self.say(f"{number + 1}", left + 0.3 * step, y + height + 13, "center")
            self.canvas.fill_style = figures.BRIGHT[2]
            if np.isfinite(tall):
                self.canvas.fill_rect(left, y + height - tall, 0.6 * step, tall)

    def axes(self, box, label):
        """Draw the left and the lower side of a box, and a label below."""
        x, y, width, height = box
        self.canvas.stroke_style, self.canvas.line_width = INK, 1
        self.canvas.stroke_lines([(x, y), (x, y + height), (x + width, y + height)])
        self.say(label, x + width, y + height + 13, "right")

    def say(self, text, x, y, align="left", colour=INK):
        """Write a text."""
        self.canvas.fill_style, self.canvas.text_align = colour, align
        self.canvas.fill_text(text, x, y)

    def put(self, image, x, y, scale=1):
        """Put an RGBA picture, values 0 to 255, into the canvas."""
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.scale(scale)
        self.canvas.put_image_data(image.astype(np.uint8))
        self.canvas.restore()

    def pixels(self, points):
        """Return where points (2, m) of the plane lie on the canvas."""
        x, y, side = PLANE
        part = (points - self.side[0]) / (self.side[-1] - self.side[0])
        return x + side * part[0], y + side * (1 - part[1])

    def point(self, x, y):
        """Return the point of the plane at a place of the canvas, None outside."""
        left, top, side = PLANE
        part = np.array([x - left, top + side - y]) / side
        inside = (part >= 0).all() and (part <= 1).all()
        return self.side[0] + (self.side[-1] - self.side[0]) * part if inside else None

    def unit_at(self, x, y):
        """Return the (column, row) of the unit at a place of the canvas, or None."""
        for key, (left, top, size) in self.places.items():
            if left <= x <= left + size and top <= y <= top + size:
                return key
        return None


def values(training, name):
    """Return training and validation loss or accuracy, (2, epochs + 1)."""
    parts = [f"{part}_{name}" for part in ("train", "validation")]
    return np.array([[row[part] for row in training.history] for part in parts], float)


def respond(network, X):
    """Return what the inputs, each layer and the classes answer, (units, points)."""
    found = [X]
    blocks = network.split(network.parameters)
    for layer, some in zip(network.layers, blocks, strict=True):
        found.append(layer.forward(found[-1], *some)[0])
    return [*found[:-1], softmax(found[-1])]


def places(counts):
    """Return {(column, row): (left, top, side)} of the pictures of units."""
    left, top, width, height = NET
    found, gap = {}, width / len(counts)
    for column, count in enumerate(counts):
        size = int(min(32, 0.62 * gap, height / count - 2))
        for row in range(count):
            y = top + height * (row + 0.5) / count - size / 2
            found[column, row] = int(left + gap * column), int(y), max(size, 2)
    return found


def shade(answer, layer):
    """Return answers as RGBA: colour by sign, density by size within the layer."""
    size = np.clip(np.abs(answer) / (np.abs(layer).max() or 1), 0, 1)
    return np.concatenate([SIGNS[(answer > 0) * 1], 235 * size[..., None]], axis=-1)


def norms(training, most=1000):
    """Return the norm of the gradient in each layer over at most so many samples."""
    data = training.data
    gradient = training.network.gradient(data.Yt[:, :most], data.Ct[:, :most])
    parts = training.network.split(gradient)
    return [float(np.sqrt(sum((g**2).sum() for g in some))) for some in parts]
