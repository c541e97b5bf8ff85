"""Program and data of a run together: labels, templates, caveats, other data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyrovae import checks
from pyrovae.data import DataSet, Split, SplitName
from pyrovae.evaluation.health import findings
from pyrovae.likelihoods import Likelihood, caveat_of
from pyrovae.prediction import is_discrete, simulate
from pyrovae.programs import Batch, uses_labels
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.folder import Run
from pyrovae.training import History

__all__ = [
    "OtherData",
    "caveats_of",
    "first_data",
    "labels_of",
    "other_data",
    "simulated_data",
    "template_of",
    "training_health",
]

_CHECKED = 1000  # number of validation data that the program's health is checked on


def labels_of(split: Split) -> Tensor:
    """Return the labels of a split, ``(N,)``.

    Raises:
        ValueError: if labels are missing or partly unknown.
    """
    if split.labels is None or bool((split.labels < 0).any()):
        raise checks.InputError("data must have the labels that the program needs, but some data have none, or -1")
    return split.labels


def first_data(program: Any, split: Split, count: int) -> Batch:
    """Return the first data of a split as the program takes them: x, or (x, y) if it always takes labels."""
    x = split[:count]
    return (x, labels_of(split)[: len(x)]) if uses_labels(program.model) == "always" else x


def template_of(program: Any, data: DataSet) -> Batch:
    """Return a template of new data: one x, and all classes if the program always takes labels."""
    x = data.test[:1]
    return (x, labels_of(data.test).unique()) if uses_labels(program.model) == "always" else x


@dataclass(frozen=True)
class OtherData:
    """Evaluated data that are not those of the run.

    Attributes:
        suffix: suffix of the names of files with their results.
        sentence: description of the difference.
    """

    suffix: str
    sentence: str


def other_data(run: Run, data: DataSet, split: SplitName | None = None) -> OtherData | None:
    """Compare data that were given in place of a run's own with these; return None if they are the same.

    Args:
        run: the run; a run of an older version has no record of its data, so that given data count as others.
        data: the data.
        split: the part of them that is used, for the sentence to say so if it is not all.
    """
    own, given = run.data_record(), DataRecord.of(data)
    sentence = "These data were given, and the run is too old to know its own: whether these are them is not known."
    if own is not None:
        difference = own.difference(given)
        if difference is None:
            return None
        sentence = (
            f"These are other data than the run's ({difference}): whether it was trained on some of them is not known."
        )
    total, used = len(data.all), len(getattr(data, split or "all"))
    if used < total:
        sentence += f" Of the {total} data these are the {used} of the {split} split: --split all takes all."
    digest = hashlib.blake2b("".join(given.hashes.values()).encode(), digest_size=4)
    return OtherData(f"-data-{digest.hexdigest()}", sentence)


def simulated_data(program: Any, described: DataRecord, count: int) -> DataSet:
    """Return test data that are drawn from the program, for runs whose data are not available.

    Args:
        program: the trained program.
        described: record of the run's data.
        count: number of data, at least 2.

    Raises:
        ValueError: if the model cannot be simulated.
    """
    _, (x, *labels) = simulate(program.model, count, described.template(program))
    given = labels[0] if labels else None
    return DataSet(x[:2], None if given is None else given[:2], x, given, validation_size=1)


def caveats_of(program: Any, data: DataSet) -> list[str]:
    """Return reasons why the program's NLL of the data is not a likelihood to publish, in sentences."""
    likelihood = getattr(program, "likelihood", None)
    if isinstance(likelihood, Likelihood):
        caveat = likelihood.caveat(data.kind)
        if (
            caveat is None
            and data.observed_levels is not None
            and likelihood.levels not in (None, data.observed_levels)
        ):
            caveat = (
                f"The likelihood is a probability of {likelihood.levels} levels, and the data have "
                f"{data.observed_levels}: it is not that of these data."
            )
    else:
        caveat = caveat_of(is_discrete(program.model, first_data(program, data.test, 2)), data.kind)
    caveats = [] if caveat is None else [caveat]
    if uses_labels(program.model) == "always":
        caveats.append(
            "The labels are given, so that this is log p(x | y) and no likelihood of x: "
            "compare it only with models that are told the labels too."
        )
    return caveats


def training_health(program: Any, data: DataSet, history: History) -> list[str]:
    """Return a sentence for each problem of the training curves, or of the program on validation data.

    Args:
        program: the trained program.
        data: the data that it was trained on.
        history: the training's epochs.
    """
    found = findings(program.model, program.guide, first_data(program, data.validation, _CHECKED))
    return list({**found, **history.findings()}.values())
