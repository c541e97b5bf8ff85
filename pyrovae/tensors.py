"""Tensors of what is given as data: tensors, arrays and data frames, of any type of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["as_tensor", "is_data"]


def is_data(x: Any) -> bool:
    """Tell data, or data and labels, from an iterable of such batches."""
    return isinstance(x, Tensor | np.ndarray | tuple) or hasattr(x, "to_numpy")


def as_tensor(name: str, data: Any, modules: Iterable[nn.Module] = ()) -> Tensor:
    """Return a tensor, an array or a data frame as a tensor.

    Args:
        name: of the argument.
        data: with data along the first dimension.
        modules: what they are for: floats become those that the parameters of these are.

    Raises:
        ValueError: if it is none of these, is a single number, or does not hold numbers.

    Example:
        >>> as_tensor("x", np.eye(2)).dtype, as_tensor("x", np.eye(2), [nn.Linear(2, 2)]).dtype
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
    if not values.is_floating_point():
        return values
    parameters = (parameter for module in modules for parameter in module.parameters())
    return values.to(next((part.dtype for part in parameters if part.is_floating_point()), values.dtype))
