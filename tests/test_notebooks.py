"""Notebooks keep to their form, and to what they promise each other."""

import ast
import asyncio
import platform
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import nbformat
import nbformat.v4 as nbf
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.sign import NotebookNotary

from playground import lab
from report import claims
from typeset import strip

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
EXTRA = sorted((ROOT / "notebooks" / "supplement").glob("[0-9]*.ipynb"))
NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in CHAPTERS + EXTRA}
CODE = re.compile(r"^(```+|~~~+).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
CAPTION = re.compile(r"\*\*(?:Figure|Table) `(\w+)`\.\*\* ")
REFERENCE = re.compile(r"\b(?:Figure|Table)\s`(\w+)`")


def faults(nb):
    """Return what is wrong with the form of a notebook, as (number of cell, fault)."""
    found = []
    for number, cell in enumerate(nb.cells, 1):
        code = cell.cell_type == "code"
        prose = "" if code else CODE.sub("", cell.source)
        titles = re.findall(r"^# ", prose, re.MULTILINE)
        rules = {
            "it has outputs": code and cell.outputs,
            "it has an execution count": code and cell.execution_count is not None,
            "a line is longer than 78": code
            and any(len(line) > 78 for line in cell.source.splitlines()),
            "a #| line, which nothing reads": code and cell.source.startswith("#|"),
            "mathematics in a heading": re.search(r"^#+ .*\$", prose, re.MULTILINE),
            "a heading of the third level": re.search(r"^###", prose, re.MULTILINE),
            "not one title, in the first cell": len(titles) != (number == 1),
        }
        found += [(number, rule) for rule, broken in rules.items() if broken]
    return found


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (nbf.new_code_cell("1", outputs=[nbf.new_output("stream")]), "it has outputs"),
        (nbf.new_code_cell("1", execution_count=1), "it has an execution count"),
        (nbf.new_code_cell("x" * 79), "a line is longer than 78"),
        (nbf.new_code_cell("#| echo: false\n1"), "a #| line, which nothing reads"),
        (nbf.new_markdown_cell("## Loss $F$"), "mathematics in a heading"),
        (nbf.new_markdown_cell("### Third"), "a heading of the third level"),
        (nbf.new_markdown_cell("# Second"), "not one title, in the first cell"),
        (nbf.new_markdown_cell("```\n# $a$\n```\n`# b`"), None),
    ],
)
def test_a_fault_of_form_is_found(cell, fault):
    nb = nbf.new_notebook(cells=[nbf.new_markdown_cell("# Title"), cell])
    assert faults(nb) == ([(2, fault)] if fault else [])


def test_the_form_of_all_notebooks():
    found = {name: faults(nb) for name, nb in NOTEBOOKS.items()}
    assert {name: some for name, some in found.items() if some} == {}


# Figures and tables -------------------------------------------------------------------


def reference_faults(notebooks):
    """Return what is captioned twice, never spoken of, or spoken of and not there."""
    texts = [c.source for nb in notebooks for c in nb.cells if c.cell_type != "code"]
    captions = [name for text in texts for name in CAPTION.findall(text)]
    spoken = {
        name for text in texts for name in REFERENCE.findall(CAPTION.sub("", text))
    }
    twice = [f"{x} is captioned twice" for x, n in Counter(captions).items() if n > 1]
    unused = [f"{x} is never referred to" for x in sorted({*captions} - spoken)]
    return twice + unused + [f"{x} is not there" for x in sorted(spoken - {*captions})]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("As Figure\n`x` shows.", None),
        ("Nothing.", "x is never referred to"),
        ("Figure `x`, Table `y`.", "y is not there"),
        ("**Figure `x`.** Again.", "x is captioned twice"),
    ],
)
def test_a_fault_of_reference_is_found(text, fault):
    cells = map(nbf.new_markdown_cell, ["**Figure `x`.** C.", "Figure `x`" * 0, text])
    found = reference_faults([nbf.new_notebook(cells=list(cells))])
    assert found[:1] == ([fault] if fault else [])


@pytest.mark.parametrize("paths", [CHAPTERS, EXTRA], ids=["report", "supplement"])
def test_every_figure_and_table_is_captioned_and_referred_to(paths):
    assert reference_faults([NOTEBOOKS[path.name] for path in paths]) == []


def test_names_of_figures_and_tables_are_unique_over_both_documents():
    texts = [c.source for nb in NOTEBOOKS.values() for c in nb.cells]
    names = Counter(name for text in texts for name in CAPTION.findall(text))
    assert len(names) > 20
    assert [name for name, count in names.items() if count > 1] == []


def sections(paths):
    """Return {number: title} of the sections of a document: "2", "2.1", …"""
    found = {}
    for chapter, path in enumerate(paths, 1):
        cells = [c for c in NOTEBOOKS[path.name].cells if c.cell_type == "markdown"]
        text = "\n\n".join(CODE.sub("", cell.source) for cell in cells)
        found[f"{chapter}"] = path.stem
        titles = re.findall(r"^## (.+)", text, re.MULTILINE)
        found |= {f"{chapter}.{n}": title for n, title in enumerate(titles, 1)}
    return found


def test_what_is_said_to_be_in_the_supplement_is_there():
    known, spoken = sections(EXTRA), set()
    for path in CHAPTERS:
        for cell in NOTEBOOKS[path.name].cells:
            text = " ".join(cell.source.split())
            places = re.findall(
                r"supplement, sections? ((?:S[\d.]*\d(?:, | and )?)+)", text
            )
            spoken |= {n for place in places for n in re.findall(r"S([\d.]*\d)", place)}
    assert spoken
    assert spoken - set(known) == set()


# Code ---------------------------------------------------------------------------------


def code(nb):
    """Return the Python of a notebook."""
    source = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
    return TransformerManager().transform_cell(source)


def definitions(python):
    """Return the names of the functions and classes that Python code defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {n.name for n in ast.walk(ast.parse(python)) if isinstance(n, kinds)}


def test_nothing_of_helpers_and_report_is_defined_again():
    modules = [p for room in ("helpers", "report") for p in (ROOT / room).rglob("*.py")]
    trees = [ast.parse(path.read_text("utf-8")) for path in modules]
    ours = {n.name for tree in trees for n in tree.body if hasattr(n, "name")}
    assert "softmax" in ours
    found = {name: definitions(code(nb)) & ours for name, nb in NOTEBOOKS.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_what_is_read_is_written_by_the_notebook_named_and_known_to_make():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (handed,) = re.findall(r"^handed := .*?,(.*)\)$", makefile, re.MULTILINE)
    read, sources = [], {Path(n).stem: code(nb) for n, nb in NOTEBOOKS.items()}
    for name, source in sources.items():
        for what, by in re.findall(r'read_csv\(\s*"(\w+)",\s*made_by="(\w+)"', source):
            assert re.search(rf'"{what}"', sources[by]), (name, what, by)
            read.append((name, what, by))
    chapters = {path.stem for path in CHAPTERS}
    by_chapters = {f"{what}.csv" for name, what, _ in read if name in chapters}
    assert by_chapters == set(handed.split())
    assert {by for name, _, by in read if name in chapters} == {"5_five_architectures"}


def test_the_gain_called_largest_is_the_largest_whatever_its_interval():
    gains = {
        ("SwissRoll", "residual"): claims.Comparison(22.41, -42.68, 87.51, 0),
        ("Peaks", "plain"): claims.Comparison(5.24, -12.86, 23.35, 0),
        ("GMM", "plain"): claims.Comparison(0.62, -0.90, 2.15, 0),
    }
    cells = (cell.source for cell in NOTEBOOKS["5_five_architectures.ipynb"].cells)
    (source,) = (source for source in cells if "largest gain" in source)
    names = {
        "accuracies": SimpleNamespace(gains=lambda *_: gains),
        "claims": claims,
        "train_all": lambda *_, **__: None,
        "table": {"error": [1.0, 2.0, 3.0]},
        "trained": gains,
        "ARCHITECTURES": None,
        "EPOCHS": 2,
    }
    *before, finding = ast.parse(source).body
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    said = eval(compile(ast.Expression(finding.value), "cell", "eval"), names)
    number = said.metadata["verdict"]["number"]
    assert number.startswith("largest gain +22.41 (−42.68 to +87.51) points (SwissRoll")


def test_notebooks_are_committed_as_strip_leaves_them():
    for path in CHAPTERS + EXTRA:
        text = path.read_text("utf-8")
        nb = strip.strip(nbformat.reads(text, as_version=4))
        assert nbformat.writes(nb) + "\n" == text, path.name


def test_strip_takes_what_a_session_left(tmp_path):
    left = nbf.new_output("stream", text="1")
    cell = nbf.new_code_cell("1", outputs=[left], execution_count=3)
    cell.metadata = {"tags": ["a"], "execution": {"x": "1"}, "jupyter": {"k": True}}
    metadata = {
        "authors": [{"name": "A"}],
        "language_info": {"name": "python", "version": "3"},
    }
    nbformat.write(
        nbf.new_notebook(cells=[cell], metadata=metadata), tmp_path / "x.ipynb"
    )
    strip.main(tmp_path)
    nb = nbformat.read(tmp_path / "x.ipynb", as_version=4)
    assert (nb.cells[0].outputs, nb.cells[0].execution_count) == ([], None)
    assert nb.cells[0].metadata == {"tags": ["a"], "jupyter": {"k": True}}
    assert nb.metadata["authors"] == [{"name": "A"}]
    assert nb.metadata["language_info"] == {"name": "python"}


def test_opening_and_saving_in_jupyterlab_changes_nothing(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(CHAPTERS[0].read_text("utf-8"), "utf-8")
    before = path.read_text("utf-8")
    notary = NotebookNotary(data_dir=str(tmp_path))
    contents = lab.Contents(root_dir=str(tmp_path), notary=notary)

    async def open_and_save():
        model = await contents.get("x.ipynb")
        language = model["content"]["metadata"]["language_info"]
        assert language["version"] == platform.python_version()
        await contents.save(model, "x.ipynb")

    with closing(notary.store):
        asyncio.run(open_and_save())
    assert path.read_text("utf-8") == before


# What a reader finds ------------------------------------------------------------------

PLAYGROUND = ROOT / "notebooks" / "playground.ipynb"


@pytest.mark.parametrize("path", [*CHAPTERS, *EXTRA, PLAYGROUND], ids=lambda p: p.stem)
def test_without_the_project_the_first_cell_says_what_is_missing(path, monkeypatch):
    cells = nbformat.read(path, as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="get all of it, and open the note"):
        exec(first, {})


@pytest.mark.parametrize("name", ["2_sgd", "5_five_architectures", "6_200_samples"])
def test_one_network_is_looked_at_before_the_long_run(name):
    """It is seen in JupyterLab only: what it shows depends on the machine's speed."""
    cells = NOTEBOOKS[f"{name}.ipynb"].cells
    (look,) = (n for n, cell in enumerate(cells) if cell.id == "look")
    assert "watch" in cells[look].source
    assert "Live(one)" in cells[look].source
    assert all("remove-cell" in cells[n].metadata.tags for n in (look - 1, look))
    long = [
        n
        for n, cell in enumerate(cells)
        if re.search(r"run_(all|tries)\(", cell.source)
    ]
    assert look < min(long)
