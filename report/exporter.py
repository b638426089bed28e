"""Executed notebooks become one PDF.

`TypstExporter` is an nbconvert exporter: pandoc turns one executed notebook into a
Typst chapter (`report.lua` does the typesetting of cells). `compile_report` binds the
chapters into one tagged PDF (`report.typ` is the page design). Both packages come as
plain wheels; nothing else has to be installed.
"""

import json
import re
import sys
from pathlib import Path

import matplotlib
import nbformat
import pypandoc
import typst
from nbconvert.exporters import Exporter
from nbconvert.filters import strip_ansi
from traitlets.config import Config

from report import files

HERE = Path(__file__).resolve().parent
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
MARKDOWN = "ipynb+citations+header_attributes"
PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
TEXTS = ("text/markdown", "text/html", "text/latex", "text/plain")
HANDED = ("verdict", "answer", "provenance")
WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS_BAR = re.compile(r"[^\n|]*\d+%\|[^|\n]*\|[^\]\n]*\]|\d+it \[[^\]\n]*\]|\r")


class TypstExporter(Exporter):
    """An executed notebook as a Typst chapter, its pictures beside it.

    Exits with one line naming notebook and cell when a cell cannot be typeset.
    """

    file_extension = ".typ"

    @property
    def default_config(self):
        """Merge broken-up streams and write pictures to files of their own."""
        wanted = ("CoalesceStreamsPreprocessor", "ExtractOutputPreprocessor")
        config = Config({name: {"enabled": True} for name in wanted})
        config.merge(super().default_config)
        return config

    def from_notebook_node(self, nb, resources=None, **kwargs):
        """Return the chapter's Typst source and its pictures (nbconvert's contract)."""
        nb, resources = super().from_notebook_node(nb, resources, **kwargs)
        name = resources["metadata"]["name"]
        for number, cell in enumerate(nb.cells, 1):
            if cell.cell_type == "code":
                cell.outputs = [out for out in map(printable, cell.outputs) if out]
                warn_of_stderr(cell.outputs, f"{name}.ipynb, cell {number}")
        return pandoc(nb, name), resources


def warn_of_stderr(outputs, cell):
    """Print to the console what the author must not miss."""
    for output in outputs:
        if output.get("name") == "stderr":
            print(f"{cell} wrote to stderr: {output.text.strip()}", file=sys.stderr)


def printable(output):
    """Reduce an output to its one best form; None when it has none on paper."""
    if output.output_type == "stream":
        noise = PROGRESS_BAR if output.name == "stderr" else "\r"
        output.text = re.sub(noise, "", strip_ansi(output.text))
        return output if output.text.strip() else None
    if output.output_type == "error":
        output.traceback = [strip_ansi(line) for line in output.traceback]
        return output
    output.data = best(output.data, output.metadata)
    return output if output.data else None


def best(data, metadata):
    """Choose from a MIME bundle: a picture's file, else Markdown, ..., plain text.

    What the output's metadata hands to the report, the keys HANDED, goes ahead of the
    text as a fenced block of JSON.
    """
    if WIDGET in data:
        return {}
    for kind in PICTURES:
        if kind in data:
            return {"text/markdown": f"![]({metadata['filenames'][kind]})"}
    kind = next((kind for kind in TEXTS if kind in data), None)
    handed = [key for key in HANDED if key in metadata]
    blocks = [f"~~~ {key}\n{json.dumps(metadata[key])}\n~~~\n\n" for key in handed]
    return {kind: "".join(blocks) + strip_ansi(data[kind])} if kind else {}


def pandoc(nb, name):
    """Convert with the Lua filter; exit with one line when a cell cannot be set."""
    how = ["--ipynb-output=all", "--wrap=none", f"--lua-filter={HERE / 'report.lua'}"]
    try:
        return pypandoc.convert_text(
            nbformat.writes(nb), "typst", MARKDOWN, how, verify_format=False
        )
    except RuntimeError as error:
        reason = re.search(r"cell \d+: .*", str(error))
        reason = reason.group() if reason else " ".join(str(error).split())
        sys.exit(f"{name}.ipynb, {reason}")


def compile_report(report, chapters, benchmark=None, quick=False):
    """Compile chapters into `report`, which is replaced only by a complete PDF.

    An appendix shows `benchmark`.csv, .svg, _growth.svg and _machine.csv, the files
    that `make bench` leaves, if they are there. A `quick` trial is marked as such on
    the title page. The same chapters give the same bytes. Exits with one line when
    Typst fails.
    """
    inputs = {"chapters": json.dumps([str(Path(c).resolve()) for c in chapters])}
    if quick:
        inputs["quick"] = "yes"
    if benchmark and Path(f"{benchmark}.csv").exists():
        inputs["benchmark"] = str(Path(benchmark).resolve())
    try:
        pdf = typst.compile(
            HERE / "report.typ",
            root="/",
            sys_inputs=inputs,
            font_paths=[FONTS],
            ignore_system_fonts=True,
            pdf_standards="ua-1",
            timestamp=0,
        )
    except typst.TypstError as error:
        sys.exit(f"{report} not written: {place(error.diagnostic)}{error.message}")
    files.write(report, pdf)


def place(diagnostic):
    """Name the notebook and cell of a Typst diagnostic, or its file and line."""
    found = re.search(r"┌─ (.+?):(\d+):", diagnostic)
    if not found:
        return ""
    path, line = Path(found[1]), int(found[2])
    lines = path.read_text("utf-8").splitlines()[:line] if path.is_file() else []
    cells = re.findall(r"^// cell (\d+)$", "\n".join(lines), re.MULTILINE)
    if not cells:
        return f"{path.name}, line {line}: "
    return f"{path.stem}.ipynb, cell {cells[-1]}: "
