"""Pictures of data: reconstructions, samples, the decoder's plane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.figures.base import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["manifold", "reconstructions", "samples"]


def reconstructions(x: Tensor, means: Tensor) -> Figure:
    """Draw data above, their reconstructions below.

    Args:
        x: data, ``(B, *data_shape)``.
        means: reconstructions, likewise.
    """
    if x.shape != means.shape:
        raise checks.InputError(f"x and means must have one shape, but have {tuple(x.shape)} and {tuple(means.shape)}")
    per_row = min(10, len(x))
    blank = torch.full_like(x[:1], 0.5).expand(-len(x) % per_row, *x.shape[1:])  # fills the last row
    x, means = torch.cat((x, blank)), torch.cat((means, blank))
    rows = [part for pair in zip(x.split(per_row), means.split(per_row), strict=True) for part in pair]
    figure = image_grid(torch.cat(rows), columns=per_row)
    figure.axes[0].set_title("data (upper rows) and reconstructions (lower rows)", fontsize=10)
    return figure


def samples(x: Tensor, columns: int | None = None, *, noise: bool = False) -> Figure:
    """Draw new data, in a square or in so many columns.

    Args:
        x: ``(N, *data_shape)``.
        columns: images in a row.
        noise: whether they are draws from p(x|z), and not its means.
    """
    figure = image_grid(x, columns=math.ceil(math.sqrt(len(x))) if columns is None else columns)
    figure.axes[0].set_title(f"samples from the prior ({'draws from' if noise else 'means of'} p(x|z))", fontsize=10)
    return figure


def manifold(means: Tensor, columns: int) -> Figure:
    """Draw the decoder's image of a grid of codes, the first coordinate to the right, the second upwards.

    Args:
        means: ``(columns * columns, *data_shape)``, the second coordinate's rows from bottom to top.
        columns: codes in a row.
    """
    rows = means.unflatten(0, (-1, columns)).flip(0).flatten(0, 1)
    figure = image_grid(rows, columns, padding=0)
    figure.axes[0].set_title("the decoder at evenly spaced percentiles of the prior", fontsize=10)
    return figure
