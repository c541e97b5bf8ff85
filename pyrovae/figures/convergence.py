"""The picture of bounds that come closer to log p(x) with more samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrovae.figures.base import COLOURS, blank, plain_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["convergence_plot"]


def convergence_plot(
    table: Sequence[Mapping[str, Any]], *, elbo: float | None = None, references: Mapping[str, float] | None = None
) -> Figure:
    """Draw the set's bounds against the number of samples, with their errors and the jackknife.

    Args:
        table: rows of :meth:`Convergence.table`.
        elbo: the guide's bound, in nats, drawn at one sample.
        references: other estimates of log p(x) by name, in nats, as horizontal lines.
    """

    def column(name: str) -> NDArray[np.float64]:
        return np.array([np.nan if row[name] is None else row[name] for row in table], dtype=np.float64)

    k, bound, error, jackknife = (column(name) for name in ("num_samples", "bound", "standard_error", "jackknife"))
    figure = blank(7.2, 4.2)
    axes = figure.subplots()
    axes.fill_between(k, bound - 1.96 * error, bound + 1.96 * error, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(
        k,
        bound,
        color=COLOURS[0],
        marker="o",
        markersize=4,
        label=f"$L_K$, at last {_signed(bound[-1])}, with its 95 % interval",
    )
    axes.plot(k, jackknife, color=COLOURS[1], marker="D", markersize=4, linestyle=":", label="jackknife, not a bound")
    if elbo is not None:
        axes.plot(1, elbo, color="black", marker="s", markersize=5, linestyle="", label=f"ELBO, {_signed(elbo)}")
    for (name, value), colour in zip((references or {}).items(), (COLOURS[2], COLOURS[3], COLOURS[5]), strict=False):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1.2, label=f"{name}, {_signed(value)}")
    axes.set_xscale("log")
    plain_numbers(axes.xaxis)
    rise = ""
    if len(k) > 1:
        gain = bound[-1] - bound[-2]
        told = f"gains {gain:.2g} nats" if gain > 2 * error[-1] else "gains nothing beyond its error"
        rise = f": the last step, from {int(k[-2]):,}, {told}"
    axes.set(title=f"Convergence in K{rise}", xlabel="weights of each datum, K", ylabel="nats per datum")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
