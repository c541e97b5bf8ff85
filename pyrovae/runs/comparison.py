"""Comparison of runs: the NLL of each, the differences datum by datum, as text, tables and a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyrovae import checks, figures
from pyrovae.data import DataSet, SplitName
from pyrovae.evaluation import Comparison, compare
from pyrovae.files import path_of, write_text
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import other_data
from pyrovae.runs.stored_evaluation import (
    StoredEvaluation,
    check_comparable,
    common_evaluation,
    data_differences,
    evaluations_of,
    read_evaluation,
)

__all__ = ["RunComparison", "compare_runs"]


@dataclass(frozen=True)
class RunComparison:
    """A comparison of runs, as it was written to a folder.

    Attributes:
        result: the comparison, with the warnings that follow from the evaluations.
        title: the evaluations that are compared.
        folder: the folder with comparison.txt, .md, .csv and .png.
    """

    result: Comparison
    title: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.title}\n\n{self.result}"


def compare_runs(
    runs: Sequence[Run],
    evaluation: Sequence[str] | str | None = None,
    *,
    data: DataFactory | None = None,
    split: SplitName = "test",
    out: str | os.PathLike[str] = "comparison",
) -> RunComparison:
    """Compare the NLL of several runs, datum by datum, and write the result to a folder.

    Args:
        runs: two runs or more.
        evaluation: name of an evaluation that all have, such as ``test-importance-5000``, or a name for each run; by
            default, the closest to log p(x) that all have of the data and split.
        data: other data, on which all runs were evaluated; each run's own if not given.
        split: part of the data that was evaluated.
        out: folder for the table, comparison.txt, .md and .csv, and its picture, comparison.png.

    Raises:
        ValueError: if there are fewer than two runs, an evaluation is missing, or the NLLs are not comparable.
    """
    folder = path_of("out", out)
    evaluations = _read(runs, evaluation, data, split)
    check_comparable(evaluations)
    first, *_ = evaluations.values()
    gaps = {run: each.gap for run, each in evaluations.items() if each.gap is not None}
    result = compare({run: each.result for run, each in evaluations.items()}, first.bits, gaps)
    result = replace(result, warnings=(*result.warnings, *_warnings(result, evaluations)))
    found = RunComparison(result, _title(evaluations), folder)
    _write(found)
    return found


def _read(
    runs: Sequence[Run], evaluation: Sequence[str] | str | None, data: DataFactory | None, split: SplitName
) -> dict[str, StoredEvaluation]:
    if len(runs) < 2:
        given = ", ".join(str(run.folder) for run in runs)
        raise checks.InputError(f"runs must be two folders or more, but {len(runs)} was given: {given}")
    named = dict(zip(_names(runs), runs, strict=True))
    for run in runs:
        run.config()  # raises an error if it is not a run
    if evaluation is None:
        evaluation = _best_evaluations(named, data, split)
    elif data is not None:
        raise checks.InputError("data must be left out where evaluation names what is compared, but both were given")
    chosen = [evaluation] * len(runs) if isinstance(evaluation, str) else evaluation
    if len(chosen) != len(runs):
        raise checks.InputError(
            f"evaluation must be one name, or one for each of {len(runs)} runs, but {len(chosen)} were given: "
            f"{', '.join(chosen)}"
        )
    return {name: read_evaluation(named[name], chosen) for name, chosen in zip(named, chosen, strict=True)}


def _best_evaluations(runs: dict[str, Run], data: DataFactory | None, split: SplitName) -> list[str]:
    """Return the name of the best evaluation of these data that all runs have, for each run."""
    dataset = None if data is None else checks.make("data", data, DataSet, like="Digits")
    others = {name: None if dataset is None else other_data(run, dataset) for name, run in runs.items()}
    best = common_evaluation(
        {name: evaluations_of(run.evaluations(), others[name]) for name, run in runs.items()}, split
    )
    return [best + ("" if other is None else other.suffix) for other in others.values()]


def _names(runs: Sequence[Run]) -> list[str]:
    """Name each run by its folder, with enough of the path to be unique."""
    paths = [run.folder.resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            raise checks.InputError(f"runs must be different folders, but {run.folder} was given twice")
    root = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(root)) for path in paths]


def _warnings(result: Comparison, evaluations: dict[str, StoredEvaluation]) -> list[str]:
    """Return what must be known of the data, the likelihoods and the sandwiches to judge the comparison."""
    first, *_ = evaluations.values()
    return [
        *([] if all(row.paired for row in result.rows) else data_differences(evaluations)),
        *(f"{run}: {each.other_data}" for run, each in evaluations.items() if each.other_data is not None),
        *first.caveats,
        *(f"{run}: {each.sandwich}" for run, each in evaluations.items() if each.sandwich is not None),
    ]


def _title(evaluations: dict[str, StoredEvaluation]) -> str:
    names = {run: each.name for run, each in evaluations.items()}
    if len(set(names.values())) == 1:
        return f"Evaluation {next(iter(names.values()))}"
    return "Evaluations " + ", ".join(f"{name} of {run}" for run, name in names.items())


def _write(found: RunComparison) -> None:
    result, rows = found.result, found.result.rows
    sums = ""
    if result.elpd is not None:
        sums = f"\nArviZ's table, whose figures are sums over the data:\n{result.elpd.to_string()}\n"
    write_text(found.folder / "comparison.txt", f"{found}\n{sums}")
    write_text(found.folder / "comparison.md", f"{found.title}\n\n{result.markdown()}")
    write_text(found.folder / "comparison.csv", result.csv())
    picture = figures.comparison(
        [row.name for row in rows],
        [row.nll for row in rows],
        [row.standard_error for row in rows],
        [row.difference if row.paired else math.nan for row in rows],
        [(row.low, row.high) for row in rows],
    )
    figures.save(picture, found.folder / "comparison.png", dpi=120)
