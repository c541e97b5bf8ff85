"""Missing values of data: which cells of x are NaN, and x with these cells filled."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["copy_missing", "draw_missing", "fill_missing", "has_missing", "is_missing", "same_values"]


def is_missing(x: Tensor) -> Tensor:
    """Tell which cells are missing: those that are NaN; integers have none.

    Args:
        x: data of any shape.

    Example:
        >>> is_missing(torch.tensor([1.0, float("nan")])), is_missing(torch.tensor([1, 2]))
        (tensor([False,  True]), tensor([False, False]))
    """
    return x.isnan()


def has_missing(x: Tensor) -> bool:
    """Tell whether a cell is missing; of floats, this reads all of them.

    Example:
        >>> has_missing(torch.tensor([1.0, float("nan")]))
        True
    """
    return x.is_floating_point() and bool(x.isnan().any())


def fill_missing(x: Tensor, value: float = 0.0) -> Tensor:
    """Return x with its missing cells set to a value, as encoders see them (Mattei & Frellsen, 2019, arXiv:1812.02633).

    Args:
        x: data of any shape, which are not changed.
        value: the value.

    Example:
        >>> fill_missing(torch.tensor([1.0, float("nan")]))
        tensor([1., 0.])
    """
    return torch.where(x.isnan(), value, x) if x.is_floating_point() else x


def draw_missing(x: Tensor) -> Tensor:
    """Return x with its missing cells set to observed values of the same cell of other data, one after the other.

    Means, medians and frequencies of each cell remain nearly those of the observed values. A cell that no datum has is
    set to 0. The result does not depend on random numbers.

    Args:
        x: data, ``(N, *data_shape)``, which are not changed.

    Example:
        >>> nan = float("nan")
        >>> draw_missing(torch.tensor([[1.0], [nan], [3.0], [nan], [nan]])).T
        tensor([[1., 1., 3., 3., 1.]])
    """
    if not has_missing(x):
        return x
    flat = x.reshape(len(x), -1)  # (N, P)
    missing = flat.isnan()
    order = missing.to(torch.uint8).argsort(dim=0, stable=True)  # the observed data of each cell first
    count = (~missing).sum(0).clamp(min=1)  # (P,)
    source = order.gather(0, (missing.cumsum(0) - 1).clamp(min=0) % count)
    return fill_missing(torch.where(missing, flat.gather(0, source), flat)).reshape(x.shape)


def copy_missing(x: Tensor, like: Tensor) -> Tensor:
    """Return x with the gaps of other data: datum i misses what datum i of these misses, cyclically.

    Args:
        x: data, ``(N, *data_shape)``, which are not changed.
        like: data, ``(M, *data_shape)``.

    Example:
        >>> copy_missing(torch.ones(3, 1), torch.tensor([[float("nan")], [0.0]])).T
        tensor([[nan, 1., nan]])
    """
    if not x.is_floating_point() or not has_missing(like):
        return x
    gaps = like.isnan()[torch.arange(len(x), device=like.device) % len(like)]
    return torch.where(gaps.to(x.device), torch.nan, x)


def same_values(first: Tensor, second: Tensor) -> bool:
    """Tell whether data are equal, with the same cells missing.

    Example:
        >>> nan = float("nan")
        >>> same_values(torch.tensor([nan, 1.0]), torch.tensor([nan, 1.0]))
        True
    """
    if torch.equal(first, second):
        return True
    return first.shape == second.shape and bool(((first == second) | (first.isnan() & second.isnan())).all())
