"""A chapter as a page for screens: nbconvert's own HTML of an executed notebook.

Figures and tables have the numbers that they have in the PDF, and links lead to them,
also from one page to another. Every page begins with links to all of them. Formulas are
MathML, which browsers set themselves, with no network.
"""

import re
from pathlib import Path

import nbformat
import pypandoc
from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

from report.files import ROOT
from typeset.markdown import protect

CAPTION = re.compile(r"^\*\*(Figure|Table) `(\w+)`\.\*\*", re.MULTILINE)
FORMULA = re.compile(r"`([0-9a-f]+)`\{=(math|display)\}")  # by protect
REFERENCE = re.compile(r"\b(Figure|Table)\s`(\w+)`")


class Page(HTMLExporter):
    """An executed chapter as HTML; `folder` has all chapters, which number it."""

    folder = ROOT / "notebooks"

    @property
    def default_config(self):
        """Leave out what the PDF leaves out."""
        how = {"enabled": True, "remove_cell_tags": {"remove-cell"}}
        how |= {"remove_input_tags": {"folded"}}
        how |= {"remove_all_outputs_tags": {"hide-output"}}
        config = Config({"TagRemovePreprocessor": how})
        config.HTMLExporter.require_js_url = config.HTMLExporter.jquery_url = ""
        config.merge(super().default_config)
        return config

    def from_notebook_node(self, nb, resources=None, **kwargs):
        """Return the page (nbconvert's contract)."""
        numbers, titles = survey(sorted(self.folder.glob("[0-9]*.ipynb")))
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = formulas(link(cell.source, numbers))
            for output in cell.get("outputs", ()):
                if "text/markdown" in output.get("data", {}):
                    said = output.data["text/markdown"]
                    output.data["text/markdown"] = formulas(said)
            if cell.get("metadata", {}).get("jupyter", {}).get("source_hidden"):
                cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "folded"]
        ways = " · ".join(f"[{title}]({stem}.html)" for stem, title in titles.items())
        nb.cells.insert(0, new_markdown_cell(ways))
        return super().from_notebook_node(nb, resources, **kwargs)


def survey(chapters):
    """Return {name: (page, "Figure 1.2")} of what is captioned, and {page: title}."""
    numbers, titles = {}, {}
    for number, path in enumerate(chapters, 1):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
        titles[Path(path).stem] = re.search(r"^# (.*)", text, re.MULTILINE)[1]
        count = {"Figure": 0, "Table": 0}
        for kind, name in CAPTION.findall(text):
            count[kind] += 1
            numbers[name] = Path(path).stem, f"{kind} {number}.{count[kind]}"
    return numbers, titles


def link(text, numbers):
    """Return Markdown with numbers for names: anchors in captions, links elsewhere."""

    def caption(found):
        return f'<a id="{found[2]}"></a>**{numbers[found[2]][1]}.**'

    def reference(found):
        page, number = numbers[found[2]]
        return f"[{number}]({page}.html#{found[2]})"

    return REFERENCE.sub(reference, CAPTION.sub(caption, text))


def formulas(text):
    """Return Markdown with MathML in the place of its formulas."""
    text = protect(text)
    found = dict.fromkeys(FORMULA.findall(text))
    if not found:
        return text
    sources = [
        f"$${tex}$$" if kind == "display" else f"${tex.strip()}$"
        for tex, kind in ((bytes.fromhex(code).decode(), kind) for code, kind in found)
    ]
    made = pypandoc.convert_text(
        "\n\n".join(sources), "html", "markdown", ["--mathml", "--wrap=none"]
    )
    made = re.sub(r"<annotation.*?</annotation>", "", made, flags=re.DOTALL)
    pictures = re.findall(r"<math.*?</math>", made, re.DOTALL)
    for key, picture in zip(found, pictures, strict=True):
        found[key] = " ".join(picture.split())
    return FORMULA.sub(lambda at: found[at[1], at[2]], text)
