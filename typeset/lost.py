"""`python lost.py build`: forget what was built of files that are lost or damaged.

A notebook that is executed notes the files it writes to build/made/NAME, with their
digests, and its own (`noting`). Before anything is built, each is compared: where one
differs the executed notebook goes, so that make executes it again; a chapter goes whose
pictures do. A line says so.
"""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

PICTURE = re.compile(r'#image\("([^"]+)"')


def digest(path):
    """Return the SHA-256 of a file, or "" if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def note(ledger, paths):
    """Write the digests of files, named by their path from here, to a ledger."""
    found = {os.path.relpath(path): digest(path) for path in sorted(set(paths))}
    ledger.parent.mkdir(parents=True, exist_ok=True)
    part = ledger.with_name(f".{ledger.name}.part")
    part.write_text(json.dumps(found, indent=1))
    os.replace(part, ledger)


def broken(executed, ledger):
    """Return why a notebook is to be executed again, or ""."""
    try:
        json.loads(executed.read_text("utf-8"))
    except ValueError:
        return "is damaged"
    try:
        made = json.loads(ledger.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    lost = [path for path, wanted in made.items() if digest(path) != wanted]
    return f"made {lost[0]}, which is lost or changed" if lost else ""


def main(build):
    """Forget what is to be built again, and say so."""
    build = Path(build)
    for executed in sorted(build.glob("executed/**/*.ipynb")):
        inside = executed.relative_to(build / "executed")
        if reason := broken(executed, build / "made" / inside):
            print(f"{executed} {reason}: it is executed again", file=sys.stderr)
            executed.unlink()
    for chapter in build.glob("chapters/**/*.typ"):
        names = PICTURE.findall(chapter.read_text("utf-8", errors="replace"))
        if not all((chapter.parent / name).is_file() for name in names):
            chapter.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
