"""The whole report is built from data of a user: extreme sizes and values."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
from pypdf import PdfReader
from scipy.io import savemat

ROOT = Path(__file__).parents[2]
# name: features, classes, samples, noise, unit, origin
SHAPES = {
    "Peaks": (1, 2, 300, 0.01, 1, 0),  # hyperplanes separate these classes
    "SwissRoll": (20, 12, 600, 0.5, 40, 127),
    "GMM": (5, 5, 1500, 0.5, 1, 0),
}


def clusters(features, classes, m, noise, unit, origin, rng):
    """Draw one noisy cluster per class; the first four fifths are for training.

    Of five features the last one is constant.
    """
    labels = rng.permutation(np.arange(m) % classes)
    centres = rng.normal(size=(features, classes))
    Y = unit * (centres[:, labels] + noise * rng.normal(size=(features, m))) + origin
    Y[4:5] = 3
    parts = (np.split(x, [m * 4 // 5], axis=1) for x in (Y, np.eye(classes)[:, labels]))
    (Yt, Yv), (Ct, Cv) = parts
    return {"Yt": Yt, "Ct": Ct, "Yv": Yv, "Cv": Cv}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the project with other data, and its quick report."""
    root = tmp_path_factory.mktemp("other") / "project"
    away = (".*", "build", "mutants", "*.mat", "ceilings.csv")
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*away))
    (root / ".venv").symlink_to(ROOT / ".venv")
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        savemat(root / "data" / f"{name}Data.mat", clusters(*shape, rng))
    apart = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    before = contents(root / "figures"), (root / "report.pdf").read_bytes()
    run = subprocess.run(
        ["make", "report", "QUICK=1"],
        cwd=root,
        env={**apart, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert before == (contents(root / "figures"), (root / "report.pdf").read_bytes())
    return root


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def outputs(built):
    paths = sorted((built / "build" / "quick" / "executed").glob("*.ipynb"))
    assert len(paths) == 6
    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    cells = [cell for notebook in notebooks for cell in notebook.cells]
    return [output for cell in cells for output in cell.get("outputs", ())]


def test_all_notebooks_run_without_a_warning(outputs):
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []


def test_it_is_marked_as_a_trial_and_names_the_users_files(built):
    pages = PdfReader(built / "build" / "quick" / "report.pdf").pages
    text = [" ".join(page.extract_text().split()) for page in pages]
    assert "Quick trial" in text[0]
    assert all(f"user's file {name}Data.mat" in " ".join(text) for name in SHAPES)
    assert "SwissRollData.mat, standardised" in text[0]
    assert not re.findall(r"\bnan\b|e[+]\d|Task\(|Run\(", text[0] + text[1])


def test_every_claim_is_judged_and_those_about_the_unknown_are_undecided(outputs):
    kinds = ("execute_result", "display_data")
    metadata = [o.metadata for o in outputs if o.output_type in kinds]
    claims = [found["verdict"] for found in metadata if "verdict" in found]
    assert len(claims) > 15
    assert {c["holds"] for c in claims if "best possible" in c["claim"]} == {None}
    claims += [found["answer"] for found in metadata if "answer" in found]
    assert not [c["number"] for c in claims if re.search("nan|None", c["number"])]
