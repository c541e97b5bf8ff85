"""Map of codes in a plane as pixels, on which a point can be chosen and marked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.figures.base import COLOURS, array, blank
from pyrovae.figures.latents import draw_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Chart", "chart_of"]

_SIDE = 480  # pixels
_LEGEND = 28  # pixels above the plane, where the classes are named
_MARGIN = 0.11  # share of the side for the labels of the axes, on the left and below


@dataclass(frozen=True)
class Chart:
    """A picture of a rectangle of the plane around 0, with conversion between points and pixels.

    Attributes:
        pixels: pixels, ``(height, width, 3)``: a legend, if there is one, and below it a square.
        reach: largest coordinate of the rectangle, horizontally and vertically.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    reach: tuple[float, float]

    def point(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """Return the point at a pixel (column, row); pixels outside give the nearest point of the rectangle.

        Example:
            >>> chart = chart_of(torch.randn(50, 2), None, ("a", "b"), (2.0, 3.0))
            >>> [round(u, 2) for u in chart.point(chart.pixel((1.0, -2.0)))]
            [1.0, -2.0]
        """
        across = (pixel[0] / _SIDE - _MARGIN) / (1 - _MARGIN) * 2 - 1
        up = 1 - (pixel[1] - self._top) / _SIDE / (1 - _MARGIN) * 2
        return self.reach[0] * max(-1.0, min(1.0, across)), self.reach[1] * max(-1.0, min(1.0, up))

    def pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return the pixel (column, row) of a point."""
        across, up = ((u / reach + 1) / 2 for u, reach in zip(point, self.reach, strict=True))
        return _SIDE * (_MARGIN + (1 - _MARGIN) * across), self._top + _SIDE * (1 - _MARGIN) * (1 - up)

    def marked(self, point: tuple[float, float]) -> NDArray[np.uint8]:
        """Return the picture with a cross through a point and a ring around it."""
        pixels = self.pixels.copy()
        across, down = self.pixel(point)
        rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
        radius = np.hypot(rows - down, columns - across)
        inside = (columns >= _SIDE * _MARGIN) & (rows >= self._top) & (rows <= self._top + _SIDE * (1 - _MARGIN))
        cross = inside & ((abs(rows - down) < 0.8) | (abs(columns - across) < 0.8)) & (radius > 9)
        pixels[cross] = (pixels[cross] * 0.4).astype(np.uint8)
        pixels[abs(radius - 9) < 3] = 255
        pixels[abs(radius - 9) < 1.6] = 0
        return pixels

    @property
    def _top(self) -> int:
        """First row of the plane, below the legend."""
        return len(self.pixels) - _SIDE


def chart_of(
    points: Tensor,
    labels: Tensor | None,
    names: tuple[str, str],
    reach: tuple[float, float],
    *,
    categories: Sequence[str] = (),
    values: Tensor | None = None,
) -> Chart:
    """Draw points of a plane, coloured by class or by numbers.

    Args:
        points: points, ``(N, 2)``.
        labels: classes, ``(N,)``, negative if unknown; or None.
        names: names of the two coordinates.
        reach: largest coordinate of the picture, horizontally and vertically.
        categories: names of the classes; their numbers if empty.
        values: numbers ``(N,)`` to colour by, NaN if unknown, where there are no classes.
    """
    figure = blank(_SIDE / 100, _SIDE / 100)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))
    height = _SIDE
    if values is not None:
        height += _LEGEND
        _draw_numbers(figure, axes, array(points), array(values))
    elif 1 < draw_classes(axes, array(points), labels, 7) <= len(COLOURS):
        height += _LEGEND
        handles, numbers = axes.get_legend_handles_labels()
        length = max(2, 64 // len(numbers) - 2)  # letters of a name
        figure.legend(
            handles,
            [categories[int(text)][:length] if categories and text.isdigit() else text for text in numbers],
            loc="upper center",
            ncols=len(numbers),
            fontsize=9,
            markerscale=2.5,
            frameon=False,
            handletextpad=0,
            columnspacing=0.6,
            borderaxespad=0.1,
        )
    figure.set_size_inches(_SIDE / 100, height / 100)
    axes.set_position((_MARGIN, _MARGIN * _SIDE / height, 1 - _MARGIN, (1 - _MARGIN) * _SIDE / height))
    axes.tick_params(labelsize=9, direction="in", pad=3)
    axes.locator_params(nbins=6, prune="both")  # numbers at the corners would be cut off
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    figure.text(0.5 + _MARGIN / 2, 0.012, names[0], ha="center", fontsize=10)
    figure.text(0.006, (0.5 + _MARGIN / 2) * _SIDE / height, names[1], va="center", fontsize=10, rotation=90)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=100)
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, _SIDE, 4)[..., :3]
    return Chart(pixels.copy(), reach)


def _draw_numbers(figure: Figure, axes: Axes, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Scatter points in colours of numbers, between their percentiles 2 and 98, with a scale above the plane."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    known = ~np.isnan(values)
    low, high = np.quantile(values[known], [0.02, 0.98]) if known.any() else (0.0, 1.0)
    x, y = points.T
    axes.scatter(x[~known], y[~known], s=7, color="#bbbbbb", linewidths=0)
    # Without its lightest part, which the page in dark mode makes as dark as its background.
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.78, 256)))
    drawn = axes.scatter(x[known], y[known], 7, values[known], cmap=colours, vmin=low, vmax=high, linewidths=0)
    top = _SIDE + _LEGEND
    scale = figure.add_axes((0.35, 1 - 17 / top, 0.4, 9 / top))
    figure.colorbar(drawn, cax=scale, orientation="horizontal", ticks=[])
    for place, number, side in ((-0.03, low, "right"), (1.03, high, "left")):
        scale.text(place, 0.45, f"{number:.4g}", ha=side, va="center", fontsize=9, transform=scale.transAxes)
