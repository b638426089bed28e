"""`python -m report report.pdf build/chapters/*.typ` binds the chapters.

A PDF called supplement.pdf is bound as the second document, with the benchmark in its
appendix. Run from the top folder: the benchmark is read from figures/.
"""

import sys
from pathlib import Path

from report.exporter import compile_report
from report.files import QUICK

if len(sys.argv) < 3:
    sys.exit("usage: python -m report REPORT.pdf CHAPTER.typ ...")
path, *chapters = sys.argv[1:]
inputs = {"quick": "yes"} if QUICK else {}
if Path(path).stem == "supplement":
    inputs["supplement"] = "yes"
    if Path("figures/benchmark.csv").exists():
        inputs["benchmark"] = str(Path("figures/benchmark").resolve())
compile_report(path, chapters, **inputs)
