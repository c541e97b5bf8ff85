"""The ELBO taken apart: its gaps to log p(x), its two terms, and rate against distortion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["elbo_breakdown", "rate_distortion_plane"]


def elbo_breakdown(
    *,
    elbo: float,
    log_prob: float | None = None,
    refined_elbo: float | None = None,
    distortion: float | None = None,
    rate: float | None = None,
    mutual_information: float | None = None,
    marginal_kl: float | None = None,
    saturated: bool = False,
) -> Figure:
    r"""Draw the negative ELBO twice, as a staircase: -log p(x) and the guide's gaps, and its distortion and rate.

    .. math:: -\log p(x) + \text{approximation gap} + \text{amortization gap}
        = -\mathrm{ELBO} = \text{distortion} + \underbrace{I_q(x; z) + \mathrm{KL}(q(z) \| p(z))}_{\text{rate}}

    Values that are None are left out, and the steps that they would separate are drawn as one.

    Args:
        elbo: the ELBO; all values are in nats per datum.
        log_prob: log p(x).
        refined_elbo: the ELBO with q refined for each datum.
        distortion: -E log p(x|z).
        rate: KL(q(z|x) ‖ p(z)).
        mutual_information: mutual information of x and z under q.
        marginal_kl: KL(q(z) ‖ p(z)), of the aggregate posterior.
        saturated: True if the mutual information is limited by the number of data, and the marginal KL too large.
    """
    steps: list[tuple[str, float, float, str]] = []  # label, start, end, colour
    if log_prob is not None:
        steps.append(("−log p(x)", 0.0, -log_prob, COLOURS[0]))
        if refined_elbo is None:
            steps.append(("+ gap of the guide", -log_prob, -elbo, COLOURS[5]))
        else:
            steps.append(("+ approximation gap", -log_prob, -refined_elbo, COLOURS[1]))
            steps.append(("+ amortization gap", -refined_elbo, -elbo, COLOURS[5]))
    steps.append(("= −ELBO", 0.0, -elbo, "#444444"))
    if distortion is not None:
        steps.append(("distortion, −E log p(x|z)", 0.0, distortion, COLOURS[2]))
    if distortion is not None and rate is not None:
        if mutual_information is None or marginal_kl is None:
            steps.append(("+ rate, KL(q(z|x) ‖ p(z))", distortion, distortion + rate, COLOURS[3]))
        else:
            middle, least, most = distortion + mutual_information, "", ""
            if saturated:
                least, most = ", at least", ", at most"
            steps.append((f"+ mutual information of x and z{least}", distortion, middle, COLOURS[4]))
            steps.append((f"+ marginal KL(q(z) ‖ p(z)){most}", middle, middle + marginal_kl, COLOURS[3]))
    figure = blank(8.5, 0.9 + 0.42 * len(steps))
    axes = figure.subplots()
    for row, (_, start, end, colour) in enumerate(steps):
        axes.barh(row, end - start, left=start, height=0.62, color=colour, edgecolor=colour, linewidth=0.8)
        number = f"{end - start:.2f}".replace("-", "−")
        axes.text(1.13, row, number, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.axvline(-elbo, color="black", linewidth=1, linestyle="--")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(steps)), [name for name, *_ in steps])
    axes.invert_yaxis()
    axes.margins(x=0.02)
    axes.use_sticky_edges = False
    axes.set(title="Where the nats go", xlabel="nats per datum")
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def rate_distortion_plane(
    rate: Sequence[float], errors: Mapping[str, Sequence[float]], names: Sequence[str], title: str = ""
) -> Figure:
    """Draw errors against the rate, with one point per program and one panel per kind of error.

    Args:
        rate: rate of each program, in bits per datum.
        errors: error of each program, by the name of the error with its unit.
        names: names of the programs, such as their β.
        title: title of the figure.

    Raises:
        InputError: if these have different lengths.
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
            if labels and (np.abs(place - labels[-1][0]) < near).all():  # their labels would overlap
                labels[-1] = (labels[-1][0], f"{labels[-1][1]}, {name}")
            else:
                labels.append((place, name))
        for place, name in labels:
            axes.annotate(name, tuple(place), (7, 5), textcoords="offset points", fontsize=9)
        axes.set(xlabel="rate, bits per datum", ylabel=label)
        axes.margins(0.18, 0.12)
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
