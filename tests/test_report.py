"""The route from executed notebooks to the PDF, on two small made-up notebooks."""

import io
import runpy
import shutil

import nbformat.v4 as nbf
import pypdfium2
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from nbconvert.nbconvertapp import NbConvertApp
from pypdf import PdfReader

from report import exporter, files
from report.exporter import TypstExporter, compile_report

MARGIN = 2.4 * 72 / 2.54
PROSE = "A sentence that fills the page and says nothing. " * 12


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


def code(source, *outputs, tags=()):
    metadata = {"tags": list(tags)} if tags else {}
    return nbf.new_code_cell(
        source, outputs=list(outputs), execution_count=1, metadata=metadata
    )


def shown(data, **metadata):
    return nbf.new_output("display_data", data=data, metadata=metadata)


def stream(text, name="stdout"):
    return nbf.new_output("stream", text=text, name=name)


def verdict(item, claim, holds, number):
    return shown(
        {"text/markdown": f"**Verdict ({item}):** {claim}", "text/plain": "no"},
        verdict={"item": item, "claim": claim, "holds": holds, "number": number},
    )


def answer(item, question, said, number):
    return shown(
        {"text/markdown": f"**Answer to {item}.** {said}", "text/plain": "no"},
        answer={"item": item, "question": question, "answer": said, "number": number},
    )


def provenance(**values):
    return shown({"text/markdown": "Recorded.", "text/plain": ""}, provenance=values)


def notebook(*cells, **metadata):
    return nbf.new_notebook(cells=list(cells), metadata=metadata)


def typst(*cells):
    """Return the chapter that the exporter makes of these cells."""
    resources = {"metadata": {"name": "1_x"}, "unique_key": "1_x"}
    return TypstExporter().from_notebook_node(notebook(*cells), resources)[0]


WIDE = "| network | " + " | ".join(f"column {i}" for i in range(9)) + " |\n"
WIDE += "|:--" + "|--:" * 9 + "|\n"
WIDE += ("| H10 H10 R10" + " | 0.1234" * 9 + " |\n") * 80
WIDE = WIDE.rstrip("\n")

FIRST = notebook(
    markdown(
        "# Softmax",
        "",
        "See @fig-line, @tbl-wide, @sec-far and $\\eqref{eq:sum}$, @everyone.",
        "",
        "$$\\sum_i p_i = 1 \\label{eq:sum}$$",
    ),
    markdown("## Test"),
    code(
        "#| label: fig-line\n#| fig-cap: A line with $x^2$,\n#|   continued here.\n"
        '#| fig-alt: "A straight line."\nplot(1)',
        shown({"image/svg+xml": svg(), "image/png": "AAAA", "text/plain": "<SVG>"}),
    ),
    code("judge()", verdict("2.1.1", "order is $\\geq 1.9$", True, "2.003")),
    code(
        "#| label: tbl-wide\n#| tbl-cap: All tries.\n#| echo: false\nhidden_by_echo()",
        shown({"text/markdown": WIDE, "text/html": "<b>no</b>", "text/plain": "no"}),
    ),
    markdown(f"$${'x + ' * 30}x$$"),
    code("z" * 78 + "\nprint()", stream("wide " * 40 + "end\n")),
    code("warn()", stream("UserWarning: rate\n", "stderr")),
    code("say()", answer("2.1.1", "a $w_k$", "It is $x^2$.", "1 of 2")),
    code("record()", provenance(python="3.11.9", seeds="0 to 9", blas="A")),
    authors=[{"name": "Ada Example"}],
)
SECOND = notebook(
    markdown("# Descent", "", "As @fig-line shows."),
    markdown("## Far {#sec-far}", "", *["$$x = 1$$"] * 2, PROSE),
    code("judge()", verdict("2.1.2", "decay helps", False, "0.1 ± 0.2")),
    code("say()", answer("2.1.2", "decay?", "It does not help.", "0.1")),
    code("record()", provenance(python="3.11.9", seeds="7", blas="B")),
    authors=[{"name": "Ada Example"}, {"name": "Émile Zwei"}],
)


def nbconvert(folder, *paths):
    """Run `nbconvert --to report.exporter.TypstExporter` inside this process."""
    NbConvertApp.clear_instance()
    arguments = ["--to", "report.exporter.TypstExporter", "--output-dir", str(folder)]
    NbConvertApp.launch_instance([*arguments, "--log-level=ERROR", *map(str, paths)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Build both chapters and the report by the commands that the Makefile uses."""
    root = tmp_path_factory.mktemp("build")
    paths = [root / "1_softmax.ipynb", root / "2_descent.ipynb"]
    for path, nb in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(nbf.writes(nb), "utf-8")
    nbconvert(root / "chapters", *paths)
    compile_report(root / "report.pdf", chapters(root))
    return root


def chapters(folder):
    return sorted((folder / "chapters").glob("*.typ"))


@pytest.fixture(scope="module")
def pdf(folder):
    return PdfReader(folder / "report.pdf")


@pytest.fixture(scope="module")
def pages(pdf):
    return [" ".join(page.extract_text().split()) for page in pdf.pages]


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
    named = ["Results at a glance", "Softmax", "Test", "Descent", "Far"]
    found = " / ".join(titles(pdf.outline))
    assert [name for name in named if name in found] == named
    assert "What made these numbers" in found


def test_without_authors_the_report_is_its_own_author(tmp_path):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T")), "utf-8")
    compile_report(tmp_path / "r.pdf", [chapter])
    assert PdfReader(tmp_path / "r.pdf").metadata.author == "Deep Learning from Scratch"


def test_title_and_answers_then_contents_then_chapters(pages):
    assert "Results at a glance" in pages[0]
    assert "Contents" in pages[1]
    assert pages[2].startswith("1 Softmax")


def test_the_first_page_answers_and_links_to_where_it_is_shown(pdf, pages):
    assert "2.1.1 a 𝑤𝑘 It is 𝑥2. 1 of 2 1.1, p. " in pages[0]
    assert "2.1.2 decay? It does not help. 0.1 2.1, p. " in pages[0]
    links = [a.get_object() for a in pdf.pages[0]["/Annots"]]
    first, last = (pages[target(pdf, link)] for link in (links[0], links[-1]))
    assert "Answer to 2.1.1. It is" in first
    assert "Answer to 2.1.2. It does not help." in last


def test_every_claim_is_listed_in_the_appendix(pages):
    claims = next(page for page in pages if page.startswith("A Every claim"))
    counted = "Claims tested: 2. Claims that hold: 1, that do not: 1, undecided: 0."
    assert counted in claims
    assert "2.1.2 decay helps does not hold 0.1 ± 0.2 2.1, p. " in claims


@pytest.fixture(scope="module")
def undecided(tmp_path_factory):
    """The pages of a report, a quick one, with claims that are undecided."""
    folder = tmp_path_factory.mktemp("undecided")
    chapter = folder / "1_x.typ"
    judged = {"1": [None], "2": [True, None], "3": [True, True], "4": [False, None]}
    claims = [
        code("judge()", verdict(item, f"claim {item}{letter}", holds, "0 ± 1"))
        for item, verdicts in judged.items()
        for letter, holds in zip("ab", verdicts, strict=False)
    ]
    chapter.write_text(typst(markdown("# T"), *claims), "utf-8")
    compile_report(folder / "r.pdf", [chapter], quick=True)
    pages = PdfReader(folder / "r.pdf").pages
    return [" ".join(page.extract_text().split()) for page in pages]


def test_without_answers_the_first_page_has_none(undecided):
    assert "Results at a glance" not in " ".join(undecided)


def test_undecided_claims_are_counted_apart_in_the_appendix(undecided):
    claims = next(page for page in undecided if page.startswith("A Every claim"))
    counted = "Claims tested: 7. Claims that hold: 3, that do not: 1, undecided: 3."
    assert counted in claims
    assert "2 claim 2b undecided 0 ± 1 1, p. " in claims
    assert "4 claim 4a does not hold 0 ± 1 1, p. " in claims
    assert claims.count("undecided 0 ± 1") == 3


def test_a_quick_trial_is_marked_on_its_title_page(undecided, pages):
    assert "Quick trial: fewer seeds and epochs" in undecided[0]
    assert "Quick trial" not in " ".join(pages)


@pytest.mark.parametrize("quick", [True, False])
def test_the_command_knows_of_a_quick_trial(tmp_path, monkeypatch, quick):
    given = []
    monkeypatch.setattr(files, "QUICK", quick)
    monkeypatch.setattr(exporter, "compile_report", lambda *args: given.extend(args))
    monkeypatch.setattr("sys.argv", ["report", "r.pdf", "1_x.typ", "2_x.typ"])
    runpy.run_module("report", run_name="__main__")
    assert given == ["r.pdf", ["1_x.typ", "2_x.typ"], "figures/benchmark", quick]


def target(pdf, link):
    """Return the index of the page that a link leads to."""
    goal = link["/A"]["/D"] if "/A" in link else link["/Dest"]
    goal = pdf.named_destinations[goal].page if isinstance(goal, str) else goal[0]
    return pdf.get_page_number(goal.get_object())


def test_failed_verdict_is_bold(folder, pages):
    claims = next(n for n, p in enumerate(pages) if p.startswith("A Every claim"))
    document = pypdfium2.PdfDocument(folder / "report.pdf")
    page = document[claims].get_textpage()
    text = page.get_text_range()
    weight = pypdfium2.raw.FPDFText_GetFontWeight
    holds, fails = text.index("holds 2.003"), text.index("does not hold")
    assert weight(page, fails) > weight(page, holds)


def test_provenance_is_merged_in_the_appendix(pages):
    appendix = pages[-1]
    assert "B What made these numbers" in appendix
    assert appendix.count("3.11.9") == 1
    assert "A (chapter 1) B (chapter 2)" in appendix
    assert "seeds 0 to 9 (chapter 1) 7 (chapter 2)" in appendix
    assert "Recorded." not in " ".join(pages[:-1])


def test_a_benchmark_is_shown_in_an_appendix_of_its_own(folder, tmp_path):
    for name in ("benchmark.svg", "benchmark_growth.svg"):
        (tmp_path / name).write_text(svg(), "utf-8")
    (tmp_path / "benchmark.csv").write_text("competitor,ms\nplain,7.5\nlame,\n")
    (tmp_path / "benchmark_machine.csv").write_text("what,value\ncores,1\n")
    report = tmp_path / "report.pdf"
    compile_report(report, chapters(folder), benchmark=tmp_path / "benchmark")
    last = [page.extract_text() for page in PdfReader(report).pages[-2:]]
    text = " ".join(" ".join(last).split())
    assert "competitor ms plain 7.5 lame –" in text
    assert "cores 1" in text
    compile_report(report, chapters(folder), benchmark=tmp_path / "absent")
    assert report.read_bytes() == (folder / "report.pdf").read_bytes()


def test_every_picture_and_formula_has_alternative_text(pdf):
    alternatives = {o["/S"]: o["/Alt"] for o in objects(pdf, "/Alt")}
    assert alternatives["/Figure"] == "A straight line."
    tagged = [o for o in objects(pdf, "/S") if o["/S"] in {"/Figure", "/Formula"}]
    assert len(tagged) >= 4
    assert all(o.get("/Alt") for o in tagged)


def test_references_reach_other_chapters(pages):
    text = " ".join(pages)
    assert "See Figure 1.1, Table 1.1, Section 2.1 and (1.1), @everyone." in text
    assert "As Figure 1.1 shows." in text


def test_only_labelled_equations_are_numbered(pages):
    assert "(2.1)" not in " ".join(pages)


def test_figure_text_is_text_in_matplotlib_fonts(pdf, pages):
    text = " ".join(pages)
    assert "step εχ" in text
    assert "10−3" in "".join(text.split())
    fonts = {str(o["/BaseFont"]).split("+")[-1] for o in objects(pdf, "/BaseFont")}
    assert "DejaVuSans" in fonts


def test_captions(pages):
    text = " ".join(pages)
    assert "Figure 1.1. A line with 𝑥2, continued here." in text
    assert text.index("Table 1.1. All tries.") < text.index("column 0")


def test_options_are_not_shown(pages):
    text = " ".join(pages)
    assert "plot(1)" in text
    assert "#|" not in text
    assert "hidden_by_echo" not in text


def test_long_table_repeats_its_header(pages):
    broken = [page for page in pages if "H10 H10 R10" in page]
    assert len(broken) > 1
    assert all("network" in page for page in broken)
    assert sum(page.count("H10 H10 R10") for page in broken) == 80


def test_nothing_reaches_beyond_the_margins(folder):
    for page in pypdfium2.PdfDocument(folder / "report.pdf"):
        text = page.get_textpage()
        characters = range(text.count_chars())
        inked = [i for i in characters if text.get_text_range(i, 1).strip()]
        boxes = [text.get_charbox(i) for i in inked]
        assert min(box[0] for box in boxes) > MARGIN - 2
        assert max(box[2] for box in boxes) < page.get_width() - MARGIN + 2


def test_78_columns_of_code_stay_on_one_line(pdf):
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert "z" * 78 in text


def test_long_output_lines_are_folded_visibly(pages):
    text = " ".join(pages)
    assert text.count("↪") == 2
    assert "end" in text


def test_rebuild_is_byte_identical_wherever_it_happens(folder, tmp_path):
    shutil.copytree(folder / "chapters", tmp_path / "chapters")
    compile_report(tmp_path / "report.pdf", chapters(tmp_path))
    old, new = (folder / "report.pdf", tmp_path / "report.pdf")
    assert old.read_bytes() == new.read_bytes()


# Failures leave the old report whole --------------------------------------------------


@pytest.fixture
def old(tmp_path):
    report = tmp_path / "report.pdf"
    report.write_bytes(b"old")
    return report


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (markdown("See @fig-nowhere."), "label `<fig-nowhere>` does not exist"),
        (markdown("$\\eqref{eq:none}$"), "label `<eq:none>` does not exist"),
        (code("1", stream("\u6f22")), "could not be displayed"),
    ],
)
def test_typst_failure_is_one_line(old, tmp_path, monkeypatch, cell, reason):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T"), cell), "utf-8")
    monkeypatch.setattr("sys.argv", ["report", str(old), str(chapter)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("report", run_name="__main__")
    assert "1_x.ipynb, cell 2: " in stopped.value.code
    assert reason in stopped.value.code
    assert "\n" not in stopped.value.code
    assert old.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [chapter, old]


def test_equation_wider_than_the_text_is_refused(old, tmp_path):
    chapter = tmp_path / "1_x.typ"
    chapter.write_text(typst(markdown("# T", "", f"$${'x+' * 90}x$$")), "utf-8")
    with pytest.raises(SystemExit, match="equation wider than the text: x\\+x"):
        compile_report(old, [chapter])
    assert old.read_bytes() == b"old"


PICTURE = shown({"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"})
FIG = "#| label: fig-x\n#| fig-cap: C\n"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (markdown("$\\undefinedmacro$"), "cannot read the formula \\undefinedmacro"),
        (markdown("<img src='x.png'>"), "raw HTML cannot be printed"),
        (code("1", PICTURE), "a picture without alternative text"),
        (code(FIG + "1", PICTURE), "a picture without alternative text"),
        (code(FIG + "#| fig-alt: A\n1"), "fig-x wants exactly one output"),
        (code("#| label: fig-x\n1", PICTURE), "fig-x has no caption"),
        (code("#| tbl-cap: C\n1"), "a caption without a label"),
        (code("#| figcap: C\n1"), "unknown option #| figcap: C"),
    ],
)
def test_unprintable_cell_is_named_in_one_line(cell, reason):
    with pytest.raises(SystemExit) as stopped:
        typst(markdown("# T"), cell)
    assert stopped.value.code.startswith("1_x.ipynb, cell 2: " + reason)
    assert "\n" not in stopped.value.code


def test_nbconvert_stops_without_a_chapter(tmp_path):
    path = tmp_path / "1_x.ipynb"
    path.write_text(nbf.writes(notebook(markdown("<b>no</b>"))), "utf-8")
    with pytest.raises(SystemExit, match=r"^1_x.ipynb, cell 1: raw HTML"):
        nbconvert(tmp_path / "chapters", path)
    assert not (tmp_path / "chapters" / "1_x.typ").exists()


def test_warnings_are_marked_in_the_pdf(pages):
    assert "warn() Written to standard error UserWarning: rate" in " ".join(pages)


# Outputs and tags ---------------------------------------------------------------------


def test_stderr_is_shown_and_printed(capsys):
    text = typst(
        code("1", stream("UserWarning: rate\n", "stderr")),
        code("1", stream("\r 10%|#  | 1/9 [00:00<00:01, 9it/s]\r", "stderr")),
        code("1", stream("\r 90%|#  | 8/9 [00:01<00:00]Overflow!\n", "stderr")),
    )
    assert "```stderr\nUserWarning: rate\n```" in text
    assert "```stderr\nOverflow!\n```" in text
    assert "it/s" not in text
    assert "%|" not in text
    assert capsys.readouterr().err.splitlines() == [
        "1_x.ipynb, cell 1 wrote to stderr: UserWarning: rate",
        "1_x.ipynb, cell 3 wrote to stderr: Overflow!",
    ]


def test_text_before_a_carriage_return_and_widgets_are_dropped():
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"}
    text = typst(code("1", stream("1 of 2\r"), stream("2 of 2\n"), shown(widget)))
    assert "```\n2 of 2\n```" in text
    assert "1 of 2" not in text
    assert "HBox" not in text


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"text/markdown": "**M**", "text/html": "<i>H</i>"}, "#strong[M]"),
        ({"text/html": "<table><tr><td>H</td></tr></table>"}, "[H]"),
        ({"text/latex": "$\\alpha$", "text/plain": "P"}, "$alpha$"),
        ({"text/plain": "a  b\n1  2"}, "```\na  b\n1  2\n```"),
    ],
)
def test_the_best_form_of_an_output_is_chosen(data, wanted):
    text = typst(code("1", shown({"text/plain": "P"} | data)))
    assert wanted in text
    assert "\nP\n" not in text
    assert "#emph" not in text


def test_source_code_in_markdown_is_set_as_code():
    text = typst(code("1", shown({"text/markdown": "```python\ndef f():\n```"})))
    assert "```python\ndef f():\n```" in text


def test_tables_take_the_width_they_need_and_no_number():
    row = "| a | " + "b " * 100 + "|\n|:--|--:|\n| 1 | 2 |"
    text = typst(markdown(row))
    assert "columns: 2," in text
    assert "#figure" not in text


def test_tags_hide_cells_inputs_and_outputs():
    text = typst(
        code("in1", stream("out1"), tags=["remove-cell"]),
        code("in2", stream("out2"), tags=["hide-input"]),
        code("in3", stream("out3"), tags=["hide-output"]),
    )
    found = {w for w in ("in1", "out1", "in2", "out2", "in3", "out3") if w in text}
    assert found == {"out2", "in3"}


def test_empty_and_raw_cells_leave_no_trace():
    empty = typst(code(""), markdown(""), nbf.new_raw_cell("raw"))
    assert "```" not in empty
    assert "raw" not in empty


# Mathematics --------------------------------------------------------------------------

FORMULAS = {
    r"\odot": "$dot.o$",
    r"\bigotimes_i": "$times.o.big_i$",
    r"A\ominus B": "$A minus.o B$",
    r"A\cap B": "$A inter B$",
    r"\operatorname{diag}x": '$op("diag") x$',
    r"\operatorname*{arg\,min}_x": '$op("arg min", limits: #true)_x$',
    r"\|x\|_2": "$lr(bar.v.double x bar.v.double)_2$",
    r"\left\|x\right\|^2": "$lr(bar.v.double x bar.v.double)^2$",
    r"\bigl(x\bigr)": r"$\( x \)$",
    r"a\!b": "$a #h(-0.1667em) b$",
    r"a\;b": "$a thick b$",
    r"|x|": '$class("normal", |) x class("normal", |)$',
    r"\begin{vmatrix}a\end{vmatrix}": '$mat(delim: "|", a)$',
    r"\begin{Vmatrix}a\end{Vmatrix}": '$mat(delim: "‖", a)$',
}


@pytest.fixture(scope="module")
def formulas():
    """The Typst of all formulas, one line each."""
    text = typst(*(markdown(f"${tex}$") for tex in FORMULAS))
    lines = [line for line in text.splitlines() if line.startswith("#math")]
    return dict(zip(FORMULAS, lines, strict=True))


@pytest.mark.parametrize("tex", FORMULAS)
def test_formula_that_pandoc_alone_gets_wrong(formulas, tex):
    assert f", {FORMULAS[tex]}.body);" in formulas[tex]


def test_typst_can_set_every_formula(formulas, tmp_path):
    chapter = tmp_path / "1_x.typ"
    text = "#let authors = ()\n= T\n" + "\n\n".join(formulas.values())
    chapter.write_text(text, "utf-8")
    compile_report(tmp_path / "r.pdf", [chapter])
    text = PdfReader(tmp_path / "r.pdf").pages[2].extract_text()
    assert [s for s in "⊙⨂⊖∩‖" if s not in text] == []


def test_a_formula_may_stand_before_a_bracket_or_a_dot():
    text = typst(markdown("$f$(x) and $g$.body"))
    assert "$f$.body);\\(x)" in text
    assert "$g$.body);.body" in text
