"""`make reference`: README's table and picture, data/reference.csv from a full report.

They are committed, and `make report` leaves them as they are, so that what a run gives
elsewhere can be compared with them.
"""

from pathlib import Path

import pandas as pd
import pypdfium2

ROOT = Path(__file__).parent.parent
HEADING = "## What comes out"
COLUMNS = ["dataset", "network", "validation", "validation sd", "ceiling"]


def reference(table, chosen):
    """Return the results in whole tenths, with the choice behind them."""
    choice = chosen[["learning_rate", "momentum"]].iloc[0]
    return table[COLUMNS].round(1).assign(**choice)


def rows(frame):
    """Return the README's table, a column per dataset, as Markdown lines."""
    datasets = frame["dataset"].unique()
    lines = [["network", *datasets]]
    for network, some in frame.groupby("network", sort=False):
        means = zip(some["validation"], some["validation sd"], strict=True)
        lines.append([network, *(f"{mean:.1f} ± {sd:.1f}" for mean, sd in means)])
    best = frame.groupby("dataset", sort=False)["ceiling"].first()
    lines.append(["best possible", *map("{:.1f}".format, best)])
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return [head, "|---" * len(lines[0]) + "|", *rest]


def replaced(readme, lines):
    """Return the README with another table of results."""
    before, rest = readme.split(HEADING, 1)
    table = [line for line in rest.split("\n## ")[0].split("\n") if line[:1] == "|"]
    return before + HEADING + rest.replace("\n".join(table), "\n".join(lines), 1)


def page_one(report):
    """Return the first page of a PDF as a picture, as wide as a page of GitHub's."""
    with pypdfium2.PdfDocument(report) as document:
        return document[0].render(scale=1.1).to_pil().quantize(16)


if __name__ == "__main__":
    figures, readme = ROOT / "figures", ROOT / "README.md"
    frame = reference(
        pd.read_csv(figures / "five_architectures.csv"),
        pd.read_csv(figures / "chosen.csv"),
    )
    frame.to_csv(ROOT / "data" / "reference.csv", index=False, lineterminator="\n")
    text = replaced(readme.read_text("utf-8"), rows(frame))
    readme.write_text(text, "utf-8")
    page_one(ROOT / "report.pdf").save(figures / "page_one.png", optimize=True)
