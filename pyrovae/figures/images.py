"""Figures of data as images: reconstructions, samples, a grid of decoded codes, labelled rows, a thumbnail map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.figures.base import COLOURS, array, as_images, blank, image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["labelled_rows", "manifold", "reconstructions", "samples", "thumbnail_map"]


def reconstructions(x: Tensor, means: Tensor) -> Figure:
    """Draw data above, their reconstructions below.

    Args:
        x: data, ``(B, *data_shape)``.
        means: reconstructions, ``(B, *data_shape)``.
    """
    if x.shape != means.shape:
        raise checks.InputError(f"x and means must have one shape, but have {tuple(x.shape)} and {tuple(means.shape)}")
    per_row = min(10, len(x))
    filler = torch.full_like(x[:1], 0.5).expand(-len(x) % per_row, *x.shape[1:])  # fills the last row
    x, means = torch.cat((x, filler)), torch.cat((means, filler))
    rows = [part for pair in zip(x.split(per_row), means.split(per_row), strict=True) for part in pair]
    figure = image_grid(torch.cat(rows), columns=per_row)
    figure.axes[0].set_title("data (upper rows) and reconstructions (lower rows)", fontsize=10)
    return figure


def samples(x: Tensor, columns: int | None = None, *, noise: bool = False) -> Figure:
    """Draw generated data in a grid.

    Args:
        x: data, ``(N, *data_shape)``.
        columns: number of images in a row; by default the grid is about square.
        noise: True if the data are samples of p(x|z), False if they are its means.
    """
    figure = image_grid(x, columns=math.ceil(math.sqrt(len(x))) if columns is None else columns)
    figure.axes[0].set_title(f"samples from the prior ({'draws from' if noise else 'means of'} p(x|z))", fontsize=10)
    return figure


def manifold(means: Tensor, columns: int) -> Figure:
    """Draw the decoder's means on a grid of codes, with the first coordinate to the right, the second upwards.

    Args:
        means: means, ``(columns * columns, *data_shape)``, with rows of the second coordinate from bottom to top.
        columns: number of codes in a row.
    """
    rows = means.unflatten(0, (-1, columns)).flip(0).flatten(0, 1)
    figure = image_grid(rows, columns)
    figure.axes[0].set_title("the decoder at evenly spaced percentiles of the prior", fontsize=10)
    return figure


def labelled_rows(rows: Mapping[str, Tensor], title: str = "") -> Figure:
    """Draw rows of images, each with its name on the left; shorter rows are filled with white.

    Args:
        rows: images by the name of the row, ``(N, *data_shape)`` each, with values clipped to 0 to 1.
        title: title of the figure.

    Raises:
        InputError: if there are no images.
    """
    from torchvision.utils import make_grid

    if not rows or not all(len(x) for x in rows.values()):
        raise checks.InputError("rows must hold at least one image each, but are empty")
    columns = max(len(x) for x in rows.values())
    images = {name: as_images(x.detach().clamp(0, 1)) for name, x in rows.items()}  # (N, C, H, W) each
    parts = [torch.cat((x, torch.full_like(x[:1], 1.0).expand(columns - len(x), -1, -1, -1))) for x in images.values()]
    height, width = parts[0].shape[-2:]
    pad = max(1, height // 14)
    grid = make_grid(torch.cat(parts), columns, pad, pad_value=1.0).permute(1, 2, 0).numpy()
    inches = min(0.7, 8.4 / columns) * grid.shape[1] / (columns * width)  # inches per image, with padding
    wide, high = columns * inches, columns * inches * grid.shape[0] / grid.shape[1]
    left, above = 0.085 * max(map(len, "\n".join(rows).splitlines())) + 0.1, 0.4 if title else 0.1
    figure = blank(left + wide + 0.1, high + above + 0.1)
    figure.set_layout_engine("none")  # the axes have exactly the size of the images
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes((left / full_width, 0.1 / full_height, wide / full_width, high / full_height))
    axes.imshow(grid, interpolation="nearest", vmin=0, vmax=1, aspect="equal")
    axes.set_yticks([pad + height / 2 + row * (height + pad) for row in range(len(rows))], list(rows), fontsize=10)
    axes.tick_params(length=0)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=11)
    return figure


def thumbnail_map(codes: Tensor, x: Tensor, size: float = 0.4) -> Figure:
    """Draw data as small images at their codes in the plane, as many as fit without overlap.

    Args:
        codes: codes, ``(N, 2)``.
        x: data, ``(N, *data_shape)``.
        size: longest side of an image, in inches.

    Raises:
        InputError: if the codes have not two dimensions, or another number than the data.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    if codes.shape != (len(x), 2):
        raise checks.InputError(
            f"codes must have the shape ({len(x)}, 2), one for each of x, but have {tuple(codes.shape)}"
        )
    points, images = array(codes), as_images(x.detach().clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    inches = 7.0
    figure = blank(inches, inches)
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=3, color=COLOURS[0], alpha=0.4, linewidths=0)
    low, high = points.min(0), points.max(0)
    room = 1.15 * size / (0.86 * inches) * float((high - low).max())
    pixels = max(images.shape[1:3])
    placed: list[np.ndarray] = []
    for point, image in zip(points, images, strict=True):
        if all(np.abs(point - other).max() > room for other in placed):
            placed.append(point)
            picture = OffsetImage(image, zoom=72 * size / pixels, cmap="gray", interpolation="nearest")
            picture.image.set_clim(0, 1)
            axes.add_artist(AnnotationBbox(picture, tuple(point), frameon=False, pad=0))
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=f"{len(placed)} of {len(x):,} data at the means of q(z|x)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.06)
    return figure
