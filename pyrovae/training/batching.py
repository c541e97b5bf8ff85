"""Batches of a split, with or without labels, as the signature of a program requires."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch

from pyrovae import checks, distributed
from pyrovae.data import DataSet, Split
from pyrovae.programs import Arguments, PyroFunction, uses_labels

__all__ = ["Labels", "batches", "count_batches", "explain_single_datum", "labels_for", "parts_of"]

Labels: TypeAlias = Literal["no", "where known", "always"]
"""Use of labels by a program: see :func:`pyrovae.programs.uses_labels`."""


def labels_for(model: PyroFunction, guide: PyroFunction, data: DataSet | None = None) -> Labels:
    """Return whether model and guide take labels; check that the data, if given, have them.

    Raises:
        ValueError: if model and guide differ, or need labels that the data lack.
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


def batches(
    labels: Labels,
    split: Split,
    batch_size: int,
    *,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
    part: Literal["all", "share", "turn"] = "all",
) -> Iterator[Arguments]:
    """Yield the arguments of programs: (x,), or (x, y) if labels are taken and known.

    Args:
        labels: use of labels by the programs.
        split: split of the data.
        batch_size: number of images per batch, over all processes.
        shuffle: True if the order is random.
        generator: generator of the order; torch's default generator if not given.
        part: ``all`` batches; or for one of several processes, its ``share`` of each batch, which may be empty, or
            whole batches in ``turn``, sharded over ranks.
    """
    positions = split.positions(batch_size, shuffle=shuffle, by_label=labels != "no", generator=generator)
    for i in distributed.shard_indices(len(positions)) if part == "turn" else range(len(positions)):
        position = positions[i]
        if part == "share":
            position = position.tensor_split(distributed.count())[distributed.rank()]
        yield (split[position],) if labels == "no" else split.labelled(position)


def count_batches(labels: Labels, split: Split, batch_size: int) -> int:
    """Return the number of batches that :func:`batches` yields."""
    known = 0 if labels == "no" or split.labels is None else int((split.labels >= 0).sum())
    return -(-known // batch_size) + -(-(len(split) - known) // batch_size)


def parts_of(arguments: Arguments, count: int) -> list[Arguments]:
    """Split a batch into at most ``count`` parts of nearly equal size; an empty batch is one empty part.

    Example:
        >>> [len(x) for (x,) in parts_of((torch.zeros(5, 4),), 3)]
        [2, 2, 1]
    """
    count = max(1, min(count, len(arguments[0])))
    return list(zip(*(part.tensor_split(count) for part in arguments), strict=True))


@contextmanager
def explain_single_datum(count: int, batch_size: int, accumulate: int) -> Iterator[None]:
    """Explain the error of batch normalisation on a single datum, which has no statistics.

    Args:
        count: number of training images.
        batch_size: number of images per batch, over all processes.
        accumulate: number of parts of a batch.

    Raises:
        ValueError: with the sentence.
    """
    try:
        yield
    except Exception as error:
        if "Expected more than 1 value per channel when training" not in str(error):
            raise
        size = next((size for size in range(batch_size - 1, 1, -1) if count % size != 1), 2)
        parts = f", in {accumulate} parts" if accumulate > 1 else ""
        parts += f", of {distributed.count()} processes" if distributed.count() > 1 else ""
        raise checks.InputError(
            f"batch normalisation needs two images or more at a time, but with {count} training images and batch_size "
            f"{batch_size}{parts} it gets one alone: take another batch_size, such as {size}"
            + (", and fewer parts" if accumulate > 1 else "")
        ) from error
