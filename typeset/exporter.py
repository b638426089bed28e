"""Executed notebooks become one PDF.

`TypstExporter` is an nbconvert exporter: pandoc turns one executed notebook into a
Typst chapter (`report.lua` does the typesetting of cells). `compile_report` binds the
chapters into one tagged PDF (`report.typ` is the page design). Both packages come as
plain wheels; nothing else has to be installed.
"""

import base64
import glob
import io
import json
import re
import secrets
import sys
import tempfile
import unicodedata
from functools import partial
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib
import nbformat
import pypandoc
import typst
from fontTools.ttLib import TTFont
from nbconvert.exporters import Exporter
from PIL import Image
from traitlets.config import Config

from report import files
from typeset.execute import Readable
from typeset.markdown import protect
from typeset.outputs import printable

HERE = Path(__file__).resolve().parent
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
RASTER = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "WEBP": ".webp"}


class TypstExporter(Readable, Exporter):
    """An executed notebook as a Typst chapter, its pictures beside it.

    Nothing of a notebook runs. Exits with one line naming notebook and cell when a cell
    cannot be typeset.
    """

    file_extension = ".typ"

    @property
    def default_config(self):
        """Merge broken-up streams."""
        config = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})
        config.merge(super().default_config)
        return config

    def from_notebook_node(self, nb, resources=None, **kwargs):
        """Return the chapter's Typst source and its pictures (nbconvert's contract)."""
        nb, resources = super().from_notebook_node(nb, resources, **kwargs)
        name = resources["metadata"]["name"]
        folder = origin(Path(resources["metadata"].get("path", "")).resolve())
        pictures = Pictures(nb, folder, name, resources.setdefault("outputs", {}))
        for number, cell in enumerate(nb.cells, 1):
            if cell.cell_type == "code":
                place = f"{name}.ipynb, cell {number}"
                save = partial(pictures.save, number)
                cell.outputs = printable(cell.outputs, place, save)
            elif cell.cell_type == "markdown":
                cell.source = protect(cell.source)
        nb.metadata["authors"] = authors(nb.metadata.get("authors", []))
        marker = secrets.token_hex()  # of pictures: no notebook can know it
        found = re.compile(rf'(?<=#image\("){marker}:(\d+):([0-9a-f]*)')
        return found.sub(pictures.keep, pandoc(nb, name, marker)), resources


def origin(folder):
    """Return the folder of the notebook that lies, executed, in a folder."""
    executed = files.BUILD / "executed"
    if folder.is_relative_to(executed):
        return files.ROOT / "notebooks" / folder.relative_to(executed)
    return folder


def authors(given):
    """Return the names of authors, given as {"name": ...} or as text."""
    given = given if isinstance(given, list) else [given]
    names = [one.get("name") if isinstance(one, dict) else one for one in given]
    return [name for name in names if isinstance(name, str) and name.strip()]


class Pictures:
    """The pictures that cells name: attachments, files beside the notebook, data."""

    def __init__(self, nb, folder, name, kept):
        """Take the attachments of a notebook; `kept` collects {file name: bytes}."""
        self.attached = [cell.pop("attachments", {}) for cell in nb.cells]
        self.folder, self.name, self.kept = folder, name, kept

    def keep(self, match):
        """Keep a picture that a cell names; return its file beside the chapter."""
        cell, target = int(match[1]), unquote(bytes.fromhex(match[2]).decode())
        if target in self.kept:
            return target
        try:
            content = self.read(cell, target)
        except (OSError, ValueError):  # a name, or data, that cannot be
            content = None
        if content is None:
            self.refuse(
                cell,
                f"there is no picture {target[:80] or 'without a name'} in the folder "
                "of the notebook or in the project",
            )
        return self.save(cell, content, target[:80])

    def save(self, cell, content, what="an output"):
        """Keep the content of a picture, SVG or base64 as text; return its file."""
        if isinstance(content, str):
            drawing = content.lstrip().startswith("<")
            content = content.encode("utf-8", "replace")
            content = content if drawing else base64.b64decode(content)
        if not (suffix := kind(content)):
            self.refuse(cell, f"{what} is no PNG, JPEG, GIF, WebP or SVG picture")
        name = f"{self.name}-{cell}-{len(self.kept) + 1}{suffix}"
        self.kept[name] = content
        return name

    def refuse(self, cell, reason):
        """Exit with one line that names notebook and cell."""
        sys.exit(f"{self.name}.ipynb, cell {cell}: {reason}")

    def read(self, cell, target):
        """Return the bytes of an attachment, or of a file that lies with the notebook.

        None for what is outside of the notebook's folder and of the project.
        """
        if target.startswith("attachment:"):
            bundle = self.attached[cell - 1].get(target.removeprefix("attachment:"))
            return base64.b64decode(next(iter(bundle.values()))) if bundle else None
        if target.startswith("data:image/svg+xml,"):
            return target.split(",", 1)[1].encode()
        if re.match(r"data:image/[\w+.-]+;base64,", target):
            return base64.b64decode(target.split(",", 1)[1])
        if re.match(r"\w+:", target):
            self.refuse(
                cell,
                f"the picture {target[:80]} is not on this computer: save it beside "
                "the notebook and name it by its path from there",
            )
        path = (self.folder / target).resolve()
        inside = map(path.is_relative_to, (self.folder.resolve(), files.ROOT))
        return path.read_bytes() if any(inside) else None


def kind(content):
    """Return the suffix of a picture that Typst can print, None if it is none."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return RASTER.get(picture.format)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # perhaps a drawing
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    return ".svg" if root.tag == "{http://www.w3.org/2000/svg}svg" else None


def pandoc(nb, name, marker):
    """Convert with the Lua filter; exit with one line when a cell cannot be set."""
    how = ["--ipynb-output=all", "--wrap=none", f"--lua-filter={HERE / 'report.lua'}"]
    how += [f"--metadata=chapter:{name}", f"--metadata=marker:{marker}"]
    source = nbformat.writes(nb).encode("utf-8", "replace").decode("utf-8")
    try:
        return pypandoc.convert_text(
            source, "typst", "ipynb+raw_markdown", how, verify_format=False
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
    bytes. Notebooks that chapters were made of are attached. Typst is handed what it
    may read, in a folder of its own. Returns the number of pages; exits with one line
    when Typst fails.
    """
    paths, others = [*map(Path, chapters)], [*map(Path, others)]
    sources = [files.ROOT / "notebooks", files.ROOT / "notebooks" / "supplement"]
    made_of = [f / f"{path.stem}.ipynb" for path in paths for f in sources]
    made_of = [path for path in made_of if path.exists()]
    given, lists = {"main.typ": (HERE / "report.typ").read_bytes()}, {}
    for folder, some in (("chapters", paths), ("others", others)):
        for path in some:
            beside = path.parent.glob(f"{glob.escape(path.stem)}-*")
            given |= {f"{folder}/{one.name}": one.read_bytes() for one in beside}
        given |= {f"{folder}/{path.name}": path.read_bytes() for path in some}
        lists[folder] = [f"{folder}/{path.name}" for path in some]
    given |= {f"notebooks/{path.name}": path.read_bytes() for path in made_of}
    lists["notebooks"] = [f"notebooks/{path.name}" for path in made_of]
    require_own_names(report, paths)
    try:
        with tempfile.TemporaryDirectory() as name:
            for path, content in given.items():
                files.write(Path(name, path), content)
            pdf = typst.compile(
                Path(name, "main.typ"),
                root=name,
                package_path=name,
                package_cache_path=name,
                sys_inputs={k: json.dumps(v) for k, v in lists.items()} | inputs,
                font_paths=[FONTS],
                ignore_system_fonts=True,
                pdf_standards="ua-1",
                timestamp=0,
            )
    except typst.TypstError as error:
        sys.exit(f"{report} not written: {explain(error, paths)}")
    # Said false is said nothing; some readers take the word for a mistake.
    pdf = pdf.replace(b"/Suspects false", b" " * 15)
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
    named, file = (
        {path.name: path for path in chapters},
        Path(found[1] if found else ""),
    )
    if file.name in named:
        said = place(named[file.name], int(found[2])) + said
    elif found:
        said = (find(f'"{file.name}"', chapters) or f"{file.name}: ") + said
    return " ".join(said.split())


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
