r"""Markdown as JupyterLab reads it: mathematics first, then everything else.

JupyterLab takes formulas out of the text before its Markdown parser (marked) sees it,
and MathJax sets them afterwards. `protect` does the same with the same rules: a formula
begins at $, $$, \\( , \\[ or \begin{...} outside code, and ends at its partner with
balanced braces, within one paragraph. What is left is GitHub's Markdown.
"""

import re
from collections import Counter

CODE = re.compile(
    r"^(`{3,}|~{3,})[^`\n]*\n(?s:.*?)(?:^\1`*$|\Z)|(?<![\\`])(`+)(?!`)[^\n]*?[^`\n]\2(?!`)",
    re.MULTILINE,
)
TOKEN = re.compile(
    r"(\$\$?|\\(?:begin|end)\{[a-zA-Z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|\\\\[()\[\]]"
    r"|\\(?:eq)?ref\{[^{}]*\})"
)
ROW = r"[^\n|]*\|[^\n]*\n"
LINE = "[ ]*+:?-++:?[ ]*+"
RULE = rf"(?=[^\n|]*\|) {{0,3}}\|?{LINE}(?:\|{LINE})*+\|?[ ]*+(?:\n|$)"
TABLE = re.compile(rf"(?<=\S\n)(?={ROW}{RULE})")  # where one begins right after text
NOTE = re.compile(r"^ {0,3}(\[\^[^\]\[\s]+\]):", re.MULTILINE)  # where one begins
NOTED = re.compile(r"\[\^[^\]\[\s]+\]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
HIDE, SHOW = str.maketrans("$|[", "\0\1\2"), str.maketrans("\0\1\2", "$|[")  # code
PARTNERS = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
DISPLAYED = ("$$", r"\\[", r"\begin")


def protect(text):
    r"""Return Markdown whose formulas are spans `hex`{=math} or `hex`{=display}.

    The span holds the TeX between the delimiters in hexadecimal, so that nothing in it
    means anything to a Markdown parser. \ref and \eqref count as formulas. A table may
    follow text with no empty line between: one is put there. A footnote that its cell
    never refers to stays text.
    """
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    hidden = TABLE.sub("\n", CODE.sub(hide, text))
    lonely = Counter(NOTED.findall(hidden))
    lonely = {name for name in NOTE.findall(hidden) if lonely[name] == 1}
    hidden = NOTED.sub(lambda at: "\\" * (at[0] in lonely) + at[0], hidden)
    parts, found, start = TOKEN.split(hidden), [], 0
    last = last_of_each(parts)
    for number in range(1, len(parts), 2):
        if number < start:
            continue
        if end := closing(parts, number, last):
            found += [*parts[start:number], span(parts[number : end + 1])]
            start = end + 1
    return "".join([*found, *parts[start:]]).translate(SHOW)


def hide(code):
    """Return code in which nothing is a formula or a table, nor anything behind it."""
    raw = code.string.startswith("{=", code.end())
    return code[0].translate(HIDE) + "\\" * raw


def last_of_each(parts):
    """Return {token: its last place} for the paragraph of each token, by place."""
    found, last = [None] * len(parts), {}
    for place in range(1, len(parts), 2):
        last = {} if parts[place].count("\n") > 1 else last
        last[parts[place]] = place
        found[place] = last
    return found


def closing(parts, number, last):
    """Return the place of the token that ends the formula begun at one, or None.

    No place is looked at beyond the one that is returned, and none where there is
    no end: the time is that of one reading.
    """
    opening = parts[number]
    if opening.startswith((r"\ref", r"\eqref")):
        return number
    partner = PARTNERS.get(opening)
    if opening.startswith(r"\begin"):
        partner = opening.replace("begin", "end", 1)
    end, depth = last[number].get(partner, 0), 0
    for place in range(number + 2, end, 2):
        token = parts[place]
        if token == partner and not depth:
            return place
        if token in "{}":
            depth = max(0, depth + (1 if token == "{" else -1))
    return end if end > number else None


def span(parts):
    """Return a formula, with its delimiters as first and last part, as a span."""
    opening, tex = parts[0], "".join(parts[1:-1])
    if opening.startswith("\\") and opening not in PARTNERS:  # \begin, \ref
        tex = "".join(parts)
    kind = "display" if opening.startswith(DISPLAYED) else "math"
    return f"`{tex.translate(SHOW).encode().hex() or '20'}`{{={kind}}}"
