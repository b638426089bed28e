"""Notebooks keep to what the report can print; each rule is shown to catch a breach."""

import ast
import re
from collections import Counter
from pathlib import Path

import nbformat
import nbformat.v4 as nbf
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in PATHS}


def cells(nb, kind):
    """Yield (number counted from 1, source) of the cells of a kind."""
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == kind:
            yield number, cell


# Markdown: what pandoc would print literally or lose ----------------------------------

CODE = re.compile(r"^(```+|~~~+).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
DISPLAY = re.compile(r"\$\$.*?\$\$", re.DOTALL)
INLINE = re.compile(r"\$([^$]*)\$")


def markdown_faults(source):
    """Return what is wrong with the source of a Markdown cell."""
    text = CODE.sub("", source).replace(r"\$", "")
    prose = DISPLAY.sub("", text)
    inline = INLINE.findall(prose)
    formulas = " ".join([*DISPLAY.findall(text), *inline])
    rest = INLINE.sub("", prose)
    rules = {
        "a formula with inner spaces, $ a $": any(f != f.strip() for f in inline),
        "a formula without its second $": "$" in rest,
        r"\begin{...} outside $$": r"\begin{" in rest,
        r"\(...\) or \[...\] instead of $": re.search(r"\\[(\[]", rest),
        "raw HTML": re.search(r"<(?!https?:)[a-zA-Z/!]", rest),
        "mathematics in a heading": re.search(r"^#+ .*\$", text, re.MULTILINE),
        "a superscript upon a superscript, }}^": re.search(r"\}\s*\}\s*\^", formulas),
        r"\tag, \color or \textcolor": re.search(r"\\(tag|(text)?color)\b", formulas),
    }
    return [rule for rule, broken in rules.items() if broken]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("see $ a $", "inner spaces"),
        ("see $a$ and $b", "second $"),
        ("\\begin{align}a\\end{align}", "outside"),
        ("see \\(a\\)", "instead of"),
        ("see\n\\[a\\]", "instead of"),
        ("an <img src='x'>", "HTML"),
        ("a <!-- comment -->", "HTML"),
        ("## Loss $F$", "heading"),
        ("${a^{(l)}}^\\top$", "superscript"),
        ("$$a \\tag{1}$$", "tag"),
    ],
)
def test_markdown_trap_is_found(source, fault):
    (found,) = markdown_faults(source)
    assert fault in found


def test_sound_markdown_has_no_fault():
    prose = "## A\n\n$a<b$ costs \\$5, `$ x $`, <https://a.org>\n\n"
    formula = "$$\\begin{align}a\\end{align}$$\n\n"
    fenced = "```\n## $ a $ <b>\n```\n"
    assert markdown_faults(prose + formula + fenced) == []


def test_markdown_is_printable():
    faults = [
        f"{name}, cell {number}: {fault}"
        for name, nb in NOTEBOOKS.items()
        for number, cell in cells(nb, "markdown")
        for fault in markdown_faults(cell.source)
    ]
    assert faults == []


# Code cells ---------------------------------------------------------------------------

OPTION = re.compile(r"^#\| ?([a-z-]+): *(.*)$", re.MULTILINE)


def options(source):
    """Return the `#| key: value` lines of a cell."""
    return dict(OPTION.findall(source))


def code_faults(cell):
    """Return what is wrong with a code cell."""
    given = options(cell.source)
    kind = given.get("label", "").split("-")[0]
    wanted = {"": [], "fig": ["fig-cap", "fig-alt"], "tbl": ["tbl-cap"]}
    code = [n for n in cell.source.splitlines() if not n.startswith("#|")]
    captions = {"fig-cap", "tbl-cap"} & set(given)
    rules = {
        "it has outputs": cell.outputs,
        "it has an execution count": cell.execution_count is not None,
        "a line is longer than 78": any(len(line) > 78 for line in code),
        "its label is neither fig- nor tbl-": kind not in wanted,
        "it has a caption and no label": captions and not kind,
    }
    missing = [f"it has no {o}" for o in wanted.get(kind, ()) if not given.get(o)]
    return [rule for rule, broken in rules.items() if broken] + missing


FIGURE = "#| label: fig-x\n#| fig-cap: C\n#| fig-alt: A\n"
PRINTED = nbf.new_output("stream", text="1")


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (nbf.new_code_cell("1", outputs=[PRINTED]), "outputs"),
        (nbf.new_code_cell("1", execution_count=1), "execution count"),
        (nbf.new_code_cell("x" * 79), "longer than 78"),
        (nbf.new_code_cell("#| label: figure-x"), "neither"),
        (nbf.new_code_cell(FIGURE.replace("fig-alt", "fig-x")), "no fig-alt"),
        (nbf.new_code_cell("#| label: fig-x\n#| fig-alt: A"), "no fig-cap"),
        (nbf.new_code_cell("#| label: tbl-x"), "no tbl-cap"),
        (nbf.new_code_cell("#| tbl-cap: C"), "caption and no label"),
    ],
)
def test_code_cell_fault_is_found(cell, fault):
    (found,) = code_faults(cell)
    assert fault in found


def test_sound_code_cells_have_no_fault():
    sources = ["x" * 78, FIGURE + "plot()", "#| label: tbl-x\n#| tbl-cap: C\n1"]
    assert [code_faults(nbf.new_code_cell(source)) for source in sources] == [[]] * 3


def test_code_cells_are_clean_and_captioned():
    faults = [
        f"{name}, cell {number}: {fault}"
        for name, nb in NOTEBOOKS.items()
        for number, cell in cells(nb, "code")
        for fault in code_faults(cell)
    ]
    assert faults == []


# Labels, definitions, chapters --------------------------------------------------------


def label_faults(notebooks):
    """Return labels defined twice, never referenced, or referenced and not defined."""
    code = [c.source for nb in notebooks for _, c in cells(nb, "code")]
    text = "\n".join(c.source for nb in notebooks for _, c in cells(nb, "markdown"))
    text = CODE.sub("", text)
    defined = [label for s in code if (label := options(s).get("label"))]
    defined += re.findall(r"^#.*\{#(sec-[\w-]+)\}", text, re.MULTILINE)
    defined += re.findall(r"\\label\{(.*?)\}", text)
    used = set(re.findall(r"@((?:fig|tbl|sec)-[\w-]*\w)", text))
    used |= set(re.findall(r"\\eqref\{(.*?)\}", text))
    twice = [f"{x} is defined twice" for x, n in Counter(defined).items() if n > 1]
    unused = [f"{x} is never referenced" for x in sorted({*defined} - used)]
    return twice + unused + [f"{x} is not defined" for x in sorted(used - {*defined})]


@pytest.mark.parametrize(
    ("markdown", "fault"),
    [
        ("@fig-x", None),
        ("See [@fig-x]: $\\eqref{eq:y}$.\n\n$$a\\label{eq:y}$$\n", None),
        ("nothing", "fig-x is never referenced"),
        ("`@fig-x`", "fig-x is never referenced"),
        ("@fig-x, @fig-y", "fig-y is not defined"),
        ("@fig-x $\\eqref{eq:y}$", "eq:y is not defined"),
        ("@fig-x\n\n## S {#sec-y}", "sec-y is never referenced"),
        ("@fig-x @sec-y\n\n## S {#sec-y}\n\n## T {#sec-y}", "sec-y is defined twice"),
    ],
)
def test_label_fault_is_found(markdown, fault):
    cells = [nbf.new_code_cell(FIGURE), nbf.new_markdown_cell(markdown)]
    assert label_faults([nbf.new_notebook(cells=cells)]) == ([fault] if fault else [])


def test_every_label_is_unique_and_referenced():
    assert label_faults(NOTEBOOKS.values()) == []


def definitions(code, everywhere=True):
    """Return the names of the functions and classes that Python code defines."""
    tree = ast.parse(code)
    nodes = ast.walk(tree) if everywhere else tree.body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in nodes if isinstance(node, kinds)}


def redefined(nb):
    """Return what a notebook defines although `helpers` or `report` has it."""
    modules = [p for room in ("helpers", "report") for p in (ROOT / room).glob("*.py")]
    ours = set().union(*(definitions(m.read_text("utf-8"), False) for m in modules))
    code = "\n".join(cell.source for _, cell in cells(nb, "code"))
    return definitions(TransformerManager().transform_cell(code)) & ours


def test_redefinition_is_found():
    code = nbf.new_code_cell("def compile_report(): ...\ndef own(): ...")
    assert redefined(nbf.new_notebook(cells=[code])) == {"compile_report"}


def test_nothing_is_defined_twice():
    found = {name: redefined(nb) for name, nb in NOTEBOOKS.items()}
    assert {name: names for name, names in found.items() if names} == {}


def chapter_titles(nb):
    """Return the level-one headings, each with the number of its cell."""
    found = ((n, CODE.sub("", cell.source)) for n, cell in cells(nb, "markdown"))
    return [(n, t) for n, text in found for t in re.findall(r"(?m)^# .+", text)]


def test_each_notebook_is_one_chapter():
    assert PATHS
    found = {name: chapter_titles(nb) for name, nb in NOTEBOOKS.items()}
    assert {n: t for n, t in found.items() if [cell for cell, _ in t] != [1]} == {}


def test_second_title_is_found():
    code = nbf.new_markdown_cell("# A\n\n```\n# no\n```\n\n# B")
    assert chapter_titles(nbf.new_notebook(cells=[code])) == [(1, "# A"), (1, "# B")]
