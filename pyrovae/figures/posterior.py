"""Figures of approximate posteriors: samples over the exact density, and forest plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae import checks
from pyrovae.arviz_import import highest_density_interval
from pyrovae.figures.base import COLOURS, array, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest", "plane_posteriors", "rank_ecdf"]


_NAMED = 12  # largest number of curves that are named


def plane_posteriors(
    samples: Mapping[str, Tensor], log_density: Tensor, limits: tuple[float, float, float, float], columns: int = 3
) -> Figure:
    """Draw samples of several approximations of one posterior in the plane, over contours of its exact density.

    The contours contain 50 %, 90 % and 99 % of the probability.

    Args:
        samples: samples by the name of the approximation, ``(S, 2)`` each.
        log_density: exact log-density up to a constant on a grid, ``(n, m)``, with the first coordinate by column and
            the second by row.
        limits: lower and upper limit of the first coordinate, then of the second.
        columns: number of panels in a row.
    """
    low, high, bottom, top = limits
    n, m = log_density.shape
    density = np.exp(array(log_density - log_density.max()))
    ordered = np.sort(density.flatten())[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    levels = [ordered[np.searchsorted(held, share)] for share in (0.99, 0.9, 0.5)]
    rows = -(-len(samples) // columns)
    figure = blank(3.2 * columns, 3.2 * rows * (top - bottom) / (high - low) + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for place, (name, points) in zip(axes, samples.items(), strict=False):
        chosen = array(points)
        place.scatter(chosen[:, 0], chosen[:, 1], s=4, color=COLOURS[1], alpha=0.5, linewidths=0, rasterized=True)
        place.contour(
            np.linspace(low, high, m), np.linspace(bottom, top, n), density, levels, colors="black", linewidths=0.9
        )
        place.set_title(name, fontsize=10)
        place.set(xlim=(low, high), ylim=(bottom, top), aspect="equal")
    for place in axes[len(samples) :]:
        place.set_axis_off()
    for place in axes[: len(samples)]:
        place.set_xlabel("$z_1$")
    for place in axes[::columns]:
        place.set_ylabel("$z_2$")
    return figure


def rank_ecdf(histograms: Mapping[str, Tensor], bands: tuple[Tensor, Tensor]) -> Figure:
    """Draw the distribution functions of ranks minus those of uniform ranks, with simultaneous bands.

    A curve that rises above the bands on the left and falls below them on the right belongs to a posterior that is too
    narrow, the reverse to one that is too wide; one on one side only is biased.

    Args:
        histograms: number of data by rank, ``(L + 1,)`` for each quantity. Those that leave the bands are named.
        bands: lower and upper ends, ``(L + 1,)`` each.
    """
    low, high = (array(end) for end in bands)
    place = np.arange(1, len(low) + 1) / len(low)
    figure = blank(7.0, 4.2)
    axes = figure.subplots()
    axes.fill_between(place, low, high, color="black", alpha=0.12, linewidth=0, label="95 % bands of uniform ranks")
    colour = 0
    for name, histogram in histograms.items():
        counts = array(histogram)
        curve = counts.cumsum() / counts.sum() - place
        if bool(((curve < low - 1e-9) | (curve > high + 1e-9)).any()):
            label = name if colour < _NAMED else None
            axes.plot(place, curve, color=COLOURS[colour % len(COLOURS)], linewidth=1.4, label=label)
            colour += 1
        else:
            axes.plot(place, curve, color="grey", linewidth=0.8, alpha=0.7)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel="rank of the true value, as a share of the draws", ylabel="share of the data, less that expected")
    axes.set_xlim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def forest(samples: Mapping[str, Mapping[str, Tensor]], share: float = 0.94) -> Figure:
    """Draw intervals of each quantity for each approximation: the shortest ones that hold a share of the samples.

    Args:
        samples: samples by the name of the approximation, then of the quantity, ``(S, *shape)`` each.
        share: probability within the thin lines; the thick lines contain half. Points are means.
    """
    checks.number("share", share, 0.0, 1.0, open_below=True)
    columns = [_columns(of_one) for of_one in samples.values()]
    labels = [label for label, _ in columns[0]]
    figure = blank(8.4, 0.16 * len(labels) * len(samples) + 0.35 * len(labels) + 1.0)
    axes = figure.subplots()
    rows = np.arange(float(len(labels)))
    apart = 0.7 / len(samples)
    for i, (name, of_one) in enumerate(zip(samples, columns, strict=True)):
        values = np.stack([column for _, column in of_one], 1)  # (S, Q)
        place = rows + apart * (i - (len(samples) - 1) / 2)
        colour = COLOURS[i % len(COLOURS)]
        for inside, width in ((share, 1.4), (0.5, 3.2)):
            low, high = highest_density_interval(values, inside).T
            axes.hlines(place, low, high, color=colour, linewidth=width)
        axes.plot(values.mean(0), place, "o", color=colour, markerfacecolor="white", markersize=4, label=name)
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first is on top
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.set_title(f"intervals that hold {share:.0%} and 50%", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _columns(samples: Mapping[str, Tensor]) -> list[tuple[str, np.ndarray]]:
    """Return the samples of each single number, ``(S,)``, with its name and index."""
    return [
        (f"{name}[{', '.join(map(str, index))}]" if index else name, column)
        for name, values in samples.items()
        for index, column in zip(
            np.ndindex(tuple(values.shape[1:])), array(values).reshape(len(values), -1).T, strict=True
        )
    ]
