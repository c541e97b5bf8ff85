"""Kinds of the columns of tables: which numbers they hold, and the scale on which these are spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["KINDS", "Kind"]

_LARGEST_COUNT = 2**24  # larger integers have no representation in single precision


@dataclass(frozen=True)
class Kind:
    """A kind of columns.

    Attributes:
        accepted: description of its values.
        inside: function that tells of each number, float64 of shape ``(*)``, whether it is such a value.
        has_categories: True if numbers are codes of categories.
        logarithm: function of x whose mean and scale describe the column, for an encoder; x itself if None.
    """

    accepted: str
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
    has_categories: bool = False
    logarithm: Callable[[Tensor], Tensor] | None = None


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()


def _log1p(x: Tensor) -> Tensor:
    return x.clamp(min=0).log1p()


KINDS = {
    "real": Kind("numbers", np.isfinite),
    "positive": Kind("numbers above 0", lambda x: x > 0, logarithm=_log),
    "count": Kind(
        "integers from 0 up to 16777216", lambda x: (x >= 0) & (x % 1 == 0) & (x <= _LARGEST_COUNT), logarithm=_log1p
    ),
    "binary": Kind("one of two values", np.isfinite, has_categories=True),
    "categorical": Kind("one of some categories", np.isfinite, has_categories=True),
    "ordinal": Kind("one of some ordered categories", np.isfinite, has_categories=True),
}
"""The kinds of columns, by name."""
