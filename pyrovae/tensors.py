"""Conversion of tensors, arrays, data frames, lists of numbers and torch's data sets to tensors."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from pyrovae import checks

__all__ = ["as_tensor", "is_data", "numbers_of", "parts_of_dataset", "rows"]


def is_data(x: Any) -> bool:
    """Tell whether ``x`` is one batch (data, or data and labels) rather than an iterable of batches.

    Example:
        >>> is_data([[0.0, 1.0]]), is_data([torch.zeros(1, 2)])
        (True, False)
    """
    return isinstance(x, Tensor | np.ndarray | tuple | Dataset) or hasattr(x, "to_numpy") or _is_list_of_numbers(x)


def _is_list_of_numbers(x: Any) -> bool:
    leaf = x
    while isinstance(leaf, list | tuple) and len(leaf) > 0:
        leaf = leaf[0]
    return leaf is not x and isinstance(leaf, Number | np.generic)


def rows(data: Any, index: Tensor) -> Any:
    """Return some data of a tensor, an array, a data frame, a list or a data set of torch.

    Of a memory-mapped array, only these are read.

    Args:
        data: the values, with the data along the first dimension.
        index: positions of the data, int64 of shape ``(n,)``.

    Example:
        >>> rows(np.eye(3), torch.tensor([2]))
        array([[0., 0., 1.]])
    """
    if isinstance(data, Tensor):
        return data[index.to(data.device)]
    positions = index.cpu().numpy()
    if isinstance(data, Dataset):
        return Subset(data, positions.tolist())
    if isinstance(data, list):
        return [data[i] for i in positions]
    return data.iloc[positions] if hasattr(data, "iloc") else data[positions]


def numbers_of(data: Any) -> Any:
    """Return a data frame as an array, and a masked array with NaN where it is masked; anything else as it is.

    Example:
        >>> numbers_of(np.ma.masked_equal([1, 2], 2))
        array([ 1., nan])
    """
    if isinstance(data, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(data), np.nan, data.data) if np.ma.is_masked(data) else data.data
    if not hasattr(data, "to_numpy"):
        return data
    values = data.to_numpy()
    if values.dtype != object:
        return values
    try:  # columns of pandas' types that mark an empty cell by a value of its own
        return data.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):  # text, which is refused
        return values


def as_tensor(name: str, data: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Convert a tensor, an array, a data frame or a list of numbers to a tensor.

    Args:
        name: name of the argument, for error messages.
        data: the values, with the data along the first dimension.
        dtype: type that floating-point numbers get, such as
            :func:`pyrovae.programs.parameter_dtype` says; None to leave them as they are.

    Raises:
        ValueError: if it is none of these, is a single number, or does not hold numbers.

    Example:
        >>> as_tensor("x", np.eye(2)).dtype, as_tensor("x", np.eye(2), torch.float32).dtype
        (torch.float64, torch.float32)
        >>> as_tensor("x", [[0, 1], [2, 3]]).shape
        torch.Size([2, 2])
    """
    values = numbers_of(data)
    kind = type(data).__name__
    if isinstance(values, list | tuple) and _is_list_of_numbers(values):
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise checks.InputError(f"{name} must be a list of lists that have one length, but has several") from error
    if not isinstance(values, Tensor | np.ndarray):
        raise checks.InputError(
            f"{name} must be a tensor, an array, a data frame or a list of numbers, but a {kind} was given"
        )
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biuf":
            raise checks.InputError(f"{name} must hold numbers, but a {kind} of type {values.dtype} was given")
        values = torch.from_numpy(np.array(values, values.dtype.newbyteorder("=")))
    if values.dim() == 0:
        raise checks.InputError(f"{name} must hold data along its first dimension, but is a single number")
    return values if dtype is None or not values.is_floating_point() else values.to(dtype)


def parts_of_dataset(name: str, dataset: Dataset[Any]) -> tuple[Tensor, ...]:
    """Read a data set of torch into memory: its data, and what follows them in each item, such as labels.

    Args:
        name: name of the argument, for error messages.
        dataset: a data set with a length, whose items are x or tuples (x, y, ...) of tensors, arrays or numbers.

    Raises:
        ValueError: if it has no length, is empty, or its items have different shapes.

    Example:
        >>> [part.shape for part in parts_of_dataset("x", TensorDataset(torch.eye(3), torch.arange(3)))]
        [torch.Size([3, 3]), torch.Size([3])]
    """
    if isinstance(dataset, TensorDataset):
        return dataset.tensors
    sized: Any = dataset
    if not hasattr(dataset, "__len__") or len(sized) == 0:
        raise checks.InputError(
            f"{name} must be a data set with a length, at least 1, but a {type(dataset).__name__} was given"
        )
    items = [sized[i] for i in range(len(sized))]
    rows = [item if isinstance(item, list | tuple) else (item,) for item in items]
    try:
        columns = zip(*rows, strict=True)
        return tuple(torch.stack([torch.as_tensor(np.asarray(part)) for part in column]) for column in columns)
    except (RuntimeError, TypeError, ValueError) as error:
        raise checks.InputError(
            f"{name} must be a data set whose items hold arrays of one shape: {checks.reason(error)}"
        ) from error
