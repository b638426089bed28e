"""What can be turned in the playground: one widget for each setting of a training."""

import ipywidgets as w

from helpers import datasets
from playground.training import ACTIVATIONS, OWN, SETTINGS, WRONG

LOOK = {"width": "230px", "height": "25px", "margin": "0 2px"}
RATES = [digit * 10.0**k for k in range(-3, 1) for digit in (1, 2, 5)]


def steps(*values, **look):
    """Return a slider over these values, each written as short as it goes."""
    return w.SelectionSlider(options=[(f"{v:g}", v) for v in values], **look)


GROUPS = {
    "data": {
        "dataset": w.Dropdown(options=[*datasets.load_all(), OWN]),
        "share": w.IntSlider(min=1, max=100, description="share / %"),
        "noise": steps(0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
        "seed": w.BoundedIntText(max=10**6),
        "points": w.Text(continuous_update=False),
    },
    "network": {
        "layers": w.IntSlider(max=6, description="hidden"),
        "width": w.IntSlider(min=1, max=20),
        "kind": w.Dropdown(options=["plain", "residual"]),
        "activation": w.Dropdown(options=[*ACTIVATIONS]),
        "mistake": w.Dropdown(options=[*WRONG]),
    },
    "training": {
        "rate": steps(*RATES, 10.0),
        "momentum": steps(0.0, 0.5, 0.8, 0.9, 0.95, 0.99),
        "decay": steps(0.0, 1e-5, 1e-4, 0.001, 0.01, 0.1, description="decay L2"),
        "batch": steps(2, 4, 16, 64, 256, 1024),
    },
}
KNOBS = {name: one for group in GROUPS.values() for name, one in group.items()}
LIVE = tuple(GROUPS["training"])  # these may change while it trains
for name, knob in KNOBS.items():
    knob.description = knob.description or name
    knob.layout, knob.style.description_width = w.Layout(**LOOK), "82px"


def column():
    """Return all knobs, in groups, one under the other."""
    found = []
    for title, group in GROUPS.items():
        found += [w.HTML(f"<b>{title}</b>", layout=w.Layout(**LOOK)), *group.values()]
    return w.VBox(found, layout={"overflow": "visible"})


def connect(configure, reset):
    """Call configure(name=value) when a live knob is turned, and reset() for others."""
    for name, knob in KNOBS.items():
        if name in LIVE:
            knob.observe(lambda _, n=name, k=knob: configure(**{n: k.value}), "value")
        else:
            knob.observe(lambda _: reset(), "value")


def read():
    """Return the settings; raises ValueError for points that are none."""
    found = {name: knob.value for name, knob in KNOBS.items()}
    return found | {"points": points_of(found["points"])}


def put(settings):
    """Set the knobs."""
    texts = [f"{x:g} {y:g} {c}" for x, y, c in settings["points"]]
    for name, value in (SETTINGS | settings | {"points": "; ".join(texts)}).items():
        KNOBS[name].value = value


def points_of(text):
    """Return the points of "x y class; …"; raises ValueError naming what is none."""
    found = []
    for part in filter(str.strip, text.split(";")):
        try:
            x, y, label = map(float, part.split())
        except ValueError:
            raise ValueError(f"{part.strip()!r} is no point such as 0.5 1 2.") from None
        found.append((x, y, int(label)))
    return tuple(found)
