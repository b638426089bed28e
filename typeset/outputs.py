"""Outputs of cells as they can be printed: each in its one best form.

What cannot be printed is replaced by a sentence that says what was left out, on the
page and on the terminal; nothing vanishes without one, except progress bars.
"""

import json
import re
import sys
from bisect import bisect
from itertools import accumulate

from nbconvert.filters import strip_ansi

from typeset.markdown import protect

PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
TEXTS = ("text/markdown", "text/html", "text/latex", "text/plain")
HANDED = ("label", "verdict", "answer", "provenance", "listing")
ACTIVE = re.compile(
    r"<(script|iframe|canvas|video|audio|svg|object|embed|form)\b", re.I
)
BAR = re.compile(r"^[^\n|]*(?<=\d%)\|[^|\n]*\|.*$\n?|^\d+it \[[^\]\n]*\].*$\n?", re.M)
LINK = re.compile(r"\x1b\][^\n\x07\x1b]*(?:\x07|\x1b\\)")  # of a terminal, or title
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LONGEST = 200  # lines of an output; what is beyond them no reader of a page needs
WIDTH = 88  # characters of a line
ELEMENTS = 20_000  # of HTML, cells of tables as often as they span columns
ROW = re.compile(r"</tr\s*>", re.I)
SPAN = re.compile(r"((?:col|row)span\s*=\s*[\"']?)(\d+)", re.I)
NESTED = re.compile(
    r"<(/?)(?:div|span|b|i|em|strong|sub|sup|ul|ol|table|blockquote)\b", re.I
)
DEEPEST = 100  # of elements within one another
WIDEST = 1000  # columns that a cell may span, as in every browser


def printable(outputs, cell, save):
    """Return the outputs of a cell (named "x.ipynb, cell 3") as they can be printed.

    `save` takes the bytes of a picture and returns the name of its file.
    """
    return [out for one in outputs if (out := reduce(one, cell, save))]


def reduce(output, cell, save):
    """Reduce an output to its best form; None if it is but a progress bar."""
    if output.output_type == "stream":
        output.text = shorten(BAR.sub("", terminal(output.text)))
        if output.name == "stderr" and output.text.strip():
            print(f"{cell} wrote to stderr: {output.text.strip()}", file=sys.stderr)
        return output if output.text.strip() else None
    if output.output_type == "error":
        output.traceback = [terminal(line) for line in output.traceback]
        return output
    output.data = best(output.data, output.metadata, cell, save)
    return output if output.data else None


def best(data, metadata, cell, save):
    """Choose from a MIME bundle: a picture's file, else Markdown, ..., plain text.

    What the output's metadata hands to the report, the keys HANDED, goes ahead of it
    as a fenced block of JSON.
    """
    blocks = [
        f"~~~ {key}\n{json.dumps(shielded(metadata[key]))}\n~~~\n\n"
        for key in HANDED
        if key in metadata
    ]
    for kind in PICTURES:
        if kind in data:
            alt = " ".join(str(metadata.get("alt", "picture")).split())
            alt = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", alt)
            file = save(data[kind])
            return {"text/markdown": f"{''.join(blocks)}![{alt}](<{file}>)"}
    plain = data.get("text/plain", "")
    kind = next((kind for kind in TEXTS if kind in data), None)
    if kind in {"text/plain", None} and "application/json" in data:
        written = json.dumps(data["application/json"], indent=2, ensure_ascii=False)
        data, kind = {"text/plain": written}, "text/plain"
    foreign = [k for k in data if not k.startswith("text/")]
    if foreign and BAR.search(f"{plain}\n"):
        return {}
    if kind == "text/html" and ACTIVE.search(data[kind]):
        foreign.append("text/html with scripts or drawings")
    if kind == "text/html":
        data = {**data, kind: shorten_table(data[kind])}
        if (size := elements(data[kind])) > ELEMENTS:
            foreign.append(f"text/html with {size} elements")
        if (depth := nesting(data[kind])) > DEEPEST:
            foreign.append(f"text/html with {depth} elements within one another")
    if kind is None or (foreign and kind in {"text/plain", "text/html"}):
        return left_out((foreign or list(data))[0], cell)
    return readable(kind, terminal(data[kind]), "".join(blocks))


def readable(kind, text, ahead):
    """Return a text as report.lua reads it, behind what is handed over."""
    if kind == "text/html":
        return {kind: text}
    if kind == "text/plain":
        return {kind: ahead + shorten(text)}
    text = shorten(text, 10 * WIDTH)  # paragraphs are long lines
    return {"text/markdown": ahead + protect(text)}  # also LaTeX: text with $


def shielded(handed):
    """Return metadata whose texts have their formulas protected."""
    if isinstance(handed, dict):
        return {key: shielded(one) for key, one in handed.items()}
    return protect(handed) if isinstance(handed, str) else handed


def left_out(kind, cell):
    """Say what cannot be printed, on the terminal and, as Markdown, on the page."""
    said = f"an output of type {kind} cannot be printed and is left out"
    print(f"{cell}: {said}", file=sys.stderr)
    return {"text/markdown": f"*{said[0].upper()}{said[1:]}.*".replace("_", r"\_")}


def terminal(text):
    r"""Return text as a terminal shows it: \r and \b overwrite, colours are dropped."""
    text = strip_ansi(LINK.sub("", text)).replace("\r\n", "\n")
    return "\n".join(overwrite(line) for line in text.split("\n"))


def overwrite(line):
    r"""Return one line after its carriage returns and backspaces, controls dropped."""
    shown, at = [], 0
    for character in line:
        if character in "\r\b":
            at = 0 if character == "\r" else max(0, at - 1)
        elif not CONTROL.match(character):
            shown[at : at + 1] = [character]
            at += 1
    return "".join(shown)


def shorten(text, width=WIDTH):
    """Return at most LONGEST lines of text, as wide as that in the mean.

    What is beyond them is counted.
    """
    lines = text.split("\n")
    shown, most = "\n".join(lines[:LONGEST]), LONGEST * width
    if len(shown) > most:
        beyond = len(text) - most
        return f"{shown[:most]}\n… {beyond} more characters are left out"
    if (beyond := len(lines) - LONGEST) < 1:
        return text
    return f"{shown}\n… {beyond} more lines are left out"


def shorten_table(html):
    """Return HTML whose one table has at most LONGEST rows below its head."""
    html = SPAN.sub(lambda at: f"{at[1]}{min(int(at[2][:9]), WIDEST)}", html)
    ends, small = [row.end() for row in ROW.finditer(html)], html.lower()
    kept = LONGEST + bisect(ends, small.find("</thead"))
    if small.count("<table") != 1 or (beyond := len(ends) - kept) < 1:
        return html
    note = f"<p>… {beyond} more rows are left out</p>"
    return f"{html[: ends[kept - 1]]}{html[ends[-1] :]}{note}"


def elements(html):
    """Count the tags of HTML, cells of tables as often as they span columns."""
    spans = (int(at[2]) for at in SPAN.finditer(html) if at[1][0] in "cC")
    return html.count("<") + sum(spans)


def nesting(html):
    """Return how many elements of HTML stand within one another at most."""
    steps = (-1 if tag[1] else 1 for tag in NESTED.finditer(html))
    return max(accumulate(steps), default=0)
