"""What a run's program and data say of each other: labels, caveats, what to draw."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrovae import checks
from pyrovae.data import DataSet, Split
from pyrovae.evaluation import is_discrete
from pyrovae.likelihoods import Likelihood, caveat_of
from pyrovae.programs import Batch, uses_labels

__all__ = ["caveats_of", "labels_of", "some_of", "template_of"]


def labels_of(split: Split) -> Tensor:
    """Return the labels of a split, ``(N,)``.

    Raises:
        ValueError: if it has none, or not all are known.
    """
    if split.labels is None or bool((split.labels < 0).any()):
        raise checks.InputError("data must have the labels that the program needs, but some images have none, or -1")
    return split.labels


def some_of(program: Any, split: Split, count: int) -> Batch:
    """Return the first data of a split as the program is evaluated on them: x, or (x, y) if it always takes labels."""
    x = split[:count]
    return (x, labels_of(split)[: len(x)]) if uses_labels(program.model) == "always" else x


def template_of(program: Any, data: DataSet) -> Batch:
    """Return what new data are to be like: one x, with each of the classes if the program always takes labels."""
    x = data.test[:1]
    return (x, labels_of(data.test).unique()) if uses_labels(program.model) == "always" else x


def caveats_of(program: Any, data: DataSet) -> list[str]:
    """Say why the program's number on the data is no likelihood to publish, in a sentence each, if so."""
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
        caveat = caveat_of(is_discrete(program.model, some_of(program, data.test, 2)), data.kind)
    caveats = [] if caveat is None else [caveat]
    if uses_labels(program.model) == "always":
        caveats.append(
            "The labels are given, so that this is log p(x | y) and no likelihood of x: "
            "compare it only with models that are told the labels too."
        )
    return caveats
