"""The best model without latents: independent features, fitted to the training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.columns import Column, Schema
from pyrovae.distributions import NegativeBinomialCounts, PoissonCounts
from pyrovae.missing import fill_missing, is_missing
from pyrovae.reprs import short_repr
from pyrovae.tensors import as_tensor

__all__ = ["Baseline", "independent_baseline", "table_baseline"]

_VALUES = 2**20  # numbers of data in double precision at a time, some six copies of which are alive


@dataclass(frozen=True)
class Baseline:
    """Log-likelihoods of data by a model without latents, whose features are independent.

    Attributes:
        log_prob: log p(x), ``(B,)``, in nats.
        family: distribution of each feature, such as ``Bernoulli``.
    """

    log_prob: Tensor
    family: str

    def __repr__(self) -> str:
        return short_repr(self, nll=self.nll, family=self.family, num_data=len(self.log_prob))

    @property
    def nll(self) -> float:
        """Mean of -log p(x), in nats per datum."""
        return -self.log_prob.mean().item()

    def gain(self, log_prob: Tensor) -> tuple[float, float]:
        """Return the mean gain of a model with these log p(x), ``(B,)``, and its standard error over data, in nats."""
        difference = log_prob.double().cpu() - self.log_prob.cpu()
        error = difference.std().item() / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
        return difference.mean().item(), error

    def verdict(self, log_prob: Tensor) -> str | None:
        """Return a sentence if a model is no better than this one by more than two standard errors, or else None."""
        gain, error = self.gain(log_prob)
        if not math.isfinite(error) or gain > 2 * error:  # one datum, or one without any weight, tells nothing
            return None
        return (
            f"The model is no better than one without latents: independent {self.family} features, fitted to the "
            f"training data, have an NLL of {self.nll:.2f} nats, and the model gains {gain:.2f} ± {error:.2f}."
        )


def independent_baseline(
    train: Tensor, x: Tensor, *, discrete: bool, levels: int | None = None, counts: bool = False
) -> Baseline | None:
    r"""Fit independent features to training data, and score other data.

    Data of two levels have Bernoulli features, of L levels categorical ones (with one datum added, spread over the
    levels), counts the better of Poisson and negative binomial by the training data (moments), and real numbers normal
    ones. A density of real numbers has no such bound where a feature is constant. Missing values (NaN) are left
    out, of the fit and of log p(x).

    Args:
        train: training data, ``(N, *data_shape)``.
        x: data to score, ``(B, *data_shape)``, on any device; a memory-mapped tensor is read in parts.
        discrete: True if the model's p(x|z) is a probability, False if it is a density.
        levels: number L of levels of x, evenly spaced from 0 to 1; None for other data.
        counts: True if x are counts.

    Returns:
        the log-likelihoods; None if there is no baseline of this kind.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> train, x = torch.rand(500, 4).round(), torch.rand(20, 4).round()
        >>> baseline = independent_baseline(train, x, discrete=True, levels=2)
        >>> baseline.family, 2.5 < baseline.nll < 3.1  # 4 log 2 = 2.77
        ('Bernoulli', True)
    """
    train, x = as_tensor("train", train), as_tensor("x", x)
    if train.shape[1:] != x.shape[1:]:
        raise checks.InputError(
            f"x must have the shape of the training data, {tuple(train.shape[1:])}, but has {tuple(x.shape[1:])}"
        )
    if discrete and levels is not None:
        return Baseline(_categorical(train, x, levels), "Bernoulli" if levels == 2 else "categorical")
    if discrete and not counts:
        return None
    mean, variance = _moments(train)
    if discrete:
        return _counts(train, x, mean, variance)
    if len(train) < 2 or bool((variance == 0).any()):
        return None
    normal = torch.distributions.Normal(mean, variance.sqrt(), validate_args=False)
    return Baseline(_per_datum(x, lambda part: normal.log_prob(part).nansum(1)), "normal")


def table_baseline(schema: Schema, train: Tensor, x: Tensor) -> Baseline:
    """Fit independent columns to the training rows of a table, and score other rows in the table's units.

    Real columns are normal, positive ones log-normal, counts and categories as in :func:`independent_baseline`. Missing
    values are left out.

    Args:
        schema: the columns.
        train: training rows, ``(N, C)``.
        x: rows to score, ``(B, C)``.

    Example:
        >>> rows = torch.randn(500, 3)
        >>> table_baseline(Schema.of_reals(3), rows, rows).family
        'normal'
    """
    total, families = torch.zeros(len(x), dtype=torch.float64), dict[str, None]()
    for i, column in enumerate(schema.columns):
        fitted, scored = (part[:, i : i + 1].double().cpu() for part in (train, x))
        fitted, there = fitted[~fitted.isnan()][:, None], ~scored.isnan()[:, 0]
        if len(fitted) == 0 or not bool(there.any()):
            continue
        found = _column_baseline(column, fitted, scored[there])
        total[there] += found.log_prob
        families[found.family] = None
    return Baseline(total, ", ".join(families))


def _column_baseline(column: Column, train: Tensor, x: Tensor) -> Baseline:
    if column.levels:
        steps = column.levels - 1
        return Baseline(_categorical(train / steps, x / steps, column.levels), "categorical")
    if column.kind == "count":
        return _counts(train, x, *_moments(train))
    logarithm = column.kind == "positive"
    mean, variance = _moments(train.log() if logarithm else train)
    kind = torch.distributions.LogNormal if logarithm else torch.distributions.Normal
    std = variance.sqrt().clamp(min=1e-3 * (column.log_std if logarithm else column.std))
    return Baseline(kind(mean, std).log_prob(x)[:, 0], "log-normal" if logarithm else "normal")


def _batches(data: Tensor) -> Iterator[Tensor]:
    """Yield the data as vectors in double precision on the CPU, ``(b, P)``, a bounded number at a time."""
    for part in data.split(max(1, _VALUES // math.prod(data.shape[1:]))):
        yield part.flatten(1).double().cpu()


def _per_datum(data: Tensor, function: Callable[[Tensor], Tensor], *shape: int) -> Tensor:
    """Return a function of batches ``(b, P)``, of shape ``(*shape, b)``, for all data, ``(*shape, B)``.

    The results have their memory from the start: small tensors that are kept between large ones fragment it.
    """
    found = torch.empty(*shape, len(data), dtype=torch.float64)
    start = 0
    for part in _batches(data):
        found[..., start : start + len(part)] = function(part)
        start += len(part)
    return found


def _moments(train: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each feature, ``(P,)``; the second pass avoids cancellation."""
    count = _counts_of(train)
    mean = torch.stack([part.nansum(0) for part in _batches(train)]).sum(0) / count.clamp(min=1)
    squares = torch.stack([(part - mean).square().nansum(0) for part in _batches(train)]).sum(0)
    return mean, squares / (count - 1).clamp(min=1)


def _counts_of(train: Tensor) -> Tensor:
    """Return the number of observed values of each feature, ``(P,)``."""
    return torch.stack([(~is_missing(part)).sum(0) for part in _batches(train)]).sum(0)


def _categorical(train: Tensor, x: Tensor, levels: int) -> Tensor:
    """Return log p(x) of independent categorical features, ``(B,)``, in nats."""

    def level(part: Tensor) -> Tensor:
        return (fill_missing(part) * (levels - 1)).round().long()

    bins = torch.zeros(levels, math.prod(train.shape[1:]), dtype=torch.float64)  # (L, P)
    for part in _batches(train):
        bins.scatter_add_(0, level(part), (~is_missing(part)).double())
    log_p = ((bins + 1 / levels) / (_counts_of(train) + 1)).log()
    return _per_datum(x, lambda part: torch.where(is_missing(part), 0, log_p.gather(0, level(part))).sum(1))


def _counts(train: Tensor, x: Tensor, mean: Tensor, variance: Tensor) -> Baseline:
    mean = mean.clamp(min=1 / (2 * len(train)))  # half a count where there was none
    poisson = PoissonCounts(mean.log())
    wide = variance > mean
    dispersion = torch.where(wide, mean.square() / (variance - mean), 1.0)  # the negative binomial with these moments
    binomial = NegativeBinomialCounts(mean.log(), dispersion)

    def log_prob(part: Tensor) -> Tensor:
        filled = fill_missing(part)
        narrow = poisson.log_prob(filled)
        both = torch.stack((narrow, torch.where(wide, binomial.log_prob(filled), narrow)))  # (2, b, P)
        return torch.where(is_missing(part), 0, both).sum(2)

    family = int(_per_datum(train, log_prob, 2).sum(1).argmax())
    name = ("Poisson", "negative binomial")[family]
    return Baseline(_per_datum(x, lambda part: log_prob(part)[family]), name)
