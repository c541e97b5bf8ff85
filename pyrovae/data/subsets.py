"""Data sets derived from others: another binarisation, or a subset of the classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from pyrovae import checks
from pyrovae.data.dataset import DataSet
from pyrovae.data.split import Binarization
from pyrovae.data.validation import check_values

__all__ = ["observed", "of_classes"]

_SPLITS = ("train", "validation", "test")


def observed(data: DataSet, binarization: Binarization = "none", dequantize: bool = False) -> DataSet:
    """Return a data set with the same splits, whose data are binarised, dequantised or scaled another way.

    Args:
        data: the data set, which is not changed.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.

    Raises:
        ValueError: if the data cannot be observed that way.

    Example:
        >>> observed(Digits(), dequantize=True).kind
        'dequantized'
    """
    checks.choice("binarization", binarization, ("none", "static", "dynamic", "threshold"))
    if dequantize and binarization != "none":
        raise checks.InputError(f"dequantize must be false when binarization is {binarization}, but true was given")
    if dequantize and data.levels is None:
        raise checks.InputError("dequantize needs integers, 8-bit or with levels, but the data are not quantised")
    made = copy.copy(data)
    made.binarization, made.dequantize = binarization, dequantize
    for name in _SPLITS:
        split = getattr(data, name)
        check_values(split.stored, data.levels, binarization)
        setattr(made, name, split.observed(binarization, dequantize))
    return made


def of_classes(data: DataSet, classes: Sequence[int]) -> DataSet:
    """Return a data set of the data of some classes, in the same splits.

    Args:
        data: the data set, which is not changed.
        classes: labels of the data to keep.

    Raises:
        ValueError: if the data have no labels, or a split has no datum of one of these classes.

    Example:
        >>> of_classes(Digits(), (0, 1)).test.labels.unique()
        tensor([0, 1])
    """
    wanted = torch.tensor(checks.integers("classes", classes, 0))
    made = copy.copy(data)
    for name in _SPLITS:
        split = getattr(data, name)
        if split.labels is None:
            raise checks.InputError(f"data must have labels, but {type(data).__name__} has none")
        labels = split.labels.cpu()
        missing = wanted[~torch.isin(wanted, labels)]
        if len(missing) > 0:
            raise checks.InputError(
                f"classes must have data in every split, but {missing[0].item()} has none in {name}"
            )
        position = torch.isin(labels, wanted).nonzero().flatten()
        setattr(made, name, split.take(position))
    return made
