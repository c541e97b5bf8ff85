"""Evaluations read from runs' folders: which several runs share, and whether they can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation import CrossCheck, LogMarginal
from pyrovae.evaluation.comparison_table import join_names
from pyrovae.evaluation.likelihood.result import STATISTICS
from pyrovae.runs.folder import Run

__all__ = ["StoredEvaluation", "check_comparable", "common_evaluation", "data_differences", "read_evaluation"]


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation that was read from a run's folder.

    Attributes:
        folder: the run's.
        name: of the evaluation.
        split: of the data.
        result: estimates of log p(x), without draws.
        bits_per_dim: NLL in bits per dimension, or None.
        caveats: why the NLL is none to publish, in sentences.
        gap: by how much a sandwich says that the NLL is too large at most, in nats; None where there is no sandwich.
        sandwich: what it says, in a sentence; None likewise.
        data: what the run's configuration says of its data.
        other_data: that it is of other data than the run's, in a sentence; None if it is not.
    """

    folder: str
    name: str
    split: str
    result: LogMarginal
    bits_per_dim: float | None
    caveats: list[str]
    gap: float | None
    sandwich: str | None
    data: Any
    other_data: str | None

    @property
    def kind(self) -> str:
        """What the NLL is the negative logarithm of, in words."""
        if self.caveats:
            return f"no likelihood ({'; '.join(caveat.rstrip('.') for caveat in self.caveats)})"
        if self.bits_per_dim is None:
            return "a density of real numbers"
        levels = round(2**self.offset)
        return "a probability" if levels == 1 else f"a density of data dequantised from {levels} levels"

    @property
    def offset(self) -> float:
        """What is added to the NLL in bits to make ``bits_per_dim`` of it: log2 of the levels of dequantised data."""
        return math.nan if self.bits_per_dim is None else self.bits_per_dim - self.result.nll / self._nats_per_bit

    def bits(self, nll: float) -> float | None:
        """Convert an NLL of data of this kind, in nats, to bits per dimension; None where they have no bits."""
        return None if self.bits_per_dim is None else nll / self._nats_per_bit + self.offset

    @property
    def _nats_per_bit(self) -> float:
        return math.prod(self.result.x.shape[1:]) * math.log(2)


def read_evaluation(run: Run, name: str) -> StoredEvaluation:
    """Read an evaluation with its figures of each datum.

    Args:
        run: the run's folder.
        name: of the evaluation, such as ``test-importance-5000``.

    Raises:
        ValueError: if the run has none of this name, or its files cannot be read or do not belong together.
    """
    found = run.evaluations()
    if name not in found:
        raise checks.InputError(
            f"evaluation must be one that {run.folder} has, {', '.join(found) or 'which is none'}, but {name} was given"
        )
    summary, values = found[name], run.values(name)
    path = run.folder / "evaluation" / name
    try:
        bits, caveats = summary["bits_per_dim"], [str(caveat) for caveat in summary["caveats"]]
        nll, split, measured = float(summary["nll"]), str(summary["split"]), summary.get("sandwich")
        bits = None if bits is None else float(bits)
        gap, sandwich = (None, None) if measured is None else (float(measured["gap"]), str(measured["sentence"]))
    except (KeyError, TypeError, ValueError) as error:
        raise checks.InputError(f"{path}.json must hold an evaluation's figures: {checks.reason(error)}") from error
    try:
        result = _result(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise checks.InputError(f"{path}.nc must hold the figures of each datum: {checks.reason(error)}") from error
    if not math.isclose(result.nll, nll, rel_tol=1e-6, abs_tol=1e-6):
        raise checks.InputError(f"{path}.json and {name}.nc must be of one evaluation, but their NLLs are not the same")
    data = run.config().get("data")
    return StoredEvaluation(
        str(run.folder), name, split, result, bits, caveats, gap, sandwich, data, summary.get("other_data")
    )


def _result(values: Any) -> LogMarginal:
    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    stored = values.sample_stats
    missing = [name for name in STATISTICS if name not in stored]
    if missing:
        raise ValueError(f"it lacks {join_names(missing)}")
    statistics: dict[str, Any] = {name: tensor(stored[name].values) for name in STATISTICS}
    x = tensor(values.observed_data["x"].values)
    B = len(x)
    if B == 0 or any(figures.shape != (B,) for figures in statistics.values()):
        raise ValueError(f"there must be one of each for the {B} data")
    check = None
    if "check_index" in stored:
        columns = ("index", "log_prob", "difference", "standard_error")
        check = CrossCheck(**{name: tensor(stored[f"check_{name}"].values) for name in columns})
    found = tensor(stored["prior_found"].values) if "prior_found" in stored else None
    nothing = torch.empty(0, B)
    method = values.attrs["method"]
    return LogMarginal(
        **statistics,
        method=method,
        tail=nothing,
        draws={},
        log_likelihood=nothing.T,
        x=x,
        check=check,
        prior_found=found,
    )


def common_evaluation(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Choose among the evaluations of test data that all runs have.

    Adaptive ones come before annealed ones and these before importance sampling; then the one of more images, of the
    best weights, and of more evaluations of the model is taken.

    Args:
        found: the summaries of each run's evaluations, by run and name.

    Returns:
        the evaluation's name.

    Raises:
        ValueError: if there is none in common.

    Example:
        >>> few, many = ({"split": "test", "method": "importance", "num_evaluations": K} for K in (10, 5000))
        >>> common_evaluation({"a": {"few": few, "many": many}, "b": {"few": few}})
        'few'
        >>> common_evaluation({"a": {"few": few, "many": many}, "b": {"few": few, "many": many}})
        'many'
    """
    tested = {
        run: {name: entry for name, entry in entries.items() if entry.get("split") == "test"}
        for run, entries in found.items()
    }
    first, *others = tested.values()
    common = [name for name in first if all(name in entries for entries in others)]
    if not common:
        has = ", ".join(
            f"{run} has {join_names(list(entries)) if entries else 'none'}" for run, entries in tested.items()
        )
        raise checks.InputError(
            f"runs must have an evaluation of test data in common, but {has}: run pyrovae evaluate with the same "
            'options for each, or name one for each with --evaluation "[NAME, NAME]"'
        )

    def rank(name: str) -> tuple[int, int, bool, int]:
        entry = first[name]
        images, effort = entry.get("num_data"), entry.get("num_evaluations")
        adaptive, annealed = entry.get("adaptive"), bool(entry.get("share_annealed"))
        return (  # the closest to log p(x) is the last
            3 if adaptive is not None and adaptive.get("reached") else 0 if adaptive is not None else 1 + int(annealed),
            images if isinstance(images, int) else 0,
            entry.get("weights") == "best",
            effort if isinstance(effort, int) else 0,
        )

    return max(common, key=rank)


def check_comparable(evaluated: Mapping[str, StoredEvaluation]) -> None:
    """Refuse NLLs of which a difference would mean nothing: of several splits, or of several kinds.

    Args:
        evaluated: the evaluations by run.

    Raises:
        ValueError: naming which is of what.
    """
    splits = {run: entry.split for run, entry in evaluated.items()}
    if len(set(splits.values())) > 1:
        raise checks.InputError(f"evaluation must be of one split for all runs, but is {_by_value(splits)}")
    kinds = {run: entry.kind for run, entry in evaluated.items()}
    if len(set(kinds.values())) > 1:
        bits = {run: entry.bits_per_dim for run, entry in evaluated.items()}
        known = [f"{value:.4f} for {run}" for run, value in bits.items() if value is not None]
        raise checks.InputError(
            f"runs must be of one kind of likelihood, whose nats can be compared, but the NLL is that of "
            f"{_by_value(kinds, of='for')}" + (f"; bits/dim are {', '.join(known)}" if len(known) == len(bits) else "")
        )


def data_differences(evaluated: Mapping[str, StoredEvaluation]) -> list[str]:
    """Say in what the data of several evaluations differ, by the runs' configurations, in a sentence each.

    Args:
        evaluated: the evaluations by run.

    Returns:
        a sentence for each option of the data set that is not the same, and for their number.
    """
    described = {}
    for run, entry in evaluated.items():
        data = entry.data if isinstance(entry.data, dict) else {"class_path": entry.data}
        options = data.get("init_args") or {}
        described[run] = {"class": data.get("class_path"), **options, "number of images": len(entry.result.x)}
    same_class = len({options["class"] for options in described.values()}) == 1
    found = []
    for option in dict.fromkeys(option for options in described.values() for option in options):
        values = {run: str(options.get(option, "none")) for run, options in described.items()}
        shared = all(option in options for options in described.values())  # others come with their class
        if len(set(values.values())) > 1 and (shared or same_class):
            found.append(f"The data's {option} differs: {_by_value(values, of='in')}.")
    return found or ["The data are configured the same way, but their values changed between the evaluations."]


def _by_value(values: Mapping[str, str], of: str = "for") -> str:
    """Say each value with the runs that have it."""
    runs: dict[str, list[str]] = {}
    for run, value in values.items():
        runs.setdefault(value, []).append(run)
    return ", ".join(f"{value} {of} {join_names(names)}" for value, names in runs.items())
