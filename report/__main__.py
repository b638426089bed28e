"""`python -m report report.pdf build/chapters/*.typ` binds the chapters.

A PDF called supplement.pdf is bound as the second of the two documents.
"""

import sys
from pathlib import Path

from report.exporter import compile_report
from report.files import QUICK

if len(sys.argv) < 3:
    sys.exit("usage: python -m report REPORT.pdf CHAPTER.typ ...")
path, *chapters = sys.argv[1:]
marks = {"quick": QUICK, "supplement": Path(path).stem == "supplement"}
compile_report(path, chapters, **{name: "yes" for name, on in marks.items() if on})
