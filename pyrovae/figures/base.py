"""Tools of all figures: colours, conversion to arrays, grids of images, saving."""

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

if TYPE_CHECKING:  # importing matplotlib takes a third of a second, and most commands draw nothing
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "array", "as_images", "blank", "image_grid", "plain_numbers", "save"]

_SIDE = 256  # largest number of pixels of the longer side of an image in a grid
_FINEST = 28  # pixels of the longer side that are never reduced
_ACROSS = 2048  # approximate width of a grid in pixels, about that of a saved figure

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
"""The colours of Okabe & Ito, which colour-blind readers can distinguish, and three more that differ from them."""


def blank(width: float, height: float) -> Figure:
    """Return an empty figure without a backend of matplotlib, which notebooks can show.

    Args:
        width: width in inches.
        height: height in inches.
    """
    from pyrovae.figures.notebook import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout="constrained")


def image_grid(x: Tensor, columns: int, padding: int = 1) -> Figure:
    """Draw data as images in a grid, by :func:`as_images`; images are reduced if they are finer than the figure.

    Args:
        x: data, ``(N, *data_shape)``.
        columns: number of images in a row.
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
    """Return data as images with values from 0 to 1, ``(N, C, H, W)``; vectors as squares if possible, else as bars.

    Images with a side longer than ``side`` are reduced by averaging.

    Args:
        x: data, ``(N, *data_shape)``.
        side: largest number of pixels of the longer side.

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
        values: values of any shape.
    """
    return torch.as_tensor(values).detach().cpu().double().numpy()


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> None:
    """Write a figure as a PNG file atomically, and make its folder if needed.

    Args:
        figure: the figure.
        path: path of the file.
        dpi: pixels per inch.
    """
    with atomic_write(Path(path)) as file:
        figure.savefig(file, format="png", dpi=dpi)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, 20, ..., unless its range is too large.

    Args:
        axis: the axis, whose limits are set.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if high < 3e4 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
