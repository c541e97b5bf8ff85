"""What pictures have in common: colours, arrays, grids of images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.files import atomic_write

if TYPE_CHECKING:  # it takes a third of a second, and most commands draw nothing
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "array", "as_images", "blank", "image_grid", "plain_numbers", "save"]

_SIDE = 256  # pixels of the longer side of an image among others, at most
_FINEST = 28  # pixels that every image may have
_ACROSS = 2048  # pixels of a whole grid, about: a figure has no more

COLOURS = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999933",
    "#882255",
    "#000000",
    "#999999",
]
"""Okabe & Ito's colours, which the colour-blind can tell apart, and three that keep clear of them."""


def blank(width: float, height: float) -> Figure:
    """Make an empty figure, which no backend of matplotlib's knows, and which notebooks show.

    Args:
        width: inches.
        height: inches.
    """
    from pyrovae.figures.notebook import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained")


def image_grid(x: Tensor, columns: int, padding: int = 1) -> Figure:
    """Draw data as images in a grid, reduced where they are finer than the figure; vectors as :func:`as_images` does.

    Args:
        x: ``(N, *data_shape)``.
        columns: images in a row.
        padding: pixels between images.
    """
    from torchvision.utils import make_grid

    images = as_images(x, max(_FINEST, min(_SIDE, _ACROSS // columns)))  # (N, C, H, W)
    grid = make_grid(images, columns, padding, pad_value=0.5).permute(1, 2, 0).numpy()  # (H, W, 3)
    height, width = grid.shape[:2]
    inches = min(10.0, max(6.0, width / 40))
    figure = blank(inches, max(1.0, inches * height / width) + 0.4)
    axes = figure.subplots()
    axes.imshow(grid, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def as_images(x: Tensor, side: int = _SIDE) -> Tensor:
    """Return data as images with values from 0 to 1, ``(N, C, H, W)``; vectors as squares where they can be, or bars.

    What is longer than ``side``, as rows of many features are, is reduced to it by averaging.

    Args:
        x: ``(N, *data_shape)``.
        side: most pixels of the longer side.

    Example:
        >>> as_images(torch.zeros(5, 20_000)).shape, as_images(torch.zeros(5, 3, 400, 200)).shape
        (torch.Size([5, 1, 64, 256]), torch.Size([5, 3, 256, 128]))
    """
    images = _unreduced(x)
    height, width = images.shape[2:]
    if max(height, width) > side:
        height, width = (max(1, round(length * side / max(height, width))) for length in (height, width))
        images = F.interpolate(images, (height, width), mode="area")
    return images.expand(-1, -1, max(1, width // 4), -1) if height == 1 else images


def _unreduced(x: Tensor) -> Tensor:
    x = torch.as_tensor(x).detach().cpu().float()
    low, high = x.min(), x.max()
    if low < 0 or high > 1:
        x = (x - low) / (high - low).clamp(min=1e-12)
    shape: Sequence[int] = x.shape[1:]
    if len(shape) == 3 and shape[0] in (1, 3):
        return x
    if len(shape) == 2:
        return x[:, None]
    flat = x.flatten(1)  # (N, n)
    side = math.isqrt(flat.shape[1])
    return flat.reshape(len(x), 1, side, side) if side * side == flat.shape[1] else flat[:, None, None]


def array(values: Tensor | NDArray[Any]) -> NDArray[np.float64]:
    """Return a tensor or an array as a float64 array.

    Args:
        values: of any shape.
    """
    return torch.as_tensor(values).detach().cpu().double().numpy()


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> None:
    """Write a figure as a PNG file, whole or not at all; its folder is made if need be.

    Args:
        figure: what to write.
        path: of the file.
        dpi: pixels an inch.
    """
    with atomic_write(Path(path)) as file:
        figure.savefig(file, format="png", dpi=dpi)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, 20, ..., but for one that is too long for that.

    Args:
        axis: whose limits are set.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if high < 3e4 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
