"""Where the project's files go, and how they are written: whole or not at all.

Only make replaces pictures and tables of figures/ (it sets KEEP_FIGURES). Notebooks run
by hand write to build/figures/, and a quick trial (`QUICK=1` in the environment: fewer
seeds and epochs) to build/quick/figures/.
"""

import os
from pathlib import Path

QUICK = os.environ.get("QUICK", "0") not in {"", "0"}
ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "quick" if QUICK else ROOT / "build"
KEPT = ROOT / "figures"  # what is committed: only a full report replaces it
FIGURES = KEPT if os.environ.get("KEEP_FIGURES") and not QUICK else BUILD / "figures"


def write(path, content):
    """Write bytes, or text as UTF-8, to `path`; its folder is made if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(part, path)
    if notes := os.environ.get("WRITTEN"):  # see typeset/execute.py
        with open(notes, "a", encoding="utf-8") as file:
            file.write(f"{path.resolve()}\n")
