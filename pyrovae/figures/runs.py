"""Figure that compares several runs."""

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
    """Draw the NLL of several runs, and the paired difference of each to the best on the same data.

    Args:
        names: names of the runs.
        nll: NLL of each run, in nats per datum.
        standard_error: standard error of ``nll`` over the choice of test data.
        difference: NLL minus that of the best run, paired by datum; NaN if the data differ.
        interval: 95 % confidence interval of the difference, lower and upper end.

    Raises:
        InputError: if these have different lengths.
    """
    lengths = {len(values) for values in (names, nll, standard_error, difference, interval)}
    if len(lengths) != 1 or not names:
        raise checks.InputError(f"names must have one entry for each run, at least one, but has {len(names)}")
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
