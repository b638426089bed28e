"""Chapters as HTML: their numbers are those of the PDF, and every link leads there."""

import re
from pathlib import Path

import nbformat
import nbformat.v4 as nbf
import pytest

from typeset import web

ROOT = Path(__file__).parent.parent
HIDDEN = {"jupyter": {"source_hidden": True}}


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Two chapters as HTML, by the names of their pages."""
    chapters = {
        "1_one": [
            nbf.new_markdown_cell("# One\n\nSee Table\n`t` and Figure `far`."),
            nbf.new_code_cell("shown = 1", outputs=[]),
            nbf.new_code_cell("folded = 2", metadata=HIDDEN),
            nbf.new_code_cell("gone = 3", metadata={"tags": ["remove-cell"]}),
            nbf.new_markdown_cell("**Figure `f`.** First.\n\n**Table `t`.** Words."),
        ],
        "2_two": [nbf.new_markdown_cell("# Two\n\n**Figure `far`.** Away.")],
    }
    for name, cells in chapters.items():
        nbformat.write(nbf.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(web.Page, "folder", tmp_path)
    made = {p.stem: web.Page().from_filename(p)[0] for p in tmp_path.glob("*.ipynb")}
    return made


def test_names_become_numbers_and_links(pages):
    one = pages["1_one"]
    assert 'See <a href="1_one.html#t">Table 1.1</a>' in one
    assert '<a href="2_two.html#far">Figure 2.1</a>' in one
    assert '<a id="t"></a><strong>Table 1.1.</strong> Words.' in one
    assert '<a id="far"></a><strong>Figure 2.1.</strong>' in pages["2_two"]


def test_every_page_leads_to_all(pages):
    for page in pages.values():
        assert '<a href="1_one.html">One</a> · <a href="2_two.html">Two</a>' in page


def test_code_is_shown_as_in_the_pdf(pages):
    text = re.sub(r"<[^>]*>", "", pages["1_one"].split("<body")[1])
    assert "shown = 1" in text
    assert "folded" not in text
    assert "gone" not in text


def test_the_chapters_have_no_broken_links():
    chapters = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    pages = {f"{p.stem}.html": web.Page().from_filename(p)[0] for p in chapters}
    links = [
        link
        for page in pages.values()
        for link in re.findall(r'href="(\w+\.html(?:#\w+)?)"', page)
    ]
    assert len(links) > 60
    for page, _, place in (link.partition("#") for link in links):
        assert not place or f'<a id="{place}"></a>' in pages[page], (page, place)
    assert not any(re.search(r"(Figure|Table) <code>", p) for p in pages.values())
    for name, page in pages.items():
        assert page.count("<math") > 3, name
        assert "$$" not in re.sub(r"<script.*?</script>", "", page, flags=re.S), name
