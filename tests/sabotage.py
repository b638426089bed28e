"""Break the code by one line for each threshold, and show the check that notices.

`make sabotage` tries all, `.venv/bin/python tests/sabotage.py order-2` one. The line is
broken in a copy; the working tree stays as it is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HELPERS = Path(__file__).parent.parent / "helpers"

# threshold: (kind of test, module, right code, broken code)
SABOTAGE = {
    "order-1": (
        "Taylor",
        "losses.py",
        "-(C * log_softmax(Z))",
        "-(C * log_softmax(0 * Z))",
    ),
    "order-2": ("Taylor", "losses.py", "(softmax(Z) - C)", "(1.001 * softmax(Z) - C)"),
    "rounding": (
        "Jacobian",
        "layers.py",
        "dW @ x + db\n",
        "dW @ x + 1.0000000001 * db\n",
    ),
    "central-difference": (
        "central difference",
        "layers.py",
        "return y > 0",
        "return 1.000001 * (y > 0)",
    ),
    "complex-step": (
        "complex step",
        "layers.py",
        "return 1 - y * y",
        "return 1 - 1.000000000001 * y * y",
    ),
    "transpose": (
        "transpose",
        "layers.py",
        "return W.mT @ dz, ",
        "return 1.000000000001 * W.mT @ dz, ",
    ),
}
CERTIFY = """
import numpy as np
from helpers.mistakes import right_tests
for seed in range(40):
    for test in right_tests(np.random.default_rng(seed)):
        if test.verdict == "FAIL":
            print(test)
"""


def failures(module, right, broken):
    """Return the lines of the failing checks after one line of a module is broken."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "helpers"
        shutil.copytree(HELPERS, copy, ignore=shutil.ignore_patterns("__pycache__"))
        source = (copy / module).read_text("utf-8")
        if right not in source:
            raise ValueError(f"helpers/{module} has no {right!r} to break")
        (copy / module).write_text(source.replace(right, broken, 1), "utf-8")
        run = subprocess.run(
            [sys.executable, "-c", CERTIFY],
            cwd=folder,  # whose helpers come before the installed ones
            env={**os.environ, "PYTHONUTF8": "1"},
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
    return run.stdout.splitlines()


def main(names):
    """Print for each threshold what was broken and the first check that fails."""
    for name in names or SABOTAGE:
        kind, module, right, broken = SABOTAGE[name]
        found = [line for line in failures(module, right, broken) if kind in line]
        print(f"{name}: helpers/{module}")
        print(f"  - {right.strip()}\n  + {broken.strip()}")
        print(f"  {len(found)} {kind} checks fail, the first is")
        print(f"  {found[0]}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
