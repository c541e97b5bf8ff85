"""The picture of annealed chains on their way from the start to the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.figures.base import COLOURS, array, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["annealing_paths"]


def annealing_paths(beta: Tensor, log_weight: Tensor, acceptance: Tensor, step_size: Tensor) -> Figure:
    r"""Draw what chains went through on the way from q(z|x) to p(z|x): their log weights, acceptance and step size.

    The mean log weight at β is drawn from its own integral over β, which estimates log p(x). So its left end is
    :math:`-\mathrm{KL}(q \| p(z|x))`, its right end :math:`\mathrm{KL}(p(z|x) \| q)`, and a steep piece wants more
    temperatures.

    Args:
        beta: inverse temperatures from 0 to 1, ``(T + 1,)``.
        log_weight: mean over the chains of log p(x, z) - log q(z|x) at the first T of them, ``(T, B)``, in nats.
        acceptance: mean acceptance probability of the moves at those between, ``(T - 1, B)``.
        step_size: of the leapfrogs there, ``(T - 1, B)``.
    """
    betas, log_weights = array(beta), array(log_weight)
    relative = log_weights - np.diff(betas) @ log_weights  # (T, B)
    figure = blank(10.5, 3.4)
    weights, accepted, steps = figure.subplots(1, 3)
    shown = relative[:, np.linspace(0, relative.shape[1] - 1, min(10, relative.shape[1])).round().astype(int)]
    weights.plot(betas[:-1], shown, color=COLOURS[4], linewidth=0.8, alpha=0.8)
    weights.plot([], [], color=COLOURS[4], linewidth=0.8, label=f"{shown.shape[1]} of {relative.shape[1]} data")
    weights.plot(betas[:-1], relative.mean(1), color=COLOURS[0], linewidth=2, label="mean over the data")
    weights.axhline(0, color="black", linewidth=1, linestyle="--")
    weights.set(title="mean log weight, less log p(x)", ylabel="nats")
    weights.legend(frameon=False, fontsize=9, loc="lower right")
    _band(accepted, betas[1:-1], array(acceptance))
    accepted.set(title="acceptance of the moves", ylim=(0, 1.02))
    _band(steps, betas[1:-1], array(step_size))
    steps.set(title="step size, in scales of the start")
    steps.set_ylim(bottom=0)
    if len(betas) > 2:
        steps.legend(frameon=False, fontsize=9, loc="lower right")
    for axes in (weights, accepted, steps):
        axes.set_xlabel("inverse temperature β")
        axes.set_xlim(0, 1)
        axes.grid(alpha=0.3)
    return figure


def _band(axes: Axes, beta: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw the mean over the data, and the range of the middle nine tenths of them."""
    if len(beta) == 0:
        return
    low, high = np.quantile(values, (0.05, 0.95), axis=1)
    axes.fill_between(beta, low, high, color=COLOURS[0], alpha=0.25, linewidth=0, label="5 to 95 % of the data")
    axes.plot(
        beta,
        values.mean(1),
        color=COLOURS[0],
        linewidth=1.5,
        label="mean over the data",
        marker="o" if len(beta) < 15 else None,
        markersize=3,
    )
