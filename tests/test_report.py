"""The route from executed notebooks to the PDF, on two small made-up notebooks."""

import io
import re
import runpy
import shutil

import nbformat.v4 as nbf
import numpy as np
import pypdfium2
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from nbconvert.nbconvertapp import NbConvertApp
from pypdf import PdfReader

from report import claims, files, results
from report.figures import Picture
from typeset import exporter
from typeset.exporter import TypstExporter, compile_report

MARGIN = 2.4 * 72 / 2.54


def svg():
    """Draw log axes with Greek letters, as the project's figures are drawn."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "x"}):
        figure = Figure(figsize=(5, 2), layout="constrained")
        axes = figure.subplots()
        axes.loglog([1e-3, 1], [1e-6, 1])
        axes.set_xlabel("step εχ")
        axes.set_ylabel(r"$\sigma(\theta)$")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def markdown(*lines):
    return nbf.new_markdown_cell("\n".join(lines))


def code(source, *outputs, **metadata):
    return nbf.new_code_cell(source, outputs=[*map(shown, outputs)], metadata=metadata)


def shown(output):
    """Return a notebook's output of text, of a dict, or of what a cell displays."""
    if isinstance(output, str):
        return nbf.new_output("stream", text=output)
    data, metadata = (
        (output, {}) if isinstance(output, dict) else output._repr_mimebundle_()
    )
    return nbf.new_output("display_data", data=data, metadata=metadata)


def notebook(*cells, **metadata):
    return nbf.new_notebook(cells=list(cells), metadata=metadata)


def typst(*cells, name="1_x"):
    """Return the chapter that the exporter makes of these cells."""
    resources = {"metadata": {"name": name}, "unique_key": name}
    return TypstExporter().from_notebook_node(notebook(*cells), resources)[0]


def table(rows, columns=7, name="wide"):
    head = "| network | " + " | ".join(f"column {i}" for i in range(columns)) + " |\n"
    rule = "|:--" + "|--:" * columns + "|\n"
    body = ("| H10 H10 R10" + " | 0.1234" * columns + " |\n") * rows
    return results.Output((head + rule + body).rstrip("\n"), label=name)


HIDDEN = {"jupyter": {"source_hidden": True}}
PROVENANCE = {"Python": "3.11.9", "Peaks": "drawn, seed 7"}


def answer(item, said, number):
    return claims.answer(item, "a $w_k$", True, said, "no", number, "line")


FIRST = notebook(
    markdown("# Softmax", "", "See Figure `line`, Table `wide` and $\\eqref{eq:sum}$."),
    markdown("## Test", "", "$$\\sum_i p_i = 1 \\label{eq:sum}$$"),
    code("plot(1)", Picture(svg(), "line", "A straight line.")),
    markdown("**Figure `line`.** A line with $x^2$."),
    code("judge()", claims.check("2.1.1", "order is $\\geq 1.9$", True, "2.003")),
    code("hidden()", table(60), **HIDDEN),
    markdown("**Table `wide`.** All tries."),
    code("z" * 78 + "\nprint()", "wide " * 40 + "end\n"),
    code("listing()", results.source(files.write), **HIDDEN),
    code("say()", answer("2.1.1", "It is $x^2$.", "1 of 2"), **HIDDEN),
    code("left_out()", "secret", tags=["hide-output"]),
    code("removed()", "secret", tags=["remove-cell"]),
    code("r()", results.Output("R.", provenance=PROVENANCE | {"seeds: a": "0 to 9"})),
    authors=[{"name": "Ada Example"}],
)
DATA_FRAME = "<table><thead><tr><th></th>{}</tr></thead><tbody><tr><th>0</th>{}</tr>"
DATA_FRAME = (DATA_FRAME + "</tbody></table>").format(
    "".join(f"<th>c{i}</th>" for i in range(20)),
    "".join(f"<td>{i + 0.123456}</td>" for i in range(20)),
)
SPANNED = (
    "<table id='T_1'><caption>All parts</caption><thead><tr><th colspan=2></th>"
    + "".join(f"<th colspan=2>group {i}</th>" for i in range(12))
    + "</tr></thead><tbody><tr><th rowspan=2>up</th><th>in</th>"
    + "".join(f"<td>{i}.2345678</td>" for i in range(24))
    + "</tr><tr><th>out</th>"
    + "".join(f"<td>{i}.3456789</td>" for i in range(24))
    + "</tr></tbody></table>"
)
WORD, CODE = "https://a.org/" + "a" * 150, "`" + "c" * 150 + "`"
SECOND = notebook(
    markdown("# Descent", "", "As Figure `line` shows."),
    markdown(WORD, CODE, "", "|a|b|", "|-|-|", f"|{'long text ' * 30}|{CODE}|"),
    code("spanned", {"text/html": SPANNED}),
    code("a()", claims.finding("2.1.2", "decay helps", False, "0.1", reported=True)),
    code("b()", claims.finding("2.1.2", "momentum helps", None, "0 ± 1")),
    code("c()", answer("2.1.2", "It does.", "0.1")),
    code("frame", {"text/html": DATA_FRAME, "text/plain": "no"}),
    code("r()", results.Output("R.", provenance=PROVENANCE | {"seeds: a": "7"})),
    authors=[{"name": "Ada Example"}, {"name": "Émile Zwei"}],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Build both chapters and the report by the commands that the Makefile uses."""
    root = tmp_path_factory.mktemp("build")
    for name, nb in (("1_softmax", FIRST), ("2_descent", SECOND)):
        (root / f"{name}.ipynb").write_text(nbf.writes(nb), "utf-8")
    NbConvertApp.clear_instance()
    to = ["--to=typeset.exporter.TypstExporter", f"--output-dir={root / 'chapters'}"]
    paths = map(str, sorted(root.glob("*.ipynb")))
    NbConvertApp.launch_instance([*to, "--log-level=ERROR", *paths])
    compile_report(root / "report.pdf", chapters(root))
    return root


def chapters(folder):
    return sorted((folder / "chapters").glob("*.typ"))


@pytest.fixture(scope="module")
def pdf(folder):
    return PdfReader(folder / "report.pdf")


def texts(pdf):
    return [" ".join(page.extract_text().split()) for page in pdf.pages]


@pytest.fixture(scope="module")
def pages(pdf):
    return texts(pdf)


def titles(outline):
    for entry in outline:
        yield from titles(entry) if isinstance(entry, list) else [entry.title]


def objects(pdf, key):
    """Return every dictionary of the PDF that has `key`."""
    found = (pdf.get_object(i) for i in range(1, pdf.trailer["/Size"]))
    return [o for o in found if isinstance(o, dict) and key in o]


# The document -------------------------------------------------------------------------


def test_title_authors_and_bookmarks(pdf, pages):
    assert pdf.metadata.title == "Deep Learning from Scratch"
    assert pdf.metadata.author == "Ada Example, Émile Zwei"
    assert "Ada Example, Émile Zwei" in pages[0]
    named = ["Results at a glance", "Softmax", "Test", "Descent", "Conclusions"]
    found = " / ".join(titles(pdf.outline))
    assert [name for name in named if name in found] == named


def test_the_first_page_sums_up(pages):
    assert "Data: Peaks, drawn, seed 7." in pages[0]
    assert "Of the checks, which must pass, 1 passed and 0 failed." in pages[0]
    assert "0 were confirmed, 1 were not, and 1 stayed undecided" in pages[0]
    at = f"(2, p. {1 + number_of('2 Descent', pages)})"
    unsure = pages[0].split("What could not be shown.")[1]
    assert f": decay helps {at}" in unsure
    assert f": momentum helps {at}." in unsure
    assert unsure.index("Not confirmed") < unsure.index("Undecided")


def test_the_first_page_answers_and_links_to_the_evidence(pdf, pages):
    assert "2.1.1 a 𝑤𝑘 It is 𝑥2. 1 of 2 Figure 1.1, p. 3" in pages[0]
    assert "2.1.2 a 𝑤𝑘 It does. 0.1 Figure 1.1, p. 3" in pages[0]
    links = [a.get_object() for a in pdf.pages[0]["/Annots"]]
    assert "A line with" in pages[target(pdf, links[-1])]


def target(pdf, link):
    """Return the index of the page that a link leads to."""
    goal = link["/A"]["/D"] if "/A" in link else link["/Dest"]
    goal = pdf.named_destinations[goal].page if isinstance(goal, str) else goal[0]
    return pdf.get_page_number(goal.get_object())


def number_of(start, pages):
    """Return the index of the page that begins with these words."""
    (number,) = (n for n, page in enumerate(pages) if page.startswith(start))
    return number


def test_the_last_page_concludes_and_says_what_made_the_numbers(pages):
    at = f"2, p. {1 + number_of('2 Descent', pages)}"
    last = pages[-1].replace(" ,", ",")
    assert last.startswith("Conclusions")
    assert "2.1.1. It is 𝑥2. (1.1, p. " in last
    assert f": decay helps (0.1, {at}" in last
    assert "momentum helps" not in last
    assert last.count("3.11.9") == 1
    assert "seeds: a" not in last
    assert "R." not in pages[2]


def test_claims_are_marked_by_how_they_came_out(pages):
    text = " ".join(pages)
    assert "✓ Passed (2.1.1). order is ≥ 1.9: 2.003." in text
    assert "✗ Not confirmed (2.1.2). decay helps: 0.1." in text
    assert "? Undecided (2.1.2). momentum helps" in text


def test_a_supplement_is_numbered_apart_and_has_no_summary(folder, tmp_path):
    path = tmp_path / "supplement.pdf"
    compile_report(path, chapters(folder), chapters(folder)[:1], supplement="yes")
    pages = texts(PdfReader(path))
    assert "Deep Learning from Scratch: Supplement" in pages[0]
    assert "Scope." not in pages[0]
    text = " ".join(pages)
    assert "See Figure S1.1, Table S1.1 and (S1.1)." in text
    assert "Those of the report: Item Claim" in text
    assert "2.1.1 order is ≥ 1.9 Passed 2.003 1.1 Those of this supplement" in text
    assert "2.1.2 decay helps Not confirmed 0.1 S2, p. " in text
    assert "2.1.2 momentum helps Undecided 0 ± 1 S2, p. " in text
    assert "seeds: a 0 to 9 (chapter S1) 7 (chapter S2)" in text


def test_a_report_of_hardly_anything_is_whole(tmp_path):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T")), "utf-8")
    compile_report(tmp_path / "r.pdf", [chapter], quick="yes")
    pages = texts(PdfReader(tmp_path / "r.pdf"))
    assert "Quick trial: fewer seeds and epochs" in pages[0]
    assert "Results at a glance" not in " ".join(pages)


@pytest.mark.parametrize(
    ("path", "quick", "given"),
    [
        ("a/report.pdf", False, (["b/1_x.typ"], [], {})),
        ("report.pdf", True, (["b/1_x.typ"], [], {"quick": "yes"})),
        (
            "supplement.pdf",
            False,
            (["b/supplement/2_x.typ"], ["b/1_x.typ"], {"supplement": "yes"}),
        ),
    ],
)
def test_the_command_knows_both_documents(monkeypatch, path, quick, given):
    called, words = [], [*given[1], *given[0]]
    monkeypatch.setattr(files, "QUICK", quick)
    monkeypatch.setattr(
        exporter, "compile_report", lambda *args, **more: called.extend([*args, more])
    )
    monkeypatch.setattr("sys.argv", ["typeset", path, *words])
    runpy.run_module("typeset", run_name="__main__")
    assert called == [path, *given]


# The pages ----------------------------------------------------------------------------


def test_every_picture_and_formula_has_alternative_text(pdf):
    alternatives = {o["/S"]: o["/Alt"] for o in objects(pdf, "/Alt")}
    assert alternatives["/Figure"] == "A straight line."
    tagged = [o for o in objects(pdf, "/S") if o["/S"] in {"/Figure", "/Formula"}]
    assert len(tagged) >= 4
    assert all(o.get("/Alt") for o in tagged)


def test_references_captions_and_numbers(pages):
    text = " ".join(pages)
    assert "See Figure 1.1, Table 1.1 and (1.1)." in text
    assert "As Figure 1.1 shows." in text
    assert "Figure 1.1. A line with 𝑥2." in text
    assert text.index("Table 1.1. All tries.") < text.index("column 0")
    assert "(1.2)" not in text


def test_figure_text_is_text_in_matplotlib_fonts(pdf, pages):
    text = " ".join(pages)
    assert "step εχ" in text
    assert "10−3" in "".join(text.split())
    fonts = {str(o["/BaseFont"]).split("+")[-1] for o in objects(pdf, "/BaseFont")}
    assert "DejaVuSans" in fonts


def test_collapsed_and_tagged_cells_are_not_shown(pages):
    text = " ".join(pages)
    assert "plot(1)" in text
    assert "left_out()" in text
    for gone in ("hidden()", "removed()", "secret"):
        assert gone not in text


def test_a_listing_names_its_file(pages):
    (page,) = (page for page in pages if "report/files.py" in page)
    assert "report/files.py def write(path, content):" in page


def lefts_and_rights(folder):
    """Yield page number, left and right edge of every character of the chapters."""
    document = pypdfium2.PdfDocument(folder / "report.pdf")
    for number in range(len(document)):
        page = document[number].get_textpage()
        for i in range(page.count_chars()):
            left, _, right, _ = page.get_charbox(i)
            if page.get_text_range(i, 1).strip():
                yield number, left, right


def test_nothing_leaves_the_margins(folder):
    width = 595.28
    for _, left, right in lefts_and_rights(folder):
        assert left > MARGIN - 4
        assert right < width - MARGIN + 4


def test_long_lines_of_output_are_continued(pages):
    text = " ".join(pages)
    assert "↪" in text
    assert text.count("wide ") > 35


def test_a_wide_data_frame_is_split_by_columns(pages):
    text = " ".join(pages)
    for i in range(20):
        assert f" c{i} " in text
        assert f"{i + 0.123456}" in text
    assert text.count(" 0 0.123456") == 1
    assert text.count("c0") == 1


def test_a_table_of_spanning_cells_is_split_and_keeps_its_numbers(folder):
    source = (folder / "chapters" / "2_descent.typ").read_text("utf-8")
    assert source.count("All parts") == 1
    parts = [one for one in re.findall(r"#table\([^#]*", source) if "group" in one]
    cells = [np.reshape(re.findall(r"\[([^]]*)\]", one), (3, -1)) for one in parts]
    assert len(parts) > 1
    for one in cells:
        assert one[:, :2].tolist() == [["", ""], ["up", "in"], ["", "out"]]
    groups, ups, outs = np.hstack([one[:, 2:] for one in cells]).tolist()
    assert groups == [f"group {i // 2}" for i in range(24)]
    assert ups == [f"{i}.2345678" for i in range(24)]
    assert outs == [f"{i}.3456789" for i in range(24)]


def test_a_long_table_of_an_output_is_cut_and_says_by_how_much():
    rows = "<tr><td>1</td></tr>" * 250
    cell = code("1", {"text/html": f"<table><tbody>{rows}</tbody></table>"})
    text = typst(markdown("# T"), cell)
    assert text.count("[1]") == 200
    assert "… 50 more rows are left out" in text


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ({"text/html": "<p>a</p><hr><p>b</p>"}, "#line("),
        ({"text/markdown": "a\n\n---\n\nb"}, "#line("),
        ({"text/latex": r"$\displaystyle \frac{x}{2}$"}, "x / 2$.body"),
        ({"text/html": "<h4>Deep</h4>"}, "#heading(level: 2)[Deep]"),
    ],
)
def test_outputs_are_read_in_the_dialect_of_the_cells(output, shown):
    assert shown in typst(markdown("# T"), code("1", output))


def test_a_picture_of_an_output_is_found_beside_the_notebook():
    for output in (
        {"text/html": "<img src='no.png'>"},
        {"text/markdown": "![](no.png)"},
    ):
        with pytest.raises(
            SystemExit, match=r"1_x.ipynb, cell 2: there is no picture no"
        ):
            typst(markdown("# T"), code("1", output))


def test_raw_cells_are_printed_as_they_are():
    raw = nbf.new_raw_cell("as $x$ *is*", metadata={"format": "text/latex"})
    assert "as $x$ *is*\n" in typst(markdown("# T"), raw)


def test_a_notebook_without_headings_is_titled_by_its_name():
    assert "#heading(level: 1)[1\\_x]" in typst(markdown("text"))
    assert typst(markdown("text"), markdown("# T")).count("#heading") == 1


def test_what_stands_before_a_title_does_not_end_the_chapter_before(tmp_path):
    for name, cells in (("1_x", ["# A"]), ("2_y", ["early", "# B"])):
        path = tmp_path / f"{name}.typ"
        path.write_text(typst(*map(markdown, cells), name=name), "utf-8")
    compile_report(tmp_path / "r.pdf", sorted(tmp_path.glob("*.typ")))
    (page,) = (one for one in texts(PdfReader(tmp_path / "r.pdf")) if "early" in one)
    assert "1 A" not in page


def test_long_tables_break_and_repeat_their_head(pages):
    holding = [page for page in pages if "column 0" in page]
    assert len(holding) > 1


def test_the_same_chapters_give_the_same_bytes(folder, tmp_path):
    pages = compile_report(tmp_path / "again.pdf", chapters(folder))
    assert pages == len(PdfReader(tmp_path / "again.pdf").pages)
    again = (tmp_path / "again.pdf").read_bytes()
    assert again == (folder / "report.pdf").read_bytes()


# What stops the build -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([code("1", table(1))], "cell 2: wide has no caption: the next cell must"),
        (
            [code("1", table(1)), markdown("**Table `x`.** C")],
            "cell 2: wide has no caption",
        ),
        (
            [code("1", table(1)), markdown("**Figure `wide`.** C")],
            "cell 2: wide is a Table, its caption says Figure",
        ),
        (
            [code("1"), markdown("**Figure `x`.** C")],
            "cell 2: the cell shows no figure or table called x",
        ),
        (
            [code("1", table(1)), markdown("**Table `wide`.** C", "", "More.")],
            "cell 3: a caption is one paragraph",
        ),
    ],
)
def test_a_caption_belongs_to_the_figure_before_it(cells, reason):
    with pytest.raises(SystemExit, match=f"1_x.ipynb, {reason}"):
        typst(markdown("# T"), *cells)


WIDE = "|x" * 40 + "|\n" + "|-" * 40 + "|"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (f"$${'x+' * 90}x$$", "1_x.ipynb, cell 2: equation wider than the text: x"),
        (
            WIDE,
            "1_x.ipynb, cell 2: table wider than the text: .x., .x.",
        ),
        ("Figure `nowhere`", "1_x.ipynb, cell 2: .*label `<nowhere>` does not exist"),
        ("漢 and 🎉", "1_x.ipynb, cell 2: the character 漢 .U.6F22, cjk .* in words"),
    ],
)
def test_what_cannot_be_set_names_its_cell_and_keeps_the_old_report(
    tmp_path, source, reason
):
    old = tmp_path / "report.pdf"
    old.write_bytes(b"old")
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T"), markdown(source)), "utf-8")
    with pytest.raises(SystemExit, match=reason):
        compile_report(old, [chapter])
    assert old.read_bytes() == b"old"


def test_copies_and_tables_of_one_head_are_named_with_every_notebook(tmp_path):
    for name in ("1_x", "1_x-Copy1"):
        (tmp_path / f"{name}.typ").write_text("// cell 1\n= T\n<line>\n")
    told = r"not written: 1_x-Copy1\.ipynb and 1_x\.ipynb both show line: rename"
    with pytest.raises(SystemExit, match=told):
        compile_report(tmp_path / "r.pdf", sorted(tmp_path.glob("*.typ")))
    for name in ("1_x", "1_x-Copy1"):
        source = typst(markdown("# T"), markdown(WIDE), name=name)
        (tmp_path / f"{name}.typ").write_text(source)
    told = r": 1_x-Copy1\.ipynb, cell 2 or 1_x\.ipynb, cell 2: table wider"
    with pytest.raises(SystemExit, match=told):
        compile_report(tmp_path / "r.pdf", sorted(tmp_path.glob("*.typ")))


def test_the_notebooks_are_attached(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "1_x.ipynb").write_text("{}")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    (tmp_path / "1_x.typ").write_text(typst(markdown("# T")), "utf-8")
    compile_report(tmp_path / "r.pdf", [tmp_path / "1_x.typ"])
    pdf = PdfReader(tmp_path / "r.pdf")
    assert pdf.attachments == {"1_x.ipynb": [b"{}"]}
    assert "attached to this PDF" in texts(pdf)[-1]


def test_common_symbols_have_a_glyph(tmp_path):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T", "", "✓ ✗ → ≤ 𝒩 ℝ ½ ★ ☐")), "utf-8")
    compile_report(tmp_path / "r.pdf", [chapter])


def test_an_answer_without_its_evidence_is_named(tmp_path):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T"), code("1", answer("1", "A.", "1"))))
    with pytest.raises(SystemExit, match="no figure or table is called line"):
        compile_report(tmp_path / "r.pdf", [chapter])


def test_the_exporter_needs_nothing_of_the_folder_it_runs_in(
    folder, tmp_path, monkeypatch
):
    shutil.copytree(folder / "chapters", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    compile_report("report.pdf", sorted((tmp_path / "moved").glob("*.typ")))
    assert (tmp_path / "report.pdf").exists()
