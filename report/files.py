"""Where the project's files go, and how they are written: whole or not at all.

A quick trial (`QUICK=1` in the environment) has fewer seeds and epochs. It writes to a
folder of its own, so that its pictures and tables never replace those of a full run.
"""

import os
from pathlib import Path

QUICK = os.environ.get("QUICK", "0") not in {"", "0"}
ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "quick" if QUICK else ROOT / "build"
FIGURES = BUILD / "figures" if QUICK else ROOT / "figures"


def write(path, content):
    """Write bytes, or text as UTF-8, to `path`; its folder is made if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(part, path)
