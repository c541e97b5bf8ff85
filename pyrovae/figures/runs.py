"""The picture of several runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["comparison"]


def comparison(
    names: Sequence[str],
    nll: Sequence[float],
    standard_error: Sequence[float],
    difference: Sequence[float],
    interval: Sequence[tuple[float, float]],
) -> Figure:
    """Draw the NLL of several runs, and by how much each is worse than the best on the same data.

    Args:
        names: of the runs.
        nll: nats per datum.
        standard_error: of ``nll``, over the choice of test data.
        difference: NLL less that of the best, paired datum by datum; NaN where the data are not the same.
        interval: its 95 % confidence interval, from and to.

    Raises:
        InputError: if they are not of one length.
    """
    lengths = {len(values) for values in (names, nll, standard_error, difference, interval)}
    if len(lengths) != 1 or not names:
        raise checks.InputError(f"names must be as many as the figures of the runs, at least one, but are {len(names)}")
    rows = np.arange(len(names))
    values, errors, differences = (np.asarray(v, dtype=float) for v in (nll, standard_error, difference))
    limits = np.asarray(interval, dtype=float)
    figure = blank(10, 1.5 + 0.4 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    best = int(np.nanargmin(values))
    for row in rows:
        unpaired, (low, high) = np.isnan(differences[row]), limits[row]
        colour = COLOURS[0] if row == best else COLOURS[5] if low > 0 else "#666666"
        left.errorbar(values[row], row, xerr=errors[row], fmt="o", color=colour, capsize=3, markersize=6)
        if unpaired:
            right.text(0, row, "  not paired: other data", va="center", fontsize=9, color=colour)
        else:
            arms = np.abs([[low - differences[row]], [high - differences[row]]])
            right.errorbar(differences[row], row, xerr=arms, fmt="o", color=colour, capsize=3, markersize=6)
    right.axvline(0, color="black", linewidth=1, linestyle="--")
    left.set_yticks(rows, names)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set(title="NLL ± standard error", xlabel="nats per datum")
    right.set(title="difference to the best, paired, 95 %", xlabel="nats per datum")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return figure
