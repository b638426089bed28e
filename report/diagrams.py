"""Diagrams: what goes forward through layers, and what comes back."""

from report.figures import COLOURS, panels, picture

BOX = {"boxstyle": "round,pad=0.45", "facecolor": "0.95", "edgecolor": "0.3"}
FORWARD, BACKWARD = COLOURS[1], COLOURS[2]


@picture
def layer():
    """Draw a layer: changes go forward (blue, above), gradients back (red, below)."""
    fig, ax = canvas(3, height=1.5)
    write_box(ax, 1, 0, r"$Y = f(X; \theta)$")
    draw_arrow(ax, 0, 1, 0.22, r"$\dot X$", FORWARD)
    draw_arrow(ax, 1, 2, 0.22, r"$\dot Y = J\,(\dot X, \dot\theta)$", FORWARD)
    draw_arrow(ax, 2, 1, -0.22, r"$\bar Y$", BACKWARD)
    draw_arrow(ax, 1, 0, -0.22, r"$\bar X$", BACKWARD)
    draw_upright(ax, 1, 0.8, 0.35, r"$\dot\theta$", FORWARD)
    draw_upright(ax, 1, -0.35, -0.8, r"$\bar\theta$", BACKWARD)
    return fig, None


@picture
def network(layers=("layer 1", "layer 2", "softmax layer")):
    """Draw a network: values go forward (blue, above), gradients back (red, below)."""
    places = ["", *layers, "loss"]
    fig, ax = canvas(len(places), height=1.05)
    ax.set_ylim(-1.1, 0.7)
    for place, text in enumerate(places):
        if text:
            write_box(ax, place, 0, text)
    for place in range(len(places) - 1):
        last = place == len(layers)
        value = "Z" if last else f"X^{{({place + 1})}}"
        name = f"${value}$", rf"$\bar {value}$"
        draw_arrow(ax, place, place + 1, 0.22, name[0], FORWARD)
        draw_arrow(ax, place + 1, place, -0.22, name[1], BACKWARD)
    for place in range(1, len(layers) + 1):
        draw_upright(ax, place, -0.35, -0.8, rf"$\bar\theta_{place}$", BACKWARD)
    return fig, None


@picture
def residual_layer():
    """Draw a residual layer: the branch through both weights, the skip above it."""
    places = ["", r"$W_1 x + b_1$", r"$\sigma$", r"$W_2 h + b_2$", "+", r"$\tau$", ""]
    fig, ax = canvas(len(places), height=0.85)
    ax.set_ylim(-0.4, 1.1)
    for place, text in enumerate(places):
        if text:
            write_box(ax, place, 0, text)
    for place, name in enumerate(("x", "z", "h", "", "s", "y")):
        draw_arrow(ax, place, place + 1, 0, f"${name}$" if name else "", FORWARD)
    start, plus, high = 0.4, places.index("+"), 0.75
    ax.plot([start, start, plus], [0, high, high], color=FORWARD, linestyle="-")
    look = {"arrowstyle": "->", "color": FORWARD, "shrinkA": 0}
    ax.annotate("", (plus, 0.3), (plus, high), arrowprops=look)
    ax.text((start + plus) / 2, high + 0.08, "skip", color=FORWARD, ha="center")
    return fig, None


def canvas(places, height):
    """Return a figure of text width and its one empty axes, a unit for each place."""
    fig, ((ax,),) = panels(1, 1, height=height)
    ax.set(xlim=(-0.3, places - 0.5), ylim=(-1.15, 1.15))
    ax.axis("off")
    return fig, ax


def write_box(ax, x, y, text):
    """Write text in a box."""
    ax.text(x, y, text, bbox=BOX, ha="center", va="center", zorder=3)


def draw_arrow(ax, start, end, y, text, colour):
    """Draw an arrow between two places, its text above it or, if y < 0, below."""
    gap = 0.36 if end > start else -0.36
    look = {"arrowstyle": "->", "color": colour}
    ax.annotate("", (end - gap, y), (start + gap, y), arrowprops=look)
    side = 1 if y >= 0 else -1
    look = {"color": colour, "ha": "center", "va": "bottom" if y >= 0 else "top"}
    ax.text((start + end) / 2, y + 0.08 * side, text, **look)


def draw_upright(ax, x, start, end, text, colour):
    """Draw an arrow down between two heights, its text at the end away from zero."""
    look = {"arrowstyle": "->", "color": colour}
    ax.annotate("", (x, end), (x, start), arrowprops=look)
    away = max(start, end, key=abs)
    ax.text(x, 1.19 * away, text, color=colour, ha="center", va="center")
