"""``pyrovae compare``."""

from __future__ import annotations

from pyrovae.data import SplitName
from pyrovae.runs import DataFactory, Run, compare_runs

__all__ = ["compare"]


def compare(
    runs: list[str],
    evaluation: list[str] | str | None = None,
    data: DataFactory | None = None,
    split: SplitName = "test",
    out: str = "comparison",
) -> None:
    """Compare the NLL of several runs, datum by datum, and say which differences are significant.

    Args:
        runs: the runs' folders, two or more.
        evaluation: name of an evaluation that all have, such as test-importance-5000, or a list of names, one for
            each run; by default, the closest to log p(x) that all have of the data and split.
        data: other data, on which all runs were evaluated; each run's own if not given.
        split: part of the data that was evaluated.
        out: the folder for the table, comparison.txt, .md and .csv, and its picture, comparison.png.
    """
    found = compare_runs([Run(run) for run in runs], evaluation, data=data, split=split, out=out)
    print(found)
    print(f"written to {found.folder}: comparison.txt, comparison.md, comparison.csv and comparison.png")
