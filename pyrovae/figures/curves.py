"""Curves: a training by epoch, and any figures over a common quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank, plain_numbers
from pyrovae.training import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["line_panels", "training_curves"]


_MARKERS = "os^Dv*P"


def training_curves(history: History) -> Figure:
    """Draw ELBO, reconstruction and KL by epoch, training and validation, in nats per datum.

    Args:
        history: results of the epochs.
    """
    figure = blank(10, 3.2)
    epochs = [row.epoch for row in history.epochs]
    titles = {"elbo": "ELBO", "reconstruction": "reconstruction, E log p(x|z)", "kl": "KL(q(z|x) ‖ p(z))"}
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for part, colour in (("train", COLOURS[0]), ("validation", COLOURS[1])):
            values = [getattr(row, f"{part}_{name}") for row in history.epochs]
            axes.plot(epochs, values, color=colour, label=part, marker="o" if len(epochs) < 15 else None, markersize=3)
        axes.set(title=title, xlabel="epoch", ylabel="nats per datum")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, loc="lower right")
    return figure


def line_panels(
    x: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]], name: str, *, log: bool = False
) -> Figure:
    """Draw panels of lines over one common quantity.

    Args:
        x: values of the quantity.
        panels: by the label of a panel's vertical axis, its lines by name, each with as many values as x.
        name: name of the quantity, with its unit.
        log: True if the horizontal axis is logarithmic.

    Raises:
        InputError: if a line has another number of values than x.
    """
    # The same colour for a name in all panels.
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
