"""Executed notebooks become one PDF.

`TypstExporter` is an nbconvert exporter: pandoc turns one executed notebook into a
Typst chapter (`report.lua` does the typesetting of cells). `compile_report` binds the
chapters into one tagged PDF (`report.typ` is the page design). Both packages come as
plain wheels; nothing else has to be installed.
"""

import base64
import json
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import matplotlib
import nbformat
import pypandoc
import typst
from fontTools.ttLib import TTFont
from nbconvert.exporters import Exporter
from traitlets.config import Config

from report import files
from typeset.markdown import protect
from typeset.outputs import printable

HERE = Path(__file__).resolve().parent
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
PICTURES = [
    ("png", re.compile(rb"\x89PNG")),
    ("jpg", re.compile(rb"\xff\xd8\xff")),
    ("gif", re.compile(rb"GIF8")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("svg", re.compile(rb"\s*(<\?xml|<!DOCTYPE svg|<!--|<svg\b)")),
]
PICTURE = re.compile(r'(?<=#image\(")picture:(\d+):([0-9a-f]*)')  # by report.lua


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
        folder = source_folder(Path(resources["metadata"].get("path") or "notebooks"))
        pictures = Pictures(nb, folder, name, resources.setdefault("outputs", {}))
        for number, cell in enumerate(nb.cells, 1):
            if cell.cell_type == "code":
                cell.outputs = printable(cell.outputs, f"{name}.ipynb, cell {number}")
            elif cell.cell_type == "markdown":
                cell.source = protect(cell.source)
        return PICTURE.sub(pictures.keep, pandoc(nb, name)), resources


def source_folder(executed):
    """Return the folder of a notebook that was executed to a folder of build/."""
    for built in (files.ROOT / "build" / "quick", files.ROOT / "build"):
        if executed.resolve().is_relative_to(built / "executed"):
            inside = executed.resolve().relative_to(built / "executed")
            return files.ROOT / "notebooks" / inside
    return executed


class Pictures:
    """The pictures that cells name: attachments, files beside the notebook, data."""

    def __init__(self, nb, folder, name, kept):
        """Take the attachments of a notebook; `kept` collects {file name: bytes}."""
        self.attached = [cell.pop("attachments", {}) for cell in nb.cells]
        self.folder, self.name, self.kept = folder, name, kept

    def keep(self, match):
        """Keep a picture and return the name of its file beside the chapter.

        Exits with one line for a picture that is remote, missing or none.
        """
        cell, target = int(match[1]), unquote(bytes.fromhex(match[2]).decode())
        if target in self.kept and re.fullmatch(r"[\w.-]+", target):
            return target
        content, place = self.read(cell, target), f"{self.name}.ipynb, cell {cell}"
        suffix = next((s for s, begins in PICTURES if begins.match(content)), None)
        if suffix is None:
            sys.exit(
                f"{place}: {target[:80]} is no PNG, JPEG, GIF, WebP or SVG picture"
            )
        name = f"{self.name}-{cell}-{len(self.kept) + 1}.{suffix}"
        self.kept[name] = content
        return name

    def read(self, cell, target):
        """Return the bytes of an attachment or of a file relative to the notebook."""
        place = f"{self.name}.ipynb, cell {cell}"
        if target in self.kept:
            return self.kept[target]
        if target.startswith("attachment:"):
            bundle = self.attached[cell - 1].get(target.removeprefix("attachment:"))
            if bundle:
                return base64.b64decode(next(iter(bundle.values())))
        elif re.match(r"data:image/[\w+.-]+;base64,", target):
            return base64.b64decode(target.split(",", 1)[1])
        elif re.match(r"\w+:", target):
            sys.exit(
                f"{place}: the picture {target[:80]} is not on this computer: save it "
                "beside the notebook and name it by its path from there"
            )
        elif found := self.find(target):
            return found.read_bytes()
        sys.exit(
            f"{place}: there is no picture {target[:80] or 'without a name'} in the "
            "folder of the notebook or in the project"
        )

    def find(self, target):
        """Return the path of a picture in the notebook's folder or the project."""
        path = (self.folder / target).resolve()
        inside = [
            r for r in (self.folder, files.ROOT) if path.is_relative_to(r.resolve())
        ]
        try:
            return path if inside and path.is_file() else None
        except OSError:  # a name that no file can have
            return None


def pandoc(nb, name):
    """Convert with the Lua filter; exit with one line when a cell cannot be set."""
    how = ["--ipynb-output=all", "--wrap=none", f"--lua-filter={HERE / 'report.lua'}"]
    how += [f"--metadata=chapter:{name}"]
    try:
        return pypandoc.convert_text(
            nbformat.writes(nb), "typst", "ipynb+raw_markdown", how, verify_format=False
        )
    except RuntimeError as error:
        reason = re.search(r"cell \d+: .*", str(error))
        reason = reason.group() if reason else " ".join(str(error).split())
        sys.exit(f"{name}.ipynb, {reason}")


def compile_report(report, chapters, others=(), **inputs):
    """Compile chapters into `report`, which is replaced only by a complete PDF.

    `others` are chapters of the other document, whose claims are listed at the end.
    `inputs` are strings for report.typ: `quick` and `supplement`, whatever they say,
    mark a trial and the second of the two documents. The same chapters give the same
    bytes. Notebooks that chapters were made of are attached. Returns the number of
    pages; exits with one line when Typst fails.
    """
    paths = [Path(chapter).resolve() for chapter in chapters]
    sources = [files.ROOT / "notebooks", files.ROOT / "notebooks" / "supplement"]
    made_of = [f / f"{path.stem}.ipynb" for path in paths for f in sources]
    others = [Path(path).resolve() for path in others]
    root = Path(os.path.commonpath([path.parent for path in (*paths, *others)]))
    require_own_names(report, paths)
    with TemporaryDirectory(dir=root) as name:  # Typst reads nothing outside of root
        folder = Path(name)
        shutil.copy(HERE / "report.typ", folder)
        notebooks = [shutil.copy(path, folder) for path in made_of if path.exists()]
        lists = {"chapters": paths, "others": others, "notebooks": notebooks}
        given = {
            kind: json.dumps([f"/{Path(path).relative_to(root)}" for path in some])
            for kind, some in lists.items()
        }
        try:
            pdf = typst.compile(
                folder / "report.typ",
                root=root,
                sys_inputs=given | inputs,
                font_paths=[FONTS],
                ignore_system_fonts=True,
                pdf_standards="ua-1",
                timestamp=0,
            )
        except typst.TypstError as error:
            sys.exit(f"{report} not written: {explain(error, paths)}")
    files.write(report, pdf)
    return int(re.search(rb"/Type/Pages/Count (\d+)", pdf)[1])


def require_own_names(report, chapters):
    """Exit with one line if two notebooks show a figure or table of one name."""
    shown = {}
    for path in chapters:
        found = re.findall(r"^<(\w+)>$", path.read_text("utf-8"), re.MULTILINE)
        for name in dict.fromkeys(found):
            if name in shown:
                both = f"{shown[name]}.ipynb and {path.stem}.ipynb both show {name}"
                sys.exit(f"{report} not written: {both}: rename one of them")
            shown[name] = path.stem


def explain(error, chapters):
    """Say in one line what Typst could not set, with its notebook and cell."""
    wide = re.search(r"\w+ wider than the text: (.*)", error.message)
    if wide:
        return find(wide[1], chapters) + wide[0]
    found = re.search(r"┌─ (.+?):(\d+):", error.diagnostic)
    missing = re.search(r"text \"?(.*?)\"? could not be displayed", error.message)
    names = map(describe, unknown(missing[1])) if missing else []
    said = " and ".join(names) or error.message
    named = {path.name: path for path in chapters}
    file = Path(found[1]).name if found else ""
    if file in named or not file:
        return (place(named[file], int(found[2])) if file else "") + said
    return (find(f'"{file}"', chapters) or f"{file}: ") + said  # of a picture


def describe(character):
    """Say that no font has a character, and what to do."""
    code, name = ord(character), unicodedata.name(character, "no name")
    return (
        f"the character {character} (U+{code:04X}, {name.lower()}) is in none of the "
        "fonts: write it in words"
    )


def unknown(text):
    """Return the characters of a text that DejaVu Sans does not have."""
    known = TTFont(FONTS / "DejaVuSans.ttf").getBestCmap()
    plain = re.sub(r"\\u\{(\w+)\}", lambda code: chr(int(code[1], 16)), text)
    return [c for c in dict.fromkeys(plain) if ord(c) not in known]


def find(text, chapters):
    """Name the notebooks and cells whose chapters contain a text."""
    found = []
    for path in chapters:
        lines = path.read_text("utf-8").replace("\\\\", "\\").splitlines()
        found += [place(path, n) for n, line in enumerate(lines, 1) if text in line]
    return " or ".join(one.removesuffix(": ") for one in found) + ": " * bool(found)


def place(path, line):
    """Name the notebook and cell of a chapter's line, or the file and line."""
    lines = path.read_text("utf-8").splitlines()[:line] if path.is_file() else []
    cells = re.findall(r"^// cell (\d+)$", "\n".join(lines), re.MULTILINE)
    if not cells:
        return f"{path.name}, line {line}: "
    return f"{path.stem}.ipynb, cell {cells[-1]}: "
