"""Markdown as JupyterLab shows it, against what the page has: a table of both."""

import base64
import io
import re
from itertools import pairwise
from types import SimpleNamespace

import nbformat.v4 as nbf
import pytest
from PIL import Image

from typeset import markdown
from typeset.exporter import TypstExporter
from typeset.markdown import protect


def formulas(text):
    """Return protected text with its formulas written out as <kind: TeX>."""
    return re.sub(
        r"`([0-9a-f]+)`\{=(\w+)\}",
        lambda span: f"<{span[2]}:{bytes.fromhex(span[1]).decode()}>",
        protect(text),
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [  # what JupyterLab hands to MathJax, and what to its Markdown parser
        ("$a<b$, $ x * y $", "<math:a<b>, <math: x * y >"),
        ("$$a\n+b$$", "<display:a\n+b>"),
        (r"\\(a\\) and \\[b\\]", "<math:a> and <display:b>"),
        (r"\(a\) stays text", r"\(a\) stays text"),
        (r"\begin{align*}a\end{align*}", r"<display:\begin{align*}a\end{align*}>"),
        (r"$\text{if $b$}$", r"<math:\text{if $b$}>"),
        (r"costs \$5, by \eqref{x}", r"costs \$5, by <math:\eqref{x}>"),
        ("`$a$` and $b$", "`$a$` and <math:b>"),
        ("```\n$b$ | c\n```\n$a$", "```\n$b$ | c\n```\n<math:a>"),
        ("a $5 only", "a $5 only"),
        ("$a\n\nb$ c $d", "$a\n\nb<math: c >d"),
        ("text\n| a |\n|---|\n| $|x|$ |", "text\n\n| a |\n|---|\n| <math:|x|> |"),
        ("text\n---\n", "text\n---\n"),
        ("a[^1]\n\n[^1]: b", "a[^1]\n\n[^1]: b"),
        ("[^1]: lost", r"\[^1]: lost"),
        ("```\n[^1]: b\n```", "```\n[^1]: b\n```"),
    ],
)
def test_formulas_are_taken_out_as_jupyterlab_does(source, shown):
    assert formulas(source) == shown


def chapter(*sources, name="1_x", folder="", **attachments):
    """Return the Typst source that the exporter makes of Markdown cells."""
    cells = [nbf.new_markdown_cell(source) for source in sources]
    if attachments:
        cells[0]["attachments"] = {"x.png": attachments}
    nb = nbf.new_notebook(cells=cells)
    resources = {"metadata": {"name": name, "path": str(folder)}, "unique_key": name}
    text, resources = TypstExporter().from_notebook_node(nb, resources)
    return text.split("// cell 1\n", 1)[1], resources["outputs"]


@pytest.mark.parametrize(
    ("source", "typst"),
    [
        ("see $x^2$", 'alt: "x^2"'),
        ("$$x$$", "block: true, numbering: none"),
        ("$$x_i \\label{eq:a}$$", "<eq:a>"),
        ("$$x \\tag{7}$$", 'numbering: _ => "(7)"'),
        (r"$$x \tag*{A}$$", 'numbering: _ => "A"'),
        (r"$$x\label{my eq}$$", "<my_eq>"),
        (r"by \eqref{my eq}", "#ref(<my_eq>)"),
        (r"$x^T \nonumber$", "x^T"),
        ("$$\na = b \\\\\nc = d\n$$", "a = b\\\nc = d"),
        (r"${\bf x} {\cal L} \Large y$", "upright(bold(x)) cal(L) y"),
        (r"$\frac{{\bf x_{i}}}{2}$", "upright(bold(x_i)) / 2"),
        (r"$\left<x\right>$", "⟨x⟩"),
        ("<https://a.org/$x$>", "https://a.org/$x$"),
        ("by $\\eqref{eq:a}$", "#ref(<eq:a>)"),
        ("\\begin{align*}a &= b\\end{align*}", "block: true"),
        ("\\begin{equation}a\\end{equation}", "block: true"),
        ("$\\newcommand{\\R}{\\mathbb{R}}$\n\n$x\\in\\R$", "bb(R)"),
        ("$\\def\\half{\\frac12}$\n\n$\\half$", "1 / 2"),
        ("$\\operatorname*{argmax}_x$", 'op("argmax", limits: #true)'),
        ("$\\boxed{x}$", "#box"),
        ("$$\\boxed{x}$$", "[$display(x)$]"),
        (r"$\left.f\right|_{x=0}$", 'f class("normal", |)_(x = 0)'),
        ("$1{,}000$", '1 class("normal", ",") 000'),
        (r"$a \& b \text{c \& d}$", r'a \& b upright("c &d")'),
        (r"$\begin{cases}1 & x\\2 & y\end{cases}$", "1 & quad x, 2 & quad y"),
        (r"$\left\{\begin{array}{l}1 & x\end{array}\right.$", "1 & quad x"),
        (r"$A=\begin{matrix}1\\2\end{matrix}$", "A = mat(delim: #none, 1; 2)"),
        (r"$A=\begin{array}{cc}1&2\end{array}$", "A = mat(delim: #none, 1, 2)"),
        (r"$\begin{array}{c|c}1&2\end{array}$", "augment: #(vline: (1,), hline: (), "),
        (
            r"$\begin{array}{|c|}\hline 1\\ \hline 2\\ \hline\end{array}$",
            "augment: #(vline: (0,1,), hline: (0,1,2,), ",
        ),
        (r"$\left[\begin{array}{c|c}1&2\end{array}\right]$", "vline: (1,)"),
        (r"$\begin{array}{c}1\\ \hline\end{array}$", "hline: (1,), stroke: 0.5pt), 1)"),
        (
            r"$$a &= \begin{cases}1&x\end{cases}\label{p}\\&= d\label{q}$$",
            'cases(delim: "{", 1 & quad x) $.body) <p>',
        ),
        (
            r"\begin{align}a &= b\label{p}\\c &= d\label{q}\end{align}",
            "<q>",
        ),
        (r"\begin{align}a\tag{1}\\b\tag{2}\end{align}", '_ => "(2)"'),
        ("```{=typst}\n#panic(1)\n```", "```\n#panic(1)\n```"),
        ("a `#panic(1)`{=typst}", "`#panic(1)`{=typst}"),
        ("```{=latex}\n\\input{x}\n```", "```\n\\input{x}\n```"),
        (r"$\bigl(\begin{smallmatrix}1&2\end{smallmatrix}\bigr)$", "#none, 1, 2)"),
        (r"$\left[\begin{array}{c}1\\2\end{array}\right]$", 'mat(delim: "[", 1; 2)'),
        (r"$\require{color}\color{red}x \textcolor{blue}{y}$", "$x y$"),
        (r"$\def\norm#1{\lVert #1\rVert}\norm{x}$", "bar.v.double x bar.v.double"),
        (r"$\newcommand{\E}[2][p]{E_{#1} #2}\E{x} \E[q]{x}$", "E_p x E_q x"),
        (r"$\newcommand\R{\mathbb{R}}\R$", "bb(R)"),
        (r"$\newcommand{\first}[2]{\alpha#1}\first{x}{y}z$", "alpha x z"),
        (r"$\DeclareMathOperator*{\most}{max}\most_x$", 'op("max", limits: #true)_x'),
        ("text\n\n    code $x$ $$y$$ \\ref{a}", "code $x$ $$y$$ \\ref{a}\n"),
        ("`![a](no.png)`", "`![a](no.png)`"),
        ("see picture:1:2", "see picture:1:2"),
        ("# T\n\n#### Deep", "#heading(level: 2)[Deep]"),
        (f"| a |\n|---|\n| {'many words ' * 20} |", "columns: (100%)"),
        ("so.[^1]\n\n[^1]: Because.", "#footnote[Because.]"),
        ("a\n\n---\n\nb", "#line("),
        ("a\n\n<hr>\n\nb", "#line("),
        ("a <hr/> b", "#line("),
        ("a\n\n<br>\n\nb", "a\n\nb"),
        ("a<br>b <!-- no --> <a id='c'></a>c", "a \\\nb c"),
        ("- [ ] todo", "☐"),
        ("2021. a year", "start: 2021"),
        (":smile: ~~no~~ https://a.org", ":smile: #strike[no]"),
        ("# A b\n\n[go](#A-b)", '#link(label("1_x#A-b"))'),
        ("[nowhere](#Else)", "nowhere"),
        ("By Figure `one` (Table `two`)", "By #ref(<one>); (#ref(<two>);)"),
    ],
)
def test_what_jupyterlab_renders_is_rendered(source, typst):
    assert typst in chapter(source)[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("$\\undefinedmacro$", "cannot read the formula \\\\undefinedmacro"),
        ("<b>bold</b>", "raw HTML cannot be printed: <b>"),
        ("<div>\nx\n</div>", "raw HTML cannot be printed: <div>"),
        ("$$a\\label{x}\\label{y}\\\\b$$", "a line with several labels"),
        (r"$$x \tag{$\ast$}$$", r"a tag is plain text, not \$.ast\$"),
        ("$$\n\\undefinedmacro\n$$", "cannot read the formula  .undefinedmacro"),
        ("![x](http://a.org/x.png)", "is not on this computer: save it beside"),
        ("![x](no.png)", r"there is no picture no\.png"),
        ("![x]()", "there is no picture without a name"),
        ("![x](attachment:no.png)", "there is no picture attachment:no.png"),
        ("```mermaid\nx\n```", "a diagram cannot be printed: save a picture of it"),
        ("**Figure `x`.** Lost.", "a caption without a code cell before it"),
    ],
)
def test_what_cannot_be_rendered_is_refused_by_cell(source, reason):
    with pytest.raises(SystemExit, match=f"1_x.ipynb, cell 2: .*{reason}"):
        chapter("fine", source)


def test_of_equal_headings_a_link_leads_to_the_first():
    text = chapter("# A\n\n[go](#A)\n\n## A")[0]
    assert text.count('#label("1_x#A")') == text.count('#link(label("1_x#A"))') == 1


def test_a_macro_holds_in_later_cells_only():
    defined = "$\\newcommand{\\R}{\\mathbb{R}}\\newcommand{\\v}{\\mathbf{v}}$"
    assert "upright(bold(v)) in bb(R)" in chapter(defined, "$\\v\\in\\R$")[0]
    with pytest.raises(SystemExit, match="cell 1: cannot read"):
        chapter("$\\R$", "$\\newcommand{\\R}{x}$")


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        "![a [b] c](attachment:x.png) ![$x$](sub/my%20plot.png 'its title')",
        "![a](attachment:x.png) ![b][c]\n\n[c]: <sub/my plot.png>",
        "![a](sub/my%20plot.png) ![b](data:image/png;base64,ENCODED)",
    ],
)
def test_attached_local_and_encoded_pictures_are_kept(tmp_path, source):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my plot.png").write_bytes(png())
    encoded = base64.b64encode(png()).decode()
    source = source.replace("ENCODED", encoded)
    text, kept = chapter(source, folder=tmp_path, **{"image/png": encoded})
    assert list(kept.values()) == [png(), png()]
    assert [f'image("{name}"' in text for name in kept] == [True, True]


class Counted(list):
    """A list that counts how often one of its items is asked for."""

    asked = 0

    def __getitem__(self, place):
        Counted.asked += 1
        return super().__getitem__(place)


@pytest.mark.parametrize(
    "unclosed",
    [
        *(r"\begin{a} ", r"\\( ", r"\\[ ", "$ { ", "$$ { ", r"\begin{a} { \end{a} "),
        "".join(rf"\begin{{{'a' * i}}} {{ \end{{{'a' * i}}} " for i in range(1, 30)),
    ],
)
def test_twice_the_text_is_read_in_twice_the_steps(monkeypatch, unclosed):
    split, asked = markdown.TOKEN.split, []
    tokens = SimpleNamespace(split=lambda text: Counted(split(text)))
    monkeypatch.setattr(markdown, "TOKEN", tokens)
    for times in (100, 200):
        Counted.asked = 0
        protect(unclosed * times)
        asked.append(Counted.asked)
    assert asked[1] < 2.1 * asked[0]


@pytest.mark.parametrize(
    "long",
    [
        *("~~~x\n", "```x\n", "[^", "`" * 3 + "x"),
        "".join(f"[^{i}]: a\n" for i in range(200)),
    ],
)
def test_no_text_is_read_again_from_each_of_its_beginnings(long):
    """A million characters: what is read again from each would never end."""
    text = long * (1_000_000 // len(long))
    assert len(protect(text)) >= len(text)
    for line in ("|" * 500_000 + "\n" + "|-" * 250_000 + "x", f"a|\n-{' ' * 10**6}x|"):
        assert protect(f"text\n{line}") == f"text\n{line}"


BOMB = "".join(
    rf"\def\{new}{{{10 * (chr(92) + old)}}}" for old, new in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (r"$\def\x{\x}\x$", "a formula whose macros have no end"),
        (f"$\\def\\a{{xx}}{BOMB}\\i$", "a formula whose macros have no end"),
        (f"${'x' * 10001}$", "a formula of 10001 characters"),
        (r"$\def\x#1{a}\x$", "the macro .x lacks an argument"),
    ],
)
def test_a_formula_has_an_end(source, reason):
    with pytest.raises(SystemExit, match=f"1_x.ipynb, cell 1: {reason}"):
        chapter(source)


def test_a_cell_of_text_may_be_kept_off_the_page():
    cells = [nbf.new_markdown_cell(text) for text in ("# T", "## Here only", "shown")]
    cells[1].metadata["tags"] = ["remove-cell"]
    names = {"metadata": {"name": "1_x", "path": ""}, "unique_key": "1_x"}
    nb = nbf.new_notebook(cells=cells)
    printed = TypstExporter().from_notebook_node(nb, names)[0]
    assert "shown" in printed
    assert "Here only" not in printed
