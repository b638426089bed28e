"""Printing runs nothing: no file from outside of the project gets into the PDF."""

import base64

import nbformat.v4 as nbf
import pytest
from pypdf import PdfReader

from typeset.exporter import TypstExporter, compile_report

SECRET = "known to nobody else"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>{}</svg>"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAA"
    "AACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
text, code = nbf.new_markdown_cell, nbf.new_code_cell


@pytest.fixture
def secret(tmp_path_factory):
    """Return the path of a file that no notebook may show."""
    path = tmp_path_factory.mktemp("outside") / "secret.txt"
    path.write_text(SECRET)
    return path


def output(data, **metadata):
    return code("1", outputs=[nbf.new_output("display_data", data, metadata=metadata)])


def attachment(name, content):
    cell = text(f"![x](attachment:{name})")
    cell["attachments"] = {name: {"image/png": base64.b64encode(content).decode()}}
    return cell


def printed(folder, cells, /, **metadata):
    """Print a notebook of these cells; return the text of its pages and its bytes."""
    nb = nbf.new_notebook(cells=[text("# Title"), *cells], metadata=metadata)
    names = {"metadata": {"name": "1_x", "path": str(folder)}, "unique_key": "1_x"}
    source, resources = TypstExporter().from_notebook_node(nb, names)
    for name, content in resources["outputs"].items():
        (folder / name).write_bytes(content)
    (folder / "1_x.typ").write_text(source, "utf-8")
    compile_report(folder / "r.pdf", [folder / "1_x.typ"])
    pages = PdfReader(folder / "r.pdf").pages
    return "".join(page.extract_text() for page in pages)


def test_what_would_read_a_file_is_shown_as_text(tmp_path, secret):
    read = f'#read("{secret}")'
    verdict = {"number": "1", "claim": f"`{read}`{{=typst}}", "holds": True}
    verdict |= {"reported": False, "kind": "claim"}
    verdict |= {"evidence": read, "word": read, "item": read}
    out = printed(
        tmp_path,
        [
            text(f"```{{=typst}}\n{read}\n```"),
            text(f"a `{read}`{{=typst}} b"),
            text(f"```{{=latex}}\n\\input{{{secret}}}\n```"),
            output({"text/markdown": f"```{{=typst}}\n{read}\n```"}),
            output({"text/latex": f"\\input{{{secret}}}"}),
            output({"image/svg+xml": SVG.format("")}, alt=f'") {read}'),
            output({"image/svg+xml": SVG.format("")}, alt=5),
            output({"text/markdown": "x"}, verdict=verdict),
            output({"text/markdown": "x"}, listing=f'") {read}'),
            output({"text/markdown": "x"}, provenance={"x": f'") {read}'}),
            text(f"## heading {read}"),
            text(f"Figure `a>);{read};#ref(<a`"),
            text(f'[link](<a") {read}>) and [here](#a{read})'),
            text(f'$\\operatorname{{a") {read}}}$ $\\text{{op:a") {read} ("}}$'),
            text(f'$$x \\tag{{a") {read}}}$$ and $$y \\label{{a>{read}}}$$'),
            nbf.new_raw_cell(read),
            code(read, outputs=[nbf.new_output("stream", text=read)]),
        ],
        authors=[{"name": f'") {read}'}, "A B", {}, {"name": None}, 5],
        folder=str(secret.parent),
    )
    assert SECRET not in out
    assert SECRET.encode() not in (tmp_path / "r.pdf").read_bytes()
    assert out.count("#read") > 8
    assert "A B" in out


def html(content):
    return output({"text/html": content})


@pytest.mark.parametrize(
    "cell",
    [
        lambda read: html(f"<div typst:fill='{read}'>seen</div>"),
        lambda read: html(f"<p><span typst:text:fill='{read}'>seen</span></p>"),
        lambda read: html(f"<table typst:fill='{read}'><td typst:fill='{read}'>seen"),
        lambda read: html("<p>seen</p><div id='verdict'></div><p id='answer'></p>"),
        lambda read: html("<p>seen <math><mi>x</mi></math></p>"),
        lambda read: output({"image/png": PNG}, alt={"a": f"](seen) #{read}"}),
        lambda read: text(f"~~~ x```#{read}\nseen\n~~~"),
        lambda read: text("``` 2x\nseen\n```\n\n``` c++\n\n```"),
        lambda read: text(f'```\n#image("picture:1:00", alt: "x") {read}\n```\nseen'),
        lambda read: text("seen `<b>`{=html} `78`{=math} \x01 a|b"),
        lambda read: text("seen \ud800"),
        lambda read: nbf.new_raw_cell(""),
    ],
)
def test_nothing_is_handed_on_to_typst_as_code(tmp_path, secret, cell):
    made = cell(f'read("{secret}")')
    out = printed(tmp_path, [made])
    assert SECRET not in out
    assert ("seen" in out) == ("seen" in str(made) and "image/png" not in str(made))


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (lambda s: text(f"![x]({s})"), "there is no picture .* in the folder of the"),
        (lambda s: text(f"![x](../{s.parent.name}/{s.name})"), "there is no picture"),
        (lambda s: text("![x](secret.txt)"), r"there is no picture secret\.txt in the"),
        (lambda s: text(f"![x]({'a' * 5000}.png)"), "there is no picture a{80} in the"),
        (
            lambda s: attachment("a", SECRET.encode()),
            "is no PNG, JPEG, GIF, WebP or SVG",
        ),
        (lambda s: attachment("a.txt", b""), "is no PNG, JPEG, GIF, WebP or SVG"),
        (lambda s: output({"text/html": f'<img src="{s}">'}), "there is no picture"),
        (lambda s: output({"image/svg+xml": "<svg>no"}), "an output is no PNG"),
        (
            lambda s: output({"image/svg+xml": SVG.format(f'<image href="{s}"/>')}),
            "failed to load linked image",
        ),
        (lambda s: output({"image/png": "AAAA"}), "an output is no PNG"),
        (lambda s: output({"image/png": "é"}), "an output is no PNG"),
        (lambda s: text("![x](data:image/png;base64,AAAA)"), "AAAA is no PNG"),
        (lambda s: text("![x](a%00b.png)"), "there is no picture a"),
        (lambda s: text("![x](.)"), r"there is no picture \. in"),
        (
            lambda s: text(f"$\\newcommand{{\\x}}{{\\input{{{s}}}}}\\x$"),
            "cannot read the formula",
        ),
        (
            lambda s: output({"text/markdown": "x"}, verdict={"claim": f"![a]({s})"}),
            "there is no picture",
        ),
        (
            lambda s: output({"text/markdown": "~~~ verdict\n{bad\n~~~"}),
            "metadata of a verdict cannot be {bad",
        ),
        (lambda s: output({"text/markdown": "x"}, listing=5), "listing cannot be 5"),
        (lambda s: output({"text/markdown": "x"}, label=f"a>{s}<b"), "no name: "),
        (
            lambda s: output({"text/markdown": "x"}, answer={"a: b": "c"}),
            "has no key a: b",
        ),
    ],
)
def test_what_is_no_picture_of_the_project_is_refused_by_cell(
    tmp_path, secret, cell, words
):
    with pytest.raises(SystemExit, match=rf"1_x\.ipynb, cell 2: .*{words}"):
        printed(tmp_path, [cell(secret)], folder=str(secret.parent))


def test_a_colour_that_is_left_out_is_named(tmp_path, caplog):
    printed(tmp_path, [text(r"$\color{red} x$ and $\textcolor{red}{y}$")])
    assert caplog.text.count("1_x.ipynb, cell 2: the colour of a formula is left out")


def test_numbers_of_lines_can_both_be_referred_to(tmp_path):
    cases = r"\begin{cases}1\\2\end{cases}"
    lines = rf"\begin{{align}}a&=b\label{{p}}\\c&={cases}\label{{q}}\end{{align}}"
    out = printed(tmp_path, [text(lines), text("$\\eqref{p}$ then $\\eqref{q}$")])
    assert "(1.1) then (1.2)" in out


def test_typst_finds_nothing_but_what_it_is_handed(tmp_path, secret):
    for path in (secret, f"../{secret.parent.name}/{secret.name}"):
        (tmp_path / "1_x.typ").write_text(f'#let authors = ()\n#read("{path}")')
        with pytest.raises(SystemExit, match="not written: 1_x"):
            compile_report(tmp_path / "r.pdf", [tmp_path / "1_x.typ"])
