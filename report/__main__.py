"""`python -m report report.pdf build/chapters/*.typ` binds the chapters.

Run from the top folder: the benchmark of the appendix is read from figures/.
"""

import sys

from report.exporter import compile_report
from report.files import QUICK

if len(sys.argv) < 3:
    sys.exit("usage: python -m report REPORT.pdf CHAPTER.typ ...")
compile_report(sys.argv[1], sys.argv[2:], "figures/benchmark", QUICK)
