r"""Markdown as JupyterLab reads it: mathematics first, then everything else.

JupyterLab takes formulas out of the text before its Markdown parser (marked) sees it,
and MathJax sets them afterwards. `protect` does the same with the same rules: a formula
begins at $, $$, \\( , \\[ or \begin{...} outside code, and ends at its partner with
balanced braces, within one paragraph. What is left is GitHub's Markdown.
"""

import re

CODE = re.compile(
    r"^(`{3,}|~{3,})[^`\n]*\n.*?^\1`*$|(?<![\\`])(`+)(?!`)[^\n]*?[^`\n]\2(?!`)",
    re.DOTALL | re.MULTILINE,
)
TOKEN = re.compile(
    r"(\$\$?|\\(?:begin|end)\{[a-zA-Z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|\\\\[()\[\]]"
    r"|\\(?:eq)?ref\{[^{}]*\})"
)
ROW = r"[^\n]*\|[^\n]*\n"
RULE = r"(?=[^\n]*\|) {0,3}\|?[ ]*:?-+:?[ ]*(?:\|[ ]*:?-+:?[ ]*)*\|?[ ]*(?:\n|$)"
TABLE = re.compile(rf"(?<=\S\n)(?={ROW}{RULE})")  # where one begins right after text
NOTE = re.compile(r"^ {0,3}(\[\^[^\]\s]+\]):", re.MULTILINE)  # where a note begins
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
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    hidden = CODE.sub(lambda code: code[0].translate(HIDE), text)
    hidden = TABLE.sub("\n", hidden)
    for name in set(NOTE.findall(hidden)):
        if hidden.count(name) == 1:
            hidden = hidden.replace(name, f"\\{name}")
    parts, found, start = TOKEN.split(hidden), [], 0
    for number in range(1, len(parts), 2):
        if number < start:
            continue
        if end := closing(parts, number):
            found += [*parts[start:number], span(parts[number : end + 1])]
            start = end + 1
    return "".join([*found, *parts[start:]]).translate(SHOW)


def closing(parts, number):
    """Return the place of the token that ends the formula begun at one, or None."""
    opening = parts[number]
    if opening.startswith((r"\ref", r"\eqref")):
        return number
    partner = PARTNERS.get(opening)
    if opening.startswith(r"\begin"):
        partner = opening.replace("begin", "end", 1)
    last, depth = None, 0
    for place in range(number + 2, len(parts), 2):
        token = parts[place]
        if partner is None or token.count("\n") > 1:
            return last
        if token == partner:
            if not depth:
                return place
            last = place
        elif token in "{}":
            depth = max(0, depth + (1 if token == "{" else -1))
    return last


def span(parts):
    """Return a formula, with its delimiters as first and last part, as a span."""
    opening, tex = parts[0], "".join(parts[1:-1])
    if opening.startswith("\\") and opening not in PARTNERS:  # \begin, \ref
        tex = "".join(parts)
    kind = "display" if opening.startswith(DISPLAYED) else "math"
    return f"`{tex.translate(SHOW).encode().hex() or '20'}`{{={kind}}}"
