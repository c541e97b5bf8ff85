"""``pyrovae compare``."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

from pyrovae import checks, figures
from pyrovae.data import DataSet, SplitName
from pyrovae.evaluation import compare as compare_results
from pyrovae.files import atomic_write, path_of
from pyrovae.runs import (
    DataFactory,
    Run,
    StoredEvaluation,
    check_comparable,
    common_evaluation,
    data_differences,
    evaluations_of,
    other_data,
    read_evaluation,
)

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
    to = path_of("out", out)
    entries = _read(runs, evaluation, data, split)
    check_comparable(entries)
    first = next(iter(entries.values()))
    gaps = {run: entry.gap for run, entry in entries.items() if entry.gap is not None}
    comparison = compare_results({run: entry.result for run, entry in entries.items()}, first.bits, gaps)
    differences = [] if all(row.paired for row in comparison.rows) else data_differences(entries)
    sandwiches = [f"{run}: {entry.sandwich}" for run, entry in entries.items() if entry.sandwich is not None]
    others = [f"{run}: {entry.other_data}" for run, entry in entries.items() if entry.other_data is not None]
    warnings = (*comparison.warnings, *differences, *others, *first.caveats, *sandwiches)
    comparison = dataclasses.replace(comparison, warnings=warnings)
    names = {run: entry.name for run, entry in entries.items()}
    title = f"Evaluation {first.name}"
    if len(set(names.values())) > 1:
        title = "Evaluations " + ", ".join(f"{name} of {run}" for run, name in names.items())
    text = f"{title}\n\n{comparison}\n"
    sums = ""
    if comparison.elpd is not None:
        sums = f"\nArviZ's table, whose figures are sums over the data:\n{comparison.elpd.to_string()}\n"
    for ending, content in (
        ("txt", text + sums),
        ("md", f"{title}\n\n{comparison.markdown()}"),
        ("csv", comparison.csv()),
    ):
        with atomic_write(to / f"comparison.{ending}") as file:
            file.write(content.encode())
    rows = comparison.rows
    picture = figures.comparison(
        [row.name for row in rows],
        [row.nll for row in rows],
        [row.standard_error for row in rows],
        [row.difference if row.paired else math.nan for row in rows],
        [(row.low, row.high) for row in rows],
    )
    figures.save(picture, to / "comparison.png", dpi=120)
    print(text, end="")
    print(f"written to {to}: comparison.txt, comparison.md, comparison.csv and comparison.png")


def _read(
    runs: list[str], evaluation: list[str] | str | None, data: DataFactory | None, split: SplitName
) -> dict[str, StoredEvaluation]:
    if len(runs) < 2:
        raise checks.InputError(f"runs must be two folders or more, but {len(runs)} was given: {', '.join(runs)}")
    folders = {name: Run(run) for name, run in zip(_names(runs), runs, strict=True)}
    for folder in folders.values():
        folder.config()  # raises an error if it is not a run
    if evaluation is None:
        evaluation = _chosen(folders, data, split)
    elif data is not None:
        raise checks.InputError("data must be left out where evaluation names what is compared, but both were given")
    names = [evaluation] * len(runs) if isinstance(evaluation, str) else evaluation
    if len(names) != len(runs):
        raise checks.InputError(
            f"evaluation must be one name, or one for each of {len(runs)} runs, but {len(names)} were given: "
            f"{', '.join(names)}"
        )
    return {run: read_evaluation(folders[run], name) for run, name in zip(folders, names, strict=True)}


def _chosen(folders: dict[str, Run], data: DataFactory | None, split: SplitName) -> list[str]:
    """Return the name of the best evaluation of these data that all runs have, for each run."""
    dataset = None if data is None else checks.make("data", data, DataSet, like="Digits")
    others = {run: None if dataset is None else other_data(folder, dataset, True) for run, folder in folders.items()}
    found = {run: evaluations_of(folder.evaluations(), others[run]) for run, folder in folders.items()}
    name = common_evaluation(found, split)
    return [name + ("" if other is None else other.suffix) for other in others.values()]


def _names(runs: list[str]) -> list[str]:
    """Name each run by its folder, with enough of the path to be unique."""
    paths = [Path(run).resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            raise checks.InputError(f"runs must be different folders, but {run} was given twice")
    root = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(root)) for path in paths]
