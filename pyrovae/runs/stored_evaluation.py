"""Evaluations in the folders of runs: reading them, choosing a common one, checking that they are comparable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.data import SplitName
from pyrovae.evaluation import CrossCheck, LogMarginal
from pyrovae.evaluation.comparison_table import join_names
from pyrovae.evaluation.likelihood.result import STATISTICS
from pyrovae.evaluation.likelihood.thermodynamic import ThermodynamicIntegral
from pyrovae.runs.folder import Run
from pyrovae.runs.program import OtherData

__all__ = [
    "StoredEvaluation",
    "check_comparable",
    "common_evaluation",
    "data_differences",
    "evaluations_of",
    "read_evaluation",
]


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation read from a run's folder.

    Attributes:
        folder: folder of the run.
        name: name of the evaluation.
        split: split of the data.
        result: estimates of log p(x), without draws.
        bits_per_dim: NLL in bits per dimension, or None.
        caveats: reasons why the NLL is not a likelihood to publish, in sentences.
        gap: gap of a sandwich, in nats: largest excess of the NLL in expectation; None without a sandwich.
        sandwich: conclusion from the sandwich, in a sentence; None without a sandwich.
        data: configuration of the run's data.
        other_data: sentence that says that the data are not those of the run; None if they are.
    """

    folder: str
    name: str
    split: str
    result: LogMarginal
    bits_per_dim: float | None
    caveats: list[str] = field(repr=False)
    gap: float | None
    sandwich: str | None = field(repr=False)
    data: Any = field(repr=False)
    other_data: str | None = field(repr=False)

    @property
    def kind(self) -> str:
        """Description of the quantity whose negative logarithm is the NLL."""
        if self.caveats:
            return f"no likelihood ({'; '.join(caveat.rstrip('.') for caveat in self.caveats)})"
        if self.bits_per_dim is None:
            return "a density of real numbers"
        levels = round(2**self.offset)
        return "a probability" if levels == 1 else f"a density of data dequantised from {levels} levels"

    @property
    def offset(self) -> float:
        """Difference between ``bits_per_dim`` and the NLL in bits: log2 of the levels of dequantised data."""
        return math.nan if self.bits_per_dim is None else self.bits_per_dim - self.result.nll / self._nats_per_bit

    def bits(self, nll: float) -> float | None:
        """Convert an NLL of data of this kind from nats to bits per dimension; None if not defined for the data."""
        return None if self.bits_per_dim is None else nll / self._nats_per_bit + self.offset

    @property
    def _nats_per_bit(self) -> float:
        return math.prod(self.result.x.shape[1:]) * math.log(2)


def read_evaluation(run: Run, name: str) -> StoredEvaluation:
    """Read an evaluation with its values of each datum.

    Args:
        run: the run.
        name: name of the evaluation, such as ``test-importance-5000``.

    Raises:
        ValueError: if the run has no evaluation of this name, or its files cannot be read or do not match.
    """
    found = run.evaluations()
    if name not in found:
        raise checks.InputError(
            f"evaluation must be one that {run.folder} has, {', '.join(found) or 'which is none'}, but {name} was given"
        )
    summary, values = found[name], run.values(name)
    path = run.folder / "evaluation" / name
    nll, measured = summary["nll"], summary.get("sandwich") or {}
    try:
        result = _result(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise checks.InputError(f"{path}.nc must hold the figures of each datum: {checks.reason(error)}") from error
    if nll is None:
        raise checks.InputError(f"{path}.json must have a finite NLL to be compared, but it is infinite or unknown")
    if not math.isclose(result.nll, nll, rel_tol=1e-6, abs_tol=1e-6):
        raise checks.InputError(f"{path}.json and {name}.nc must be of one evaluation, but their NLLs are not the same")
    data = run.config().get("data")
    return StoredEvaluation(
        folder=str(run.folder),
        name=name,
        split=summary["split"],
        result=result,
        bits_per_dim=summary["bits_per_dim"],
        caveats=summary["caveats"],
        gap=measured.get("gap"),
        sandwich=measured.get("sentence"),
        data=data,
        other_data=summary.get("other_data"),
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
    check = None
    if "check_index" in stored:
        columns = ("index", "log_prob", "difference", "standard_error")
        check = CrossCheck(**{name: tensor(stored[f"check_{name}"].values) for name in columns})
    found, unbiased = (
        tensor(stored[name].values) if name in stored else None for name in ("prior_found", "log_unbiased")
    )
    integral = None
    if "integral_log_prob" in stored:
        columns = ("log_prob", "standard_error", "discretization", "difference")
        integral = ThermodynamicIntegral(**{name: tensor(stored[f"integral_{name}"].values) for name in columns})
    nothing = torch.empty(0, len(x))
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
        log_unbiased=unbiased,
        integral=integral,
        is_refined=bool(values.attrs.get("is_refined", False)),
    )


def evaluations_of(
    entries: Mapping[str, Mapping[str, Any]], other: OtherData | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return the evaluations of a run's own data, or of certain other data, without the suffix of these data.

    Args:
        entries: summaries of a run's evaluations by name.
        other: the other data; the run's own if None.

    Example:
        >>> other = OtherData("-data-12ab", "These are other data.")
        >>> entries = {"a": {"other_data": None}, "a-data-12ab": {"other_data": other.sentence}}
        >>> list(evaluations_of(entries)), list(evaluations_of(entries, other)) == list(evaluations_of(entries))
        (['a'], True)
    """
    suffix = "" if other is None else other.suffix
    return {
        name.removesuffix(suffix): entry
        for name, entry in entries.items()
        if (entry.get("other_data") is None if other is None else name.endswith(suffix))
    }


def common_evaluation(found: Mapping[str, Mapping[str, Mapping[str, Any]]], split: SplitName = "test") -> str:
    """Choose the best evaluation of one split that all runs have in common.

    Adaptive evaluations are preferred to annealed ones, and these to importance sampling; then more data, the best
    weights, and more decoder runs are preferred.

    Args:
        found: summaries of the evaluations by run and name.
        split: part of the data.

    Returns:
        name of the evaluation.

    Raises:
        ValueError: if there is no common evaluation.

    Example:
        >>> few, many = ({"split": "test", "method": "importance", "num_evaluations": K} for K in (10, 5000))
        >>> common_evaluation({"a": {"few": few, "many": many}, "b": {"few": few}})
        'few'
        >>> common_evaluation({"a": {"few": few, "many": many}, "b": {"few": few, "many": many}})
        'many'
    """
    tested = {
        run: {name: entry for name, entry in entries.items() if entry.get("split") == split}
        for run, entries in found.items()
    }
    first, *others = tested.values()
    common = [name for name in first if all(name in entries for entries in others)]
    if not common:
        has = ", ".join(
            f"{run} has {join_names(list(entries)) if entries else 'none'}" for run, entries in tested.items()
        )
        raise checks.InputError(
            f"runs must have an evaluation of {split} data in common, but {has}: run pyrovae evaluate with the same "
            'options for each, or name one for each with --evaluation "[NAME, NAME]"'
        )

    def rank(name: str) -> tuple[int, int, bool, int]:
        entry = first[name]
        count, effort = entry.get("num_data"), entry.get("num_evaluations")
        adaptive, annealed = entry.get("adaptive"), bool(entry.get("share_annealed"))
        return (  # the evaluation closest to log p(x) has the highest rank
            3 if adaptive is not None and adaptive.get("reached") else 0 if adaptive is not None else 1 + int(annealed),
            count if isinstance(count, int) else 0,
            entry.get("weights") == "best",
            effort if isinstance(effort, int) else 0,
        )

    return max(common, key=rank)


def check_comparable(evaluated: Mapping[str, StoredEvaluation]) -> None:
    """Raise an error if NLLs are not comparable, because their splits or kinds differ.

    Args:
        evaluated: evaluations by run.

    Raises:
        ValueError: if splits or kinds differ.
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
    """Describe how the data of several evaluations differ according to the runs' configurations.

    Args:
        evaluated: evaluations by run.

    Returns:
        a sentence for each option of the data set that differs, and for the number of data.
    """
    described = {}
    for run, entry in evaluated.items():
        data = entry.data if isinstance(entry.data, dict) else {"class_path": entry.data}
        options = data.get("init_args") or {}
        described[run] = {"class": data.get("class_path"), **options, "number of data": len(entry.result.x)}
    same_class = len({options["class"] for options in described.values()}) == 1
    found = []
    for option in dict.fromkeys(option for options in described.values() for option in options):
        values = {run: str(options.get(option, "none")) for run, options in described.items()}
        shared = all(option in options for options in described.values())  # other options belong to a class
        if len(set(values.values())) > 1 and (shared or same_class):
            found.append(f"The data's {option} differs: {_by_value(values, of='in')}.")
    return found or ["The data are configured the same way, but their values changed between the evaluations."]


def _by_value(values: Mapping[str, str], of: str = "for") -> str:
    """List each value with the runs that have it."""
    runs: dict[str, list[str]] = {}
    for run, value in values.items():
        runs.setdefault(value, []).append(run)
    return ", ".join(f"{value} {of} {join_names(names)}" for value, names in runs.items())
