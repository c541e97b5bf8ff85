"""Figures of estimates of log p(x): errors, weights, convergence, the hardest data, and annealing paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.figures.base import COLOURS, array, as_images, blank, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["annealing_paths", "convergence_plot", "error_map", "extremes", "pareto_map", "weight_tails"]


GOOD, BAD, NEUTRAL = COLOURS[0], COLOURS[5], "#666666"


def pareto_map(log_prob: Tensor, pareto_k: Tensor, threshold: float | Tensor) -> Figure:
    """Draw k̂ of each datum against its log p(x), with those above the threshold in another colour.

    Args:
        log_prob: log p(x), ``(B,)``, in nats.
        pareto_k: k̂, ``(B,)``; infinite values are drawn at the upper edge, data without a value are left out.
        threshold: threshold above which the samples are too few; ``(B,)`` if it differs between data.
    """
    k_hat, limits = array(pareto_k), np.broadcast_to(array(torch.as_tensor(threshold)), pareto_k.shape)
    known = ~np.isnan(k_hat)
    x, k_hat, limits = array(log_prob)[known], k_hat[known], limits[known]
    bottom, top = _limits(k_hat, limits)
    above, inside = k_hat > limits, (k_hat >= bottom) & (k_hat <= top)
    figure = blank(7.2, 4.2)
    axes = figure.subplots()
    for limit in {limits.min(), limits.max()} if len(x) else ():
        axes.axhline(limit, color="black", linewidth=1, linestyle="--", label=f"threshold {limit:.2f}")
    for chosen, colour, name in ((~above, GOOD, "below"), (above, BAD, "above")):
        label = f"{name} ({chosen.sum():,})"
        axes.scatter(x[chosen & inside], k_hat[chosen & inside], color=colour, label=label, **_marks(len(x)))
    for outside, edge, marker, sign in ((k_hat > top, top, "^", ">"), (k_hat < bottom, bottom, "v", "<")):
        if outside.any():
            label = f"k̂ {sign} {edge:.1f} ({outside.sum():,})".replace("-", "−")
            colour = BAD if marker == "^" else GOOD
            axes.scatter(
                x[outside], np.full(outside.sum(), edge), marker=marker, s=22, color=colour, label=label, alpha=0.7
            )
    margin = 0.04 * (top - bottom)
    axes.set_ylim(bottom - margin, top + margin)
    share = above.mean() if len(above) else 0.0
    axes.set(title=f"k̂ is above its threshold for {share:.1%} of {len(x):,} data", xlabel="log p(x), nats", ylabel="k̂")
    _legend_below(axes)
    return figure


def error_map(log_prob: Tensor, standard_error: Tensor, annealed: Tensor | None = None) -> Figure:
    """Draw the Monte Carlo error of each datum against its log p(x); also annealed data have it, without a k̂.

    Args:
        log_prob: log p(x), ``(B,)``, in nats.
        standard_error: Monte Carlo error, ``(B,)``, in nats; values below 1e-6 are drawn at the lower edge.
        annealed: True for data that were annealed, ``(B,)`` of bool; None if all have the same estimator.
    """
    error = array(standard_error)
    known = ~np.isnan(error)
    x, error = array(log_prob)[known], error[known].clip(1e-6)
    if annealed is None:
        groups = {"": np.ones(len(x), dtype=bool)}
    else:
        chains = annealed.cpu().numpy()[known]
        groups = {f"importance sampling ({(~chains).sum():,})": ~chains, f"annealed ({chains.sum():,})": chains}
    figure = blank(7.2, 4.2)
    axes = figure.subplots()
    for (name, chosen), colour in zip(groups.items(), (GOOD, COLOURS[1]), strict=False):
        axes.scatter(x[chosen], error[chosen], color=colour, label=name, **_marks(len(x)))
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)
    axes.set(xlabel="log p(x), nats", ylabel="Monte Carlo error, nats")
    if len(error):
        median = np.median(error)
        axes.axhline(median, color="black", linewidth=1, linestyle="--")
        axes.set_title(f"Monte Carlo error of {len(x):,} data: median {median:.2g} nats, largest {error.max():.2g}")
    if annealed is not None:
        _legend_below(axes)
    return figure


def extremes(x: Tensor, log_prob: Tensor, doubt: Tensor, name: str = "k̂", *, count: int = 10) -> Figure:
    """Draw the data with the lowest log p(x) above, and those with the least reliable estimate of it below.

    Args:
        x: data, ``(B, *data_shape)``.
        log_prob: log p(x), ``(B,)``, in nats.
        doubt: measure of unreliability, ``(B,)``: k̂, or the Monte Carlo error.
        name: name of ``doubt``, with its unit.
        count: number of data in a row.
    """
    count = min(count, len(x))
    rows = (
        (f"explained worst: the lowest log p(x), nats, of {len(x):,}", log_prob, log_prob.argsort(), "{:.1f}"),
        (
            f"estimated worst: the largest {name}",
            doubt,
            doubt.nan_to_num(-torch.inf).argsort(descending=True),
            "{:#.2g}",
        ),
    )
    images = as_images(x[torch.cat([order[:count] for *_, order, _ in rows])]).permute(0, 2, 3, 1).numpy()
    images = images.repeat(max(1, images.shape[2] // (2 * images.shape[1])), axis=1)  # a vector becomes a strip
    height, width = images.shape[1:3]
    figure = blank(10.0, 2 * (0.9 * height / width + 0.6))
    for axes, (title, values, order, style), shown in zip(
        figure.subplots(2, 1), rows, (images[:count], images[count:]), strict=True
    ):
        for place, (image, value) in enumerate(zip(shown, array(values[order[:count]]), strict=True)):
            left, right = 1.1 * width * place, 1.1 * width * place + width
            axes.imshow(image, extent=(left, right, 0, height), interpolation="nearest", vmin=0, vmax=1, cmap="gray")
            axes.annotate(
                style.format(value).rstrip(".").replace("-", "−"),
                ((left + right) / 2, height),
                (0, 3),
                textcoords="offset points",
                fontsize=9,
                ha="center",
            )
        axes.set(xlim=(0, 1.1 * width * max(count, 10)), ylim=(0, height))
        axes.set_title(title, fontsize=10, pad=18)
        axes.set_axis_off()
    return figure


def weight_tails(tail: Tensor, pareto_k: Tensor, num_samples: int | Tensor, *, count: int = 4) -> Figure:
    """Draw the largest weights by rank, of data with the smallest, the median and the largest k̂.

    Data without a k̂ are left out; if all lack it, data are ordered by their largest weight.

    Args:
        tail: logarithms of the largest weights over their sum, in descending order, ``(M, B)``, in nats.
        pareto_k: k̂, ``(B,)``.
        num_samples: number K of weights, or the number of each datum, ``(B,)``.
        count: number of data in each of the three groups.
    """
    num_known = int((~pareto_k.isnan()).sum())
    order = pareto_k.argsort()[:num_known] if num_known else tail[0].argsort()  # NaN is last
    third = max(1, min(count, len(order) // 3))
    middle = max(0, (len(order) - third) // 2)
    groups = {
        "best": (order[:third], GOOD),
        "median": (order[middle : middle + third], NEUTRAL),
        "worst": (order[-third:], BAD),
    }
    figure = blank(7.2, 4.2)
    axes = figure.subplots()
    ranks = np.arange(1, len(tail) + 1)
    level = 1 / float(torch.as_tensor(num_samples).expand(len(pareto_k))[order].double().median())
    for name, (members, colour) in groups.items():
        for index, member in enumerate(members):
            weights = np.exp(array(tail[:, member]))
            weights[weights == 0] = np.nan
            label = f"{name}{_range(array(pareto_k[members])) if num_known else ''}" if index == 0 else None
            axes.plot(
                ranks,
                weights,
                color=colour,
                linewidth=1.2,
                alpha=0.8,
                label=label,
                marker="o" if len(ranks) < 40 else None,
                markersize=3,
            )
    axes.axhline(level, color="black", linewidth=1, linestyle="--", label=f"equal weights, 1/K = {level:.2g}")
    axes.set(xscale="log", yscale="log", xlabel="rank of the weight", ylabel="weight over the sum of all")
    axes.set_ylim(max(axes.get_ylim()[0], 1e-4 * level), 2)  # a share is at most 1
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.set_title(
        f"The {len(ranks):,} largest of {round(1 / level):,} weights of {sum(len(m) for m, _ in groups.values())} data"
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def convergence_plot(
    table: Sequence[Mapping[str, Any]], *, elbo: float | None = None, references: Mapping[str, float] | None = None
) -> Figure:
    """Draw the mean bound against the number of samples, with its error and the jackknife.

    Args:
        table: rows of :meth:`Convergence.table`.
        elbo: the ELBO in nats, drawn at one sample.
        references: other estimates of log p(x) by name, in nats, drawn as horizontal lines.
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
        change = f"gains {gain:.2g} nats" if gain > 2 * error[-1] else "gains nothing beyond its error"
        rise = f": the last step, from {int(k[-2]):,}, {change}"
    axes.set(title=f"Convergence in K{rise}", xlabel="weights of each datum, K", ylabel="nats per datum")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def annealing_paths(beta: Tensor, log_weight: Tensor, acceptance: Tensor, step_size: Tensor) -> Figure:
    r"""Draw the path of annealed chains from q(z|x) to p(z|x): log weights, acceptance and step size.

    The mean log weight at β is drawn relative to its integral over β, which estimates log p(x). Its left end is then
    :math:`-\mathrm{KL}(q \| p(z|x))`, its right end :math:`\mathrm{KL}(p(z|x) \| q)`; where it is steep, more
    temperatures are needed.

    Args:
        beta: inverse temperatures from 0 to 1, ``(T + 1,)``.
        log_weight: mean over chains of log p(x, z) - log q(z|x) at the first T temperatures, ``(T, B)``, in nats.
        acceptance: mean acceptance probability at the inner temperatures, ``(T - 1, B)``.
        step_size: step size of the leapfrogs at the inner temperatures, ``(T - 1, B)``.
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


def _limits(k_hat: NDArray[np.float64], thresholds: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits of the k̂ axis that include usual values and the thresholds."""
    finite = np.concatenate((k_hat[np.isfinite(k_hat)].clip(-1.0, 3.0), thresholds, [0.0, 0.8]))
    return float(finite.min()), float(finite.max())


def _marks(count: int) -> dict[str, Any]:
    """Return the style of points: large for few, small and pale for many."""
    return {
        "s": float(np.clip(6000 / max(count, 1), 4, 25)),
        "alpha": float(np.clip(1500 / max(count, 1), 0.35, 0.8)),
        "linewidths": 0,
    }


def _legend_below(axes: Axes) -> None:
    from matplotlib.collections import PathCollection

    legend = axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set(alpha=1, sizes=[25])


def _range(values: NDArray[np.float64]) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    text = f", k̂ = {low:.2f}" if low == high else f", k̂ = {low:.2f} to {high:.2f}"
    return text.replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _band(axes: Axes, beta: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw the mean over the data, and the range of the middle 90 % of them."""
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
