"""`python -m typeset report.pdf build/chapters/*.typ` binds the chapters.

A PDF called supplement.pdf is bound as the second of the two documents, of the chapters
in a folder called supplement; its last pages list the claims of the other ones too.
"""

import os
import sys
import time
from pathlib import Path

from report.files import QUICK
from typeset.exporter import compile_report
from typeset.watch import clock

if len(sys.argv) < 3:
    sys.exit("usage: python -m typeset REPORT.pdf CHAPTER.typ ...")
path, *chapters = sys.argv[1:]
marks = {"quick": "yes"} if QUICK else {}
others = []
if Path(path).stem == "supplement":
    marks["supplement"] = "yes"
    others = [one for one in chapters if Path(one).parent.name != "supplement"]
pages = compile_report(
    path, [one for one in chapters if one not in others], others, **marks
)
spent = time.time() - float(os.environ.get("STARTED", "nan"))  # by watch
took = f", {clock(spent)} min" if spent > 0 else ""
print(f"wrote {Path(path).resolve()}: {pages} pages{took}")
