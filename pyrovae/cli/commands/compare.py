"""``pyrovae compare``."""

from __future__ import annotations

from pyrovae.runs import Run, compare_runs

__all__ = ["compare"]


def compare(runs: list[str], evaluation: list[str] | str | None = None, out: str = "comparison") -> None:
    """Compare the NLL of several runs, datum by datum, and say which differences are significant.

    Args:
        runs: the runs' folders, two or more.
        evaluation: name of an evaluation that all have, such as test-importance-5000, or a list of names, one for
            each run; by default, the closest that all have of test data.
        out: the folder for the table, comparison.txt, .md and .csv, and its picture, comparison.png.
    """
    found = compare_runs([Run(run) for run in runs], evaluation, out)
    print(found)
    print(f"written to {found.folder}: comparison.txt, comparison.md, comparison.csv and comparison.png")
