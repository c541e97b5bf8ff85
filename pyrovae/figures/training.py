"""The picture of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.figures.base import COLOURS, blank
from pyrovae.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["training_curves"]


def training_curves(history: History) -> Figure:
    """Draw ELBO, reconstruction and KL by epoch, training and validation, in nats per datum.

    Args:
        history: the epochs' figures.
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
        if name == "elbo" and len(epochs) > 3:
            _skip_the_first(
                axes, [row.train_elbo for row in history.epochs] + [row.validation_elbo for row in history.epochs]
            )
    figure.axes[0].legend(frameon=False, loc="lower right")
    return figure


def _skip_the_first(axes: Axes, values: list[float]) -> None:
    """Let the vertical axis leave out the steep beginning, so that what comes after can be read."""
    low, high = float(np.quantile(values, 0.08)), max(values)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.05 * (high - low) + 1e-9)
