"""Conversion of tensors, arrays and data frames of numbers to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks

__all__ = ["as_tensor", "is_data", "rows"]


def is_data(x: Any) -> bool:
    """Tell whether ``x`` is one batch (data, or data and labels) rather than an iterable of batches."""
    return isinstance(x, Tensor | np.ndarray | tuple) or hasattr(x, "to_numpy")


def rows(data: Any, index: Tensor) -> Any:
    """Return some data of a tensor, an array or a data frame; of a memory-mapped array, only these are read.

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
    return data.iloc[positions] if hasattr(data, "iloc") else data[positions]


def as_tensor(name: str, data: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Convert a tensor, an array or a data frame to a tensor.

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
    """
    values = data.to_numpy() if hasattr(data, "to_numpy") else data
    kind = type(data).__name__
    if not isinstance(values, Tensor | np.ndarray):
        raise checks.InputError(f"{name} must be a tensor, an array or a data frame, but a {kind} was given")
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biuf":
            raise checks.InputError(f"{name} must hold numbers, but a {kind} of type {values.dtype} was given")
        values = torch.from_numpy(np.array(values, values.dtype.newbyteorder("=")))
    if values.dim() == 0:
        raise checks.InputError(f"{name} must hold data along its first dimension, but is a single number")
    return values if dtype is None or not values.is_floating_point() else values.to(dtype)
