"""Pictures of figures against what they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank, plain_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["line_panels", "rate_distortion_plane"]

_MARKERS = "os^Dv*P"


def line_panels(
    x: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]], name: str, *, log: bool = False
) -> Figure:
    """Draw panels of lines over one common quantity.

    Args:
        x: values of the quantity.
        panels: by what a panel's vertical axis shows, its lines by name, as many values as of x each.
        name: of the quantity, with its unit.
        log: whether its axis is logarithmic.

    Raises:
        InputError: if a line has not as many values as x.
    """
    # One colour each, in all panels.
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    shared: dict[str, Line2D] = {}
    figure = blank(4.6 * len(panels) + 0.4, 3.6)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, values in lines.items():
            if len(values) != len(x):
                raise checks.InputError(f"panels must hold {len(x)} values a line, but {label!r} has {len(values)}")
            index = labels.index(label)
            colour, marker = COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]
            line = axes.plot(x, values, color=colour, marker=marker, markersize=4.5, label=label)
            if len(lines) > 1:
                shared[label] = line[0]
        if log:
            axes.set_xscale("log")
            plain_numbers(axes.xaxis)
        axes.set(xlabel=name, ylabel=title)
        axes.grid(alpha=0.3)
    if shared:
        figure.legend(
            handles=[*shared.values()], frameon=False, fontsize=9, loc="outside lower center", ncols=len(shared)
        )
    return figure


def rate_distortion_plane(
    rate: Sequence[float], errors: Mapping[str, Sequence[float]], names: Sequence[str], title: str = ""
) -> Figure:
    """Draw what a code costs against the errors that it leaves, one point a program, one panel an error.

    Args:
        rate: bits per datum of each program.
        errors: by name, with its unit, the error of each program.
        names: of the programs, such as their β.
        title: of the whole.

    Raises:
        InputError: if they are not of one length.
    """
    lengths = {len(rate), len(names), *map(len, errors.values())}
    if len(lengths) != 1 or not names:
        raise checks.InputError(f"rate, errors and names must be of one length, but have {sorted(lengths)}")
    order = np.argsort(rate)
    figure = blank(5.0 * len(errors), 4.0)
    for axes, (label, values) in zip(figure.subplots(1, len(errors), squeeze=False)[0], errors.items(), strict=True):
        bits, error = np.asarray(rate, float)[order], np.asarray(values, float)[order]
        axes.plot(bits, error, color=COLOURS[0], marker="o", markersize=5)
        near = 0.03 * np.array([np.ptp(bits), np.ptp(error)]) + 1e-12
        labels: list[tuple[np.ndarray, str]] = []
        for place, name in zip(np.stack((bits, error), 1), np.asarray(names)[order], strict=True):
            if labels and (np.abs(place - labels[-1][0]) < near).all():  # they would be written over each other
                labels[-1] = (labels[-1][0], f"{labels[-1][1]}, {name}")
            else:
                labels.append((place, name))
        for place, name in labels:
            axes.annotate(name, tuple(place), (7, 5), textcoords="offset points", fontsize=9)
        axes.set(xlabel="rate, bits per image", ylabel=label)
        axes.margins(0.18, 0.12)
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
