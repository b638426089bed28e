"""Do the conclusions hang on the processor? The report under imitated ones, compared.

`make robust` executes the notebooks in a copy of the project, once as this machine is
and once for each processor that NumPy and OpenBLAS can imitate here. It prints the
verdicts that differ and the table of the five networks, and fails if a conclusion does
not hold everywhere. `QUICK=1` makes a short try with one imitation, `CHAPTERS=5,6`
executes those chapters only, `ONLY=Nehalem,Sandybridge` chooses imitations. A run that
was interrupted goes on where it was.
"""

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

from helpers.files import QUICK

ROOT = Path(__file__).parent.parent
COPIES = ROOT / "build" / "robust"
COPIED = ("Makefile", "requirements.lock", "engine", "helpers", "notebooks", "data")
HERE = "this machine"
TABLED = "5_five_architectures"  # the notebook that writes the table
TRAINED = ("five_", "small_")  # pictures and tables made of trained networks alone
SHARE = 0.02  # of the verdicts may change to or from "undecided": one of fifty
ERRORS = 3  # standard errors of a difference: other seeds exceed them 1 time in 100
POINTS = 0.5  # the smallest difference in accuracy that the report speaks of
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
            "NUMBA_CPU_NAME": name.lower(),
            "NUMBA_CPU_FEATURES": "",
        }
        for name in ("Nehalem", "Sandybridge")
    }
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    if not found:
        return kernels
    both = {"Nehalem and plain loops": plain | kernels["Nehalem"]}
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


def execute(folder, settings, chapters):
    """Execute these chapters' notebooks in a copy; return their paths.

    Raises ValueError if there is no such chapter, or a cell fails.
    """
    built = "build/quick" if QUICK else "build"
    names = sorted(path.name for path in (folder / "notebooks").glob("*.ipynb"))
    wanted = [
        f"{built}/executed/{n}" for n in names if n[0] in chapters or not chapters
    ]
    if not wanted:
        raise ValueError(f"CHAPTERS: no notebook begins with one of {chapters!r}")
    run = subprocess.run(
        ["make", "--silent", "--jobs=2", "inner=yes", *wanted],
        cwd=folder,
        env=surroundings(settings) | {"PYTHONPATH": str(folder)},
        check=False,
    )
    if run.returncode:
        raise ValueError(f"a notebook fails in {folder}: its cell is named above")
    return [folder / path for path in wanted]


def verdicts(paths):
    """Return {(chapter, claim): word} of executed notebooks."""
    return {
        (path.stem[0], output.metadata.verdict["claim"]): WORDS[
            output.metadata.verdict["holds"]
        ]
        for path in paths
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "verdict" in output.get("metadata", {})
    }


def headline(folder):
    """Return the table of the five networks and the choice behind it."""
    figures = folder / ("build/quick/figures" if QUICK else "figures")
    table = pd.read_csv(figures / "five_architectures.csv")
    chosen = pd.read_csv(figures / "chosen.csv").iloc[0]
    return table.assign(
        seeds=pd.read_csv(figures / "five_seeds.csv")["seed"].nunique(),
        choice=f"η = {chosen['learning_rate']:g}, μ = {chosen['momentum']:g}, "
        f"margin {chosen['margin']:.2g}",
    )


# The comparison ---------------------------------------------------------------------


def differing(found):
    """Return a row per verdict that is not the same word in every run."""
    frame = pd.DataFrame(found).fillna("missing")
    changed = frame[frame.nunique(axis=1) > 1]
    return changed.rename_axis(["chapter", "claim"]).reset_index()


def verdict_faults(found):
    """Return in words what is wrong with the verdicts, by name of the run."""
    faults, ours = [], found[HERE]
    for name, theirs in found.items():
        pairs = Counter((ours.get(k), theirs.get(k)) for k in {*ours, *theirs})
        changes = {pair: n for pair, n in pairs.items() if len(set(pair)) == 2}
        missing = sum(n for pair, n in changes.items() if None in pair)
        flips = sum(
            n for pair, n in changes.items() if not {None, "undecided"} & {*pair}
        )
        if flips:
            faults.append(f"{name}: {flips} verdicts flip")
        if missing:
            faults.append(f"{name}: {missing} claims are not made in both runs")
        if sum(changes.values()) > SHARE * len(ours):
            faults.append(
                f"{name}: {sum(changes.values())} of {len(ours)} verdicts change their "
                f"word, more than {SHARE:.0%}"
            )
    return faults


def headline_faults(tables):
    """Return in words what is wrong with the tables of the runs."""
    faults, ours = [], tables[HERE]
    for name, theirs in tables.items():
        labels = ours["dataset"] + ", " + ours["network"]
        errors = np.hypot(ours["validation sd"], theirs["validation sd"])
        limits = np.maximum(ERRORS * errors / np.sqrt(ours["seeds"]), POINTS)
        moved = theirs["validation"] - ours["validation"]
        for label, lost, by, limit in zip(
            labels, theirs["failed"], moved, limits, strict=True
        ):
            if lost:
                faults.append(f"{name}: {lost:.0f} replicas fail ({label})")
            if not abs(by) <= limit:
                faults.append(
                    f"{name}: {by:+.2f} points ({label}), at most {limit:.2f} allowed"
                )
    return faults


def differing_files(folders):
    """Return {name of the run: names in figures/ that differ from ours}."""
    ours, *others = (read_figures(folder) for folder in folders.values())
    return {
        run: sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
        for run, theirs in zip([*folders][1:], others, strict=True)
    }


def read_figures(folder):
    """Return {name: content} of what the notebooks of a copy have written."""
    figures = folder / ("build/quick/figures" if QUICK else "figures")
    return {path.name: path.read_bytes() for path in figures.glob("*.*")}


def file_faults(changed):
    """Return in words which pictures and tables of trained networks differ."""
    return [
        f"{run}: {name} differs, so that the bits of training do"
        for run, names in changed.items()
        for name in names
        if name.startswith(TRAINED)
    ]


def side_by_side(tables):
    """Return the accuracies of the runs in columns, and the choice of each below."""
    columns = {
        name: [
            f"{mean:.2f} ± {sd:.2f}" + (f" ({lost:.0f} failed)" if lost else "")
            for mean, sd, lost in table[
                ["validation", "validation sd", "failed"]
            ].itertuples(index=False)
        ]
        + [table["choice"].iloc[0]]
        for name, table in tables.items()
    }
    ours = tables[HERE]
    names = {
        "dataset": [*ours["dataset"], "all"],
        "network": [*ours["network"], "choice"],
    }
    return pd.DataFrame(names | columns)


def comparison(found, tables, files, faults):
    """Return the report of the comparison as Markdown."""
    words = Counter(word for run in found.values() for word in run.values())
    changed = differing(found)
    parts = [
        f"{len(found[HERE])} verdicts in each of {len(found)} runs: "
        + ", ".join(f"{n} times {word}" for word, n in words.most_common())
        + f". {len(changed)} differ somewhere."
    ]
    parts += [changed.to_markdown(index=False)] if len(changed) else []
    parts += [side_by_side(tables).to_markdown(index=False)] if tables else []
    parts += [
        f"{run}: {len(names)} files in figures/ differ{':' * bool(names)} "
        + ", ".join(names)
        for run, names in files.items()
    ]
    return "\n\n".join([*parts, *faults, "FAIL" if faults else "The same everywhere."])


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
        runs, tables = {}, {}
        for name, settings in processors.items():
            print(f"{name}: {told[name]}", flush=True)
            executed = execute(folders[name], settings, chapters)
            runs[name] = verdicts(executed)
            if any(path.stem == TABLED for path in executed):
                tables[name] = headline(folders[name])
    except ValueError as error:
        print(f"make: {error}")
        return 1
    files = differing_files(folders)
    faults = verdict_faults(runs) + (headline_faults(tables) if tables else [])
    faults += file_faults(files)
    text = comparison(runs, tables, files, faults)
    (COPIES / "table.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 1 if faults else 0


if __name__ == "__main__":
    named = os.environ.get("ONLY", "").split(",")
    sys.exit(main(os.environ.get("CHAPTERS", ""), [name for name in named if name]))
