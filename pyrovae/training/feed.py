"""What a program is fed: batches of a split, with or without labels, as its signature asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from pyrovae import checks
from pyrovae.data import DataSet, Split
from pyrovae.handlers import Arguments, Program, uses_labels

__all__ = ["Labels", "batches", "count_batches", "labels_for"]

Labels: TypeAlias = Literal["no", "where known", "always"]
"""Whether a program takes labels: see :func:`pyrovae.handlers.uses_labels`."""


def labels_for(model: Program, guide: Program, data: DataSet | None = None) -> Labels:
    """Tell which labels model and guide take, and whether the data, if they are given, have them.

    Raises:
        ValueError: if they differ, or take labels that the data do not have.
    """
    labels = uses_labels(model)
    if uses_labels(guide) != labels:
        raise checks.InputError("model and guide must both take labels y, or neither, but only one does")
    for name in ("train", "validation") if labels == "always" and data is not None else ():
        known = getattr(data, name).labels
        if known is None or bool((known < 0).any()):
            raise checks.InputError(
                f"data must have the labels that the program needs, but some {name} images have none"
            )
    return labels


def batches(labels: Labels, split: Split, batch_size: int, *, shuffle: bool = False) -> Iterator[Arguments]:
    """Yield what the programs are called with: (x,), or (x, y) where labels are taken and known."""
    if labels == "no":
        for x in split.batches(batch_size, shuffle=shuffle):
            yield (x,)
    else:
        yield from split.labelled_batches(batch_size, shuffle=shuffle)


def count_batches(labels: Labels, split: Split, batch_size: int) -> int:
    """Count what :func:`batches` yields."""
    known = 0 if labels == "no" or split.labels is None else int((split.labels >= 0).sum())
    return -(-known // batch_size) + -(-(len(split) - known) // batch_size)
