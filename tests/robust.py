"""Does the report hang on the processor? The same under imitated ones, compared.

`make robust` makes report and supplement in a copy of the project, once as this machine
is and once for each processor that NumPy, OpenBLAS and the engine can imitate here. It
fails unless every training has the same SHA-256 of parameters and history, and every
verdict, every file in figures/ and both documents are the same. `QUICK=1` makes a short
try with one imitation, `CHAPTERS=5,6` executes those chapters only,
`ONLY=Nehalem,Sandybridge` chooses imitations. A run that was interrupted goes on where
it was.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from report.files import QUICK

ROOT = Path(__file__).parent.parent
COPIES = ROOT / "build" / "robust"
COPIED = (
    "Makefile",
    "requirements.lock",
    "notebooks",
    "data",
    "engine",
    "helpers",
    "playground",
    "report",
    "typeset",
)
HERE = "this machine"
WORDS = {True: "holds", False: "does not hold", None: "undecided"}
REPORT_ON = (
    "import numpy, threadpoolctl; numpy.ones((9, 9)) @ numpy.ones((9, 9)); "
    "print([i.get('architecture') for i in threadpoolctl.threadpool_info()], "
    "numpy.show_config(mode='dicts')['SIMD Extensions'].get('found'))"
)


def imitations(found):
    """Return the settings that imitate other processors, by name.

    `found` are the extensions that NumPy uses here beyond what every processor has.
    """
    kernels = {
        name: {
            "OPENBLAS_CORETYPE": name,
            "ENGINE_CPU": name.lower(),
        }
        for name in ("Nehalem", "Sandybridge")
    }
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    if not found:
        return kernels
    both = {"Nehalem and plain loops": plain | kernels["Nehalem"]}
    if "X86_V3" in found:  # without fused operations a short try would be a long one
        both["Nehalem and plain loops"]["ENGINE_CPU"] = "haswell"
    return both | kernels | {"plain loops": plain}


def surroundings(settings):
    """Return the environment of a run, with nothing left of the make that asked."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))
    }
    return clean | settings


def processor(settings):
    """Return what OpenBLAS and NumPy say of the processor under these settings."""
    return subprocess.run(
        [sys.executable, "-c", REPORT_ON],
        env=surroundings(settings),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def effective(settings):
    """Return those imitations that change something on this machine."""
    real = processor({})
    return {name: one for name, one in settings.items() if processor(one) != real}


# A run ------------------------------------------------------------------------------


def copy_project(folders):
    """Copy what the notebooks need to each folder, with the same environment.

    All copies are made at once: what is changed meanwhile changes none of them. Dates
    are kept, so make knows what has been executed already.
    """
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.rmtree(folder / name, ignore_errors=True)
                ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, folder)
        (folder / ".venv").unlink(missing_ok=True)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / "figures").mkdir(exist_ok=True)
        for path in (ROOT / "figures").glob("benchmark*"):  # measured, not made
            shutil.copy2(path, folder / "figures")
        shutil.copy2(Path(__file__).parent / "digests.py", folder / "sitecustomize.py")


def execute(folder, settings, chapters):
    """Execute these chapters' notebooks in a copy; return their paths.

    With all chapters the supplement is executed too, and both documents are made.
    Raises ValueError if there is no such chapter, or a cell fails.
    """
    built = "build/quick" if QUICK else "build"
    notebooks = folder / "notebooks"
    paths = sorted(
        notebooks.glob("[0-9]*") if chapters else notebooks.rglob("[0-9]*.ipynb")
    )
    wanted = [
        f"{built}/executed/{path.relative_to(notebooks)}"
        for path in paths
        if path.name[0] in chapters or not chapters
    ]
    if not wanted:
        raise ValueError(f"CHAPTERS: no notebook begins with one of {chapters!r}")
    run = subprocess.run(
        ["make", "--silent", "--jobs=2", "inner=yes", *wanted]
        + ([] if chapters else documents()),
        cwd=folder,
        env=surroundings(settings) | {"PYTHONPATH": str(folder)},
        check=False,
    )
    if run.returncode:
        raise ValueError(f"a notebook fails in {folder}: its cell is named above")
    return [folder / path for path in wanted]


def verdicts(paths):
    """Return {(notebook, claim): word} of executed notebooks."""
    return {
        (path.stem, output.metadata.verdict["claim"]): WORDS[
            output.metadata.verdict["holds"]
        ]
        for path in paths
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "verdict" in output.get("metadata", {})
    }


def documents():
    """Return where make writes the report and its supplement."""
    folder = "build/quick/" if QUICK else ""
    return [f"{folder}report.pdf", f"{folder}supplement.pdf"]


def made(folder, chapters):
    """Return {name: SHA-256} of what these chapters made: files, and trainings.

    Under the name of a notebook stands the digest of those of all its trainings. Files
    are those of a whole report only: elsewhere some may be left of another run.
    """
    figures = folder / ("build/quick/figures" if QUICK else "figures")
    bound = [folder / path for path in documents()]
    paths = [] if chapters else [*figures.glob("*.*"), *bound]
    files = {path.name: path.read_bytes() for path in paths}
    for path in (folder / "build" / "digests").glob("*.txt"):
        if chapters and path.name[0] not in chapters:
            continue
        if lines := sorted(path.read_text().split()):
            files[f"{path.stem}, {len(lines)} trainings"] = "".join(lines).encode()
    return {name: hashlib.sha256(files[name]).hexdigest() for name in files}


# The comparison ---------------------------------------------------------------------


def differing(runs):
    """Return a row per thing that is not the same in every run, "missing" included."""
    frame = pd.DataFrame(runs).fillna("missing")
    return frame[frame.nunique(axis=1) > 1]


def comparison(verdicts, files):
    """Return the report of the comparison as Markdown, and whether all is the same."""
    ours, words = files[HERE], Counter(verdicts[HERE].values())
    trainings = {name: ours[name] for name in ours if "trainings" in name}
    parts = [
        f"{len(verdicts)} runs, each with {len(verdicts[HERE])} verdicts ("
        + ", ".join(f"{n} times {word}" for word, n in words.most_common())
        + f"), {len(ours) - len(trainings)} files, and the trainings of "
        + f"{len(trainings)} notebooks.",
        *(f"{name}: {digest}" for name, digest in sorted(trainings.items())),
    ]
    changed = [differing(verdicts), differing(files).map(lambda text: text[:12])]
    parts += [frame.to_markdown() for frame in changed if len(frame)]
    same = not any(map(len, changed))
    return "\n\n".join([*parts, "The same everywhere." if same else "FAIL"]), same


def chosen(others, only):
    """Return the named imitations, all without a name, one in a short try.

    Raises ValueError if there are none, or none of a name.
    """
    if not others:
        raise ValueError("NumPy and OpenBLAS imitate no other processor on this one")
    if unknown := [name for name in only if name not in others]:
        raise ValueError(f"ONLY: no {unknown[0]!r} among {', '.join(others)}")
    names = only or [*others][: 1 if QUICK else None]
    return {name: others[name] for name in names}


def main(chapters, only):
    """Execute, compare, print; return the exit status."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    try:
        processors = {HERE: {}} | chosen(effective(imitations(found)), only)
        told = {name: processor(one) for name, one in processors.items()}
        # What another processor has executed must not be taken for this one's.
        folders = {n: COPIES / re.sub(r"\W+", "-", f"{n} {told[n]}") for n in told}
        copy_project(folders.values())
        found, files = {}, {}
        for name, settings in processors.items():
            print(f"{name}: {told[name]}", flush=True)
            found[name] = verdicts(execute(folders[name], settings, chapters))
            files[name] = made(folders[name], chapters)
    except ValueError as error:
        print(f"make: {error}")
        return 1
    text, same = comparison(found, files)
    (COPIES / "table.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 0 if same else 1


if __name__ == "__main__":
    named = os.environ.get("ONLY", "").split(",")
    sys.exit(main(os.environ.get("CHAPTERS", ""), [name for name in named if name]))
