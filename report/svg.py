"""SVG pictures that are small, and the same on any processor."""

import base64
import io
import re

from PIL import Image

# A tenth of a point is finer than the eye; more digits only fill the disk.
COORDINATES = re.compile(r'\b(?:d|x|y)="[^"]*"')
DECIMAL = re.compile(r"-?\d+\.\d+")
BLANKS = re.compile(r"\s*([MLCQz])\s*")
PNG = re.compile(r"(?<=base64,)[^\"]*")
ID = re.compile(r"\b[mp][0-9a-f]{10}\b")  # Matplotlib's, made of all digits of a place


def compress(svg, name):
    """Return an SVG that looks the same, with ids that begin with `name`."""
    return shrink(number_ids(svg, name))


def number_ids(svg, name):
    """Return an SVG whose ids count from 1, the same on any processor."""
    number = {found: n for n, found in enumerate(dict.fromkeys(ID.findall(svg)), 1)}
    return ID.sub(lambda m: f"{name}-{number[m[0]]}", svg)


def shrink(svg):
    """Return an SVG that looks the same with fewer digits, blanks and colours."""
    svg = COORDINATES.sub(lambda m: BLANKS.sub(r"\1", round_to_tenths(m[0])), svg)
    return PNG.sub(lambda m: few_colours(m[0]), svg)


def round_to_tenths(text):
    """Return text with fewer digits in its decimal fractions."""
    return DECIMAL.sub(lambda m: f"{round(float(m[0]), 1):g}", text)


def few_colours(png, colours=64):
    """Return a picture, PNG in base64, with a palette of its own."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    picture.quantize(colours).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
