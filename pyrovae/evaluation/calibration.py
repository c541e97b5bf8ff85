"""Simulation-based calibration of a guide: ranks of true latents among its draws, on data simulated from the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.log_coordinates import map_with_logs
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.missing import copy_missing
from pyrovae.prediction.simulation import simulate
from pyrovae.programs import Batch, PyroFunction, arguments_of
from pyrovae.reprs import short_repr

__all__ = ["LOG_LIKELIHOOD", "Calibration", "calibration", "rank_bands"]

LOG_LIKELIHOOD = "log p(x|z)"
"""Name of the ranks of log p(x|z)."""

_LEVEL = 0.05  # probability of a rejection if the guide is the posterior, over all quantities together
_NUM_NULL = 20_000  # simulated samples of uniform ranks
_KINDS = ("too narrow", "too wide", "biased")


@dataclass(frozen=True)
class Calibration:
    r"""Ranks of the true latents among draws of the guide, on N data simulated from the model (Talts et al., 2018).

    If :math:`z, x \sim p(z)\,p(x|z)` and the guide is the posterior, the rank of z among L draws of q(z|x) is uniform
    on 0, ..., L, and so is that of log p(x|z). Each quantity is tested by the mean of its ranks, their distance from
    the middle, and the deviation of their distribution function (Säilynoja et al., 2022, arXiv:2103.10522), and Holm's
    procedure keeps the probability of any false alarm below 5 %.

    Attributes:
        ranks: by quantity, ``(N,)`` integers from 0 to L: each coordinate of each latent site, such as ``z[0]``, and
            ``log p(x|z)``.
        num_draws: number L of draws for each datum.
    """

    ranks: dict[str, Tensor] = field(repr=False)
    num_draws: int

    def __repr__(self) -> str:
        counts = {"num_quantities": len(self.ranks), "num_rejected": len(self.rejected)}
        return short_repr(self, num_simulated=self.num_simulated, num_draws=self.num_draws, **counts)

    @property
    def num_simulated(self) -> int:
        """Number N of simulated data."""
        return len(next(iter(self.ranks.values())))

    @cached_property
    def histograms(self) -> dict[str, Tensor]:
        """Number of data by rank, ``(L + 1,)`` integers for each quantity."""
        return {name: torch.bincount(rank, minlength=self.num_draws + 1) for name, rank in self.ranks.items()}

    @cached_property
    def p_values(self) -> dict[str, float]:
        """Probability of ranks as uneven as these if the guide is the posterior, for each quantity by itself."""
        shares = torch.stack(list(self.histograms.values())).double() / self.num_simulated  # (Q, L + 1)
        uneven = _p_values_of_curves(torch.stack(list(self.histograms.values())).numpy(), self.num_simulated)
        found = {}
        for name, share, curve in zip(self.ranks, shares, uneven, strict=True):
            tails = [math.erfc(abs(score) / math.sqrt(2)) for score in self._effects(share, standardized=True)]
            found[name] = min(1.0, 3 * min(*tails, curve))
        return found

    @property
    def bands(self) -> tuple[Tensor, Tensor]:
        """Simultaneous 95 % bands of all quantities; see :func:`rank_bands`."""
        return rank_bands(self.num_simulated, self.num_draws, len(self.ranks))

    @property
    def rejected(self) -> list[str]:
        """Quantities whose ranks are not uniform, by Holm's procedure at 5 %."""
        ordered = sorted(self.p_values.items(), key=lambda item: item[1])
        found = []
        for left, (name, p) in zip(range(len(ordered), 0, -1), ordered, strict=True):
            if p * left > _LEVEL:
                break
            found.append(name)
        return [name for name in self.ranks if name in found]

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """By quantity: ``calibrated``, ``too narrow``, ``too wide`` or ``biased``."""
        rejected = set(self.rejected)
        found = {}
        for name, histogram in self.histograms.items():
            middle, width = self._effects(histogram.double() / self.num_simulated)
            kind = "biased" if abs(middle) >= 0.5 * abs(width) else "too narrow" if width > 0 else "too wide"
            found[name] = kind if name in rejected else "calibrated"
        return found

    @property
    def sentence(self) -> str:
        """A sentence that judges the guide by the ranks."""
        latents = {name: kind for name, kind in self.verdicts.items() if name != LOG_LIKELIHOOD}
        start = f"On {self.num_simulated} data simulated from the model, the posterior is"
        counts = {kind: sum(found == kind for found in latents.values()) for kind in _KINDS}
        parts = [f"{kind} in {count} of {len(latents)} latents" for kind, count in counts.items() if count]
        if parts and len(latents) == 1:
            parts = [next(kind for kind, count in counts.items() if count)]
        whole = f"{start} {' and '.join(parts) if parts else 'calibrated in each latent, as far as ranks show'}"
        if self.verdicts[LOG_LIKELIHOOD] == "calibrated":
            return f"{whole}."
        if self.verdicts[LOG_LIKELIHOOD] != "biased":
            return f"{whole}, and the ranks of log p(x|z) are not uniform."
        middle, _ = self._effects(self.histograms[LOG_LIKELIHOOD].double() / self.num_simulated)
        fit = "worse" if middle > 0 else "better"
        return f"{whole}, and its draws explain the data {fit} than the true latents do."

    def summary(self) -> dict[str, Any]:
        """Return the results as plain numbers, with the number of data by rank of each quantity."""
        return {
            "num_simulated": self.num_simulated,
            "num_draws": self.num_draws,
            "p_values": self.p_values,
            "verdicts": self.verdicts,
            "histograms": {name: histogram.tolist() for name, histogram in self.histograms.items()},
            "sentence": self.sentence,
        }

    def _effects(self, share: Tensor, standardized: bool = False) -> tuple[float, float]:
        """Return the mean of the ranks and that of their squared distance from the middle, less what is expected.

        They are in units of their largest values or, if standardized, of their standard errors for uniform ranks.
        """
        place = (torch.arange(self.num_draws + 1, dtype=torch.float64) + 0.5) / (self.num_draws + 1) - 0.5
        found = []
        for value in (place, place.square()):
            error = value.std(correction=0).item() / math.sqrt(self.num_simulated)
            unit = error if standardized else (value.amax() - value.mean()).item()
            found.append(((share * value).sum() - value.mean()).item() / unit)
        return found[0], found[1]


def rank_bands(num_simulated: int, num_draws: int, num_quantities: int = 1) -> tuple[Tensor, Tensor]:
    """Return simultaneous bands for the distribution functions of uniform ranks minus their expectation.

    All points of all quantities lie within them with a probability of 95 % (Säilynoja et al., 2022, with Bonferroni's
    correction for the number of quantities).

    Args:
        num_simulated: number N of data.
        num_draws: number L of draws.
        num_quantities: number of quantities.

    Returns:
        lower and upper ends at each rank, ``(L + 1,)`` each.

    Example:
        >>> low, high = rank_bands(200, 15)
        >>> low.shape, bool((low <= 0).all()), bool((high >= 0).all())
        (torch.Size([16]), True, True)
    """
    from scipy.stats import binom

    null = _least_tails(_null_histograms(num_simulated, num_draws + 1), num_simulated)
    level = float(np.quantile(null, _LEVEL / num_quantities, method="lower"))
    expected = np.arange(1, num_draws + 2) / (num_draws + 1)
    low, high = binom.ppf(level, num_simulated, expected), binom.isf(level, num_simulated, expected)
    return torch.from_numpy(low / num_simulated - expected), torch.from_numpy(high / num_simulated - expected)


def _p_values_of_curves(histograms: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the p-values of the largest deviations of distribution functions, of histograms ``(Q, L + 1)``."""
    null = np.sort(_least_tails(_null_histograms(count, histograms.shape[1]), count))
    below = np.searchsorted(null, _least_tails(histograms, count), side="right")
    return np.asarray((below + 1.0) / (len(null) + 1.0), dtype=np.float64)


def _null_histograms(count: int, bins: int) -> NDArray[np.int64]:
    """Simulate histograms of uniform ranks, ``(M, L + 1)``."""
    return np.random.default_rng(0).multinomial(count, np.full(bins, 1 / bins), size=_NUM_NULL)


def _least_tails(histograms: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the smallest tail probability of a distribution function at any rank, ``(M,)``."""
    from scipy.stats import binom

    bins = histograms.shape[1]
    places = np.arange(1, bins)[None] / bins
    steps = np.arange(count + 1)[:, None]
    tails = np.minimum(binom.cdf(steps, count, places), binom.sf(steps - 1, count, places))  # (N + 1, L)
    return tails[histograms.cumsum(1)[:, :-1], np.arange(bins - 1)].min(1)


def calibration(
    model: PyroFunction,
    guide: PyroFunction,
    like: Batch,
    *,
    num_simulated: int = 500,
    num_draws: int = 63,
    chunk_size: int | None = None,
) -> Calibration:
    """Rank the latents that data were simulated from among draws of the guide for these data.

    It is a test of the guide on data of the model. What it finds holds for real data as far as they resemble those.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        like: data with the shape, type and device of the simulated ones, ``(*, *data_shape)``; or the tuple ``(x, y)``
            with the labels for the simulated data. The simulated data have their missing values, cyclically.
        num_simulated: number N of data to simulate.
        num_draws: number L of draws of the guide for each.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.

    Raises:
        ValueError: if an option is out of its range, or the model cannot be simulated.

    References:
        Talts, Betancourt, Simpson, Vehtari, Gelman (2018), "Validating Bayesian inference algorithms with
        simulation-based calibration", arXiv:1804.06788.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> found = calibration(vae.model, vae.guide, torch.zeros(1, 4), num_simulated=50)
        >>> list(found.ranks), found.ranks["z[0]"].shape
        (['z[0]', 'z[1]', 'log p(x|z)'], torch.Size([50]))
    """
    checks.integer("num_simulated", num_simulated)
    checks.integer("num_draws", num_draws)
    given = arguments_of(like, model, guide)[0]
    latents, simulated = simulate(model, num_simulated, like)
    simulated = (copy_missing(simulated[0], given), *simulated[1:])
    chunks = Chunks(chunk_size)
    chunks.choose(model, simulated)

    def rank(index: Tensor) -> dict[str, Tensor]:
        programs = BatchedPrograms(model, guide, tuple(part[index] for part in simulated), must_cover=False)
        true = {name: map_with_logs(lambda part: part[None, index], latents[name]) for name in programs.sites}
        counts: dict[str, _RankCount] = {}
        with programs.evaluating():
            fit = programs.densities(true)[0][..., None]  # (1, b, 1)
            counts = {name: _RankCount(_flat(true[name])) for name in programs.sites}
            counts[LOG_LIKELIHOOD] = _RankCount(fit, 8 * torch.finfo(fit.dtype).eps * fit.abs())
            for some in torch.empty(num_draws).split(max(1, chunks.size // programs.count)):
                drawn = programs.sample_guide(len(some))[0]
                for name in programs.sites:
                    counts[name].add(_flat(drawn[name]))
                counts[LOG_LIKELIHOOD].add(programs.densities(drawn)[0][..., None])
        return {name: count.ranks() for name, count in counts.items()}

    index = torch.arange(num_simulated, device=simulated[0].device)
    parts = chunks.in_parts(rank, (index,), lambda size: max(1, size // num_draws))
    ranks = {}
    for name in parts[0]:
        columns = torch.cat([part[name] for part in parts]).cpu().unbind(1)  # (N,) each
        is_scalar = name == LOG_LIKELIHOOD or latents[name].dim() == 1
        ranks.update({name if is_scalar else f"{name}[{d}]": column for d, column in enumerate(columns)})
    return Calibration(ranks, num_draws)


class _RankCount:
    """Numbers of draws that are less than a true value, or equal to it.

    Args:
        true: true values, ``(1, b, n)``.
        resolution: difference up to which values are equal.
    """

    def __init__(self, true: Tensor, resolution: Tensor | float = 0.0) -> None:
        self.low, self.high = true - resolution, true + resolution
        self.less, self.equal = torch.zeros_like(true[0]), torch.zeros_like(true[0])

    def add(self, drawn: Tensor) -> None:
        """Compare draws, ``(k, b, n)``."""
        less = drawn < self.low
        self.less += less.sum(0)
        self.equal += (~less & (drawn <= self.high)).sum(0)

    def ranks(self) -> Tensor:
        """Return the ranks, ``(b, n)``; those of equal values are drawn, so that they are uniform too."""
        return (self.less + (torch.rand_like(self.less) * (self.equal + 1)).floor().clamp(max=self.equal)).long()


def _flat(z: Tensor) -> Tensor:
    """Return values as doubles with one dimension of coordinates, ``(k, b, n)``."""
    return z.double().flatten(2) if z.dim() > 2 else z.double()[..., None]
