"""Print the survivors of `mutmut run`, then the score.

Fails below REQUIRED, or if the survivors are not exactly those of survivors.md: one
that is missing there wants a test; one that is there, but was killed, says that the
code has changed, or that the tests fail for another reason.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

REQUIRED = 95  # % of the mutants, killed by a test or stopped by the time limit
BEATEN = "killed", "timeout"
EXPLAINED = Path(__file__).with_name("survivors.md")


def mutmut(*words):
    """Return what a mutmut command prints."""
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def change(mutant):
    """Return the function that a mutant changes, and the lines, as a block of code."""
    module, _, name = mutant.partition("__mutmut_")[0].rpartition(".")
    function = re.sub("^x[_ǁ]", "", name).replace("ǁ", ".")
    lines = re.findall(r"^[-+](?![-+]{2}).*", mutmut("show", mutant), re.MULTILINE)
    return "\n".join(["```diff", f"@@ {module}.{function}", *lines, "```"])


def main():
    """Print all; return the exit status."""
    verdicts = dict(re.findall(r"(\S+): (.+)", mutmut("results", "--all=True")))
    if "not checked" in verdicts.values():
        sys.exit("the run of mutmut is not complete: repeat `make mutation`")
    survivors = {change(m) for m, verdict in verdicts.items() if verdict not in BEATEN}
    text = EXPLAINED.read_text("utf-8")
    explained = set(re.findall(r"^```diff\n.*?^```$", text, re.DOTALL | re.MULTILINE))
    for title, found in (
        ("Survivors that survivors.md explains", survivors & explained),
        ("Survivors that it does not explain", survivors - explained),
        ("Explained there, but killed", explained - survivors),
    ):
        print(f"{title}: {len(found)}", *sorted(found), sep="\n\n", end="\n\n")
    alive = sum(verdict not in BEATEN for verdict in verdicts.values())
    score = 100 * (1 - alive / len(verdicts))
    counts = ", ".join(f"{n} {word}" for word, n in Counter(verdicts.values()).items())
    print(f"{len(verdicts)} mutants: {counts}. Score: {score:.1f} %")
    return int(score < REQUIRED or survivors != explained)


if __name__ == "__main__":
    sys.exit(main())
