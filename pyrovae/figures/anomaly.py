"""Figures of anomaly scores: ROC curves and histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae.evaluation import Separation
from pyrovae.figures.base import COLOURS, array, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["roc_curves", "score_histogram"]


def roc_curves(separations: Mapping[str, Separation]) -> Figure:
    """Draw the ROC curve of each score, with the area below it and its 95 % interval.

    Args:
        separations: results of :func:`pyrovae.evaluation.separation` by the name of the score.
    """
    figure = blank(6.4, 6.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
    styles = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
    for index, (name, found) in enumerate(separations.items()):
        axes.plot(
            array(found.false_positive_rate),
            array(found.true_positive_rate),
            color=COLOURS[index % len(COLOURS)],
            linestyle=styles[index % len(styles)],
            linewidth=1.8,
            label=f"{name}: {found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}]",
        )
    axes.set(xlabel="false alarms, share of the normal data", ylabel="caught, share of the anomalies")
    axes.set(title="ROC curves, by thresholds of each score", aspect="equal", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(title="AUROC and its 95 % interval", frameon=True, fontsize=9, title_fontsize=9, loc="lower right")
    return figure


def score_histogram(normal: Tensor, anomalous: Tensor, threshold: float, name: str) -> Figure:
    """Draw histograms of a score of normal data and of anomalies, with a threshold.

    Args:
        normal: scores of normal data, ``(m,)``.
        anomalous: scores of anomalies, ``(n,)``.
        threshold: threshold above which a datum counts as an anomaly.
        name: name of the score, with its unit.
    """
    figure = blank(8.4, 3.6)
    axes = figure.subplots()
    values = (array(normal), array(anomalous))
    edges = np.histogram_bin_edges(np.concatenate(values), 40).tolist()
    for part, colour, label in zip(values, (COLOURS[0], COLOURS[5]), ("normal", "anomalies"), strict=True):
        above = (part > threshold).mean()
        axes.hist(part, edges, color=colour, alpha=0.3)
        axes.hist(part, edges, color=colour, histtype="step", linewidth=1.5, label=f"{label}: {above:.0%} above")
    axes.axvline(threshold, color="black", linewidth=1.2, linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set(xlabel=name, ylabel="data", title="what the threshold keeps and what it refuses")
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure
