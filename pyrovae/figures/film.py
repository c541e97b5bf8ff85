"""Films of a two-dimensional latent space in training: codes of data, and decoded images of the plane."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks, progress
from pyrovae.figures.base import array, as_images, blank
from pyrovae.figures.latents import draw_classes
from pyrovae.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Frame", "film", "film_strip"]


class Frame(NamedTuple):
    """One moment of a training.

    Attributes:
        title: name of the moment.
        codes: means of q(z|x), ``(N, 2)``.
        means: means of the decoder on a square of codes, ``(n * n, *data_shape)``, as :func:`~pyrovae.prior_grid`
            returns them.
    """

    title: str
    codes: Tensor
    means: Tensor


def film(
    frames: Sequence[Frame], labels: Tensor | None, path: str | os.PathLike[str], seconds: float = 0.2, dpi: int = 80
) -> None:
    """Write frames as a GIF that repeats: the map of the codes, and the decoder's plane beside it.

    Args:
        frames: frames in order; the last one is shown for two seconds.
        labels: classes of the data, ``(N,)`` integers, or None.
        path: path of the file.
        seconds: duration of each other frame.
        dpi: pixels per inch; a frame is 8 inches wide and 4.2 high.

    Raises:
        InputError: if there are no frames, or codes are not of two dimensions.
    """
    from PIL import Image

    limit = _limit(frames)
    pictures = []
    for frame in progress.over(frames, "drawing the film", "frame"):
        figure = _side_by_side([frame], labels, limit, (8, 4.2), (1, 2))
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png", dpi=dpi)
            pictures.append(Image.open(buffer).convert("RGB"))
    # One palette for all frames: greys, and the most different colours, so that rare class colours are included.
    colours = pictures[-1].quantize(64, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours[:192], *np.linspace(0, 255, 64).round().astype(int).repeat(3).tolist()])
    drawn = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    times = [round(1000 * seconds)] * (len(drawn) - 1) + [2000]
    with atomic_write(Path(path)) as file:
        drawn[0].save(file, format="GIF", save_all=True, append_images=drawn[1:], duration=times, loop=0)


def film_strip(frames: Sequence[Frame], labels: Tensor | None, *, one_scale: bool = True) -> Figure:
    """Draw frames beside each other: the maps of the codes above, the decoder's planes below.

    Args:
        frames: frames in order.
        labels: classes of the data, ``(N,)`` integers, or None.
        one_scale: True to give all maps one scale, with a circle that contains 95 % of the standard normal prior; False
            to give each the scale of its codes.

    Raises:
        InputError: if there are no frames, or codes are not of two dimensions.
    """
    limit = _limit(frames) if one_scale else None
    size = (2.1 * len(frames) + 0.8, 4.7) if len(frames) > 2 else (4 * len(frames) + 0.8, 8)
    return _side_by_side(frames, labels, limit, size, (2, len(frames)))


def _limit(frames: Sequence[Frame]) -> float:
    """Return a limit of the axes that contains nearly all codes of all frames, for one scale."""
    if not frames:
        raise checks.InputError("frames must be at least one, but there are none")
    reach = max(float(np.quantile(np.abs(_points(frame)), 0.99)) for frame in frames)
    return max(3.0, 1.05 * reach)


def _points(frame: Frame) -> NDArray[np.float64]:
    if frame.codes.dim() != 2 or frame.codes.shape[1] != 2:
        raise checks.InputError(f"frames must hold codes of two dimensions, but one has {tuple(frame.codes.shape)}")
    return array(frame.codes)


def _side_by_side(
    frames: Sequence[Frame],
    labels: Tensor | None,
    limit: float | None,
    size: tuple[float, float],
    shape: tuple[int, int],
) -> Figure:
    figure = blank(*size)
    panels = figure.subplots(*shape, squeeze=False).reshape(2, -1)  # maps, planes
    for frame, upper, lower in zip(frames, *panels, strict=True):
        points = _points(frame)
        dot = float(np.clip(4000 / len(points), 1.5, 20))
        draw_classes(upper, points, labels, dot)
        upper.set_title(frame.title, fontsize=10)
        upper.tick_params(labelsize=9)
        if limit is None:
            upper.set_aspect("equal", adjustable="datalim")
        else:
            angle = np.linspace(0, 2 * np.pi, 200)
            radius = np.sqrt(2 * np.log(20))
            upper.plot(radius * np.cos(angle), radius * np.sin(angle), color="black", linewidth=0.8, linestyle=":")
            upper.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        _draw_plane(lower, frame.means)
    if limit is not None:
        for axes in panels[0][1:]:
            axes.set_yticklabels([])
    handles, names = panels[0][0].get_legend_handles_labels()
    if 0 < len(names) <= 20:
        scale = (30 / dot) ** 0.5
        figure.legend(handles, names, title="class", frameon=False, markerscale=scale, loc="outside right center")
    circle = "" if limit is None else " (circle: 95 % of the prior)"
    figure.suptitle(f"where the encoder puts the data{circle}, and the decoder's plane", fontsize=10)
    return figure


def _draw_plane(axes: Axes, means: Tensor) -> None:
    from torchvision.utils import make_grid

    n = round(len(means) ** 0.5)
    rows = as_images(means).unflatten(0, (n, n)).flip(0).flatten(0, 1)  # the second coordinate upwards
    axes.imshow(make_grid(rows, n, 0).permute(1, 2, 0).numpy(), interpolation="antialiased", vmin=0, vmax=1)
    axes.set_axis_off()
