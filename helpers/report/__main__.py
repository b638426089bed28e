"""`python -m helpers.report report.pdf build/chapters/*.typ` binds the chapters.

Run from the top folder: the benchmark of the appendix is read from figures/.
"""

import sys

from helpers.files import QUICK
from helpers.report import compile_report

if len(sys.argv) < 3:
    sys.exit("usage: python -m helpers.report REPORT.pdf CHAPTER.typ ...")
compile_report(sys.argv[1], sys.argv[2:], "figures/benchmark", QUICK)
