"""Samples and standard deviations of the guide's distributions q(z|x)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.execution import evaluating, trace, values_of
from pyrovae.prediction.predictive import AtMeans, guide_of
from pyrovae.prediction.simulation import evaluating_with_validation
from pyrovae.programs import Batch, PyroFunction

__all__ = ["posterior_scales", "sample_posterior"]

_SAMPLES = 256  # for a standard deviation that has no formula


def posterior_scales(guide: PyroFunction, x: Batch) -> dict[str, Tensor]:
    """Return the standard deviation of each latent site of the guide, given the means of the sites before it.

    Without a formula, as for flows, it is that of 256 samples; classes have none, and get NaN.

    Args:
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that take labels.

    Returns:
        standard deviations by site name, ``(B, *event_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> bool((posterior_scales(vae.guide, torch.ones(3, 4))["z"] > 0).all())
        True
    """
    guide, arguments = guide_of(guide, x)
    with evaluating_with_validation(guide), AtMeans():
        traced = trace(guide, arguments)
        return {name: _scale(traced.nodes[name]["fn"]).expand_as(z) for name, z in values_of(traced).items()}


def _scale(fn: Any) -> Tensor:
    try:
        variance: Tensor = fn.variance
    except NotImplementedError:
        variance = fn.sample(torch.Size((_SAMPLES,))).double().var(0)
    return variance.sqrt()


def sample_posterior(guide: PyroFunction, x: Batch, num_draws: int = 1) -> dict[str, Tensor]:
    """Draw samples from q(z|x).

    Args:
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that take labels.
        num_draws: number S of samples of each datum.

    Returns:
        samples by site name, ``(B, S, *event_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> sample_posterior(vae.guide, torch.ones(3, 4), 5)["z"].shape
        torch.Size([3, 5, 2])
    """
    checks.integer("num_draws", num_draws)
    guide, arguments = guide_of(guide, x)
    with evaluating(guide):
        draws = [values_of(trace(guide, arguments)) for _ in range(num_draws)]
    return {name: torch.stack([draw[name] for draw in draws], 1) for name in draws[0]}
