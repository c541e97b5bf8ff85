"""The best model without latents: independent features, fitted to the training data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.reprs import short_repr

__all__ = ["Baseline", "independent_baseline"]

_BATCH = 1000


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
        if gain > (2 * error if math.isfinite(error) else 0.0):
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
    ones. A density of real numbers has no such bound where a feature is constant.

    Args:
        train: training data, ``(N, *data_shape)``.
        x: data to score, ``(B, *data_shape)``.
        discrete: whether the model's p(x|z) is a probability rather than a density.
        levels: number L of levels of x, evenly spaced from 0 to 1; None for other data.
        counts: whether x are counts.

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
    if train.shape[1:] != x.shape[1:]:
        raise checks.InputError(
            f"x must have the shape of the training data, {tuple(train.shape[1:])}, but has {tuple(x.shape[1:])}"
        )
    fitted, scored = (part.flatten(1).double().cpu() for part in (train, x))  # (N, P), (B, P)
    if discrete and levels is not None:
        family = "Bernoulli" if levels == 2 else "categorical"
        return Baseline(_categorical(fitted, scored, levels), family)
    if discrete:
        return _counts(fitted, scored) if counts else None
    variance = fitted.var(0)
    if len(fitted) < 2 or bool((variance == 0).any()):
        return None
    log_prob = torch.distributions.Normal(fitted.mean(0), variance.sqrt()).log_prob(scored)
    return Baseline(log_prob.sum(1), "normal")


def _categorical(train: Tensor, x: Tensor, levels: int) -> Tensor:
    """Return log p(x) of independent categorical features, ``(B,)``."""
    bins = torch.zeros(levels, train.shape[1], dtype=torch.float64)  # (L, P)
    for part in train.split(_BATCH):
        index = (part * (levels - 1)).round().long()
        bins.scatter_add_(0, index, torch.ones_like(part))
    log_p = ((bins + 1 / levels) / (len(train) + 1)).log()
    return log_p.gather(0, (x * (levels - 1)).round().long()).sum(1)


def _counts(train: Tensor, x: Tensor) -> Baseline:
    mean, variance = train.mean(0), train.var(0)
    mean = mean.clamp(min=1 / (2 * len(train)))  # half a count where there was none
    poisson = torch.distributions.Poisson(mean)
    # The negative binomial with these moments, where the variance exceeds the mean.
    wide = variance > mean
    total = torch.where(wide, mean.square() / (variance - mean).clamp(min=1e-12), 1.0)
    binomial = torch.distributions.NegativeBinomial(total, probs=mean / (mean + total))

    def log_prob(data: Tensor) -> dict[str, Tensor]:
        narrow = poisson.log_prob(data)
        return {"Poisson": narrow, "negative binomial": torch.where(wide, binomial.log_prob(data), narrow)}

    fit = {name: values.sum().item() for name, values in log_prob(train).items()}
    family = max(fit, key=lambda name: fit[name])
    return Baseline(log_prob(x)[family].sum(1), family)
