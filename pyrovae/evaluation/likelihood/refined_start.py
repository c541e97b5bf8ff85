"""Refinement of the distribution that annealed chains start from: the guide is moved towards each datum's posterior."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrovae.evaluation.likelihood.annealing_target import AffineMap, AnnealingTarget

__all__ = ["RefinedStart", "refine_start"]

# Set by hand: two rounds find a Gaussian posterior.
_MIN_SAMPLES = 16  # smallest number of samples of a round; otherwise twice the number of coordinates
_MAX_COORDINATES = 256  # largest number of coordinates: a round costs twice as many decoder runs
_RIDGE = 1.0  # weight, in samples, of the assumption that the guide has the posterior's curvature
_MIN_PRECISION = 1 / 9  # smallest factor on the precision in one round, which so widens by at most three
_MAX_SLOPE = 1e12  # larger fitted slopes are overflow, and the map is kept
_MAX_SHIFT = 5.0  # largest root mean square shift of the coordinates in one round


class RefinedStart(NamedTuple):
    """The refined start of annealed chains of B data.

    Attributes:
        target: posterior in coordinates in which the refined start has the density r.
        num_evaluations: number of gradients for each datum.
    """

    target: AnnealingTarget
    num_evaluations: int


def refine_start(
    target: AnnealingTarget, num_rounds: int, chunk_size: int = 2000, *, keep_guide: bool = False
) -> RefinedStart:
    r"""Map the coordinates of each datum affinely, so that the start comes closer to its posterior.

    Where the posterior is Gaussian, the gradient of its log-density is linear. In each round, this gradient is
    regressed on samples of the present start, and a damped Newton step leads to the Gaussian with the fitted
    gradient: mean and covariance solve :math:`\mathrm{E}_q \nabla \log p = 0` and
    :math:`-\mathrm{E}_q \nabla^2 \log p = \Sigma^{-1}`, the equations of the Gaussian of largest ELBO (Opper &
    Archambeau, 2009). A step is kept if the ELBO of the datum rises, or falls by less than its error, and is
    shortened otherwise.

    The samples are used for nothing else, so that the weights of chains from the refined start have the mean p(x).

    Args:
        target: posterior in coordinates of the guide.
        num_rounds: number of steps.
        chunk_size: number of latents to run the model on at a time.
        keep_guide: True to start at the mixture of the guide and the refined guide.
    """
    n = target.num_coordinates
    # Other starts than noise can have a tail like exp(-exp(u)): narrowed, they have no density at some latents.
    if n > _MAX_COORDINATES or not target.is_noise:
        return RefinedStart(target, 0)
    num_samples = max(_MIN_SAMPLES, 2 * n)
    like = target.draw(1)[0]  # (B, n)
    eye = torch.eye(n, dtype=like.dtype, device=like.device).expand(len(like), n, n)
    best = _fit(target, AffineMap(torch.zeros_like(like), eye, torch.zeros_like(like[:, 0])), num_samples, chunk_size)
    rate = torch.ones_like(best.elbo)
    for _ in range(num_rounds):
        found = _fit(target, _step(best, rate), num_samples, chunk_size)
        better = found.elbo + found.elbo_error > best.elbo  # or else a lucky first one would stay
        best = _Fit(
            *(torch.where(better.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(found, best, strict=True))
        )
        rate = torch.where(better, (2 * rate).clamp(max=1), rate / 4)
    refined = target.mapped(best.affine, keep_guide=keep_guide)
    return RefinedStart(refined, (num_rounds + 1) * num_samples * target.programs.num_values)


def _sizes(target: AnnealingTarget, num_samples: int, chunk_size: int) -> list[int]:
    """Return numbers of samples of each datum to run at a time."""
    size = max(1, chunk_size // target.programs.count)
    return [min(size, num_samples - first) for first in range(0, num_samples, size)]


class _Fit(NamedTuple):
    """An affine map of coordinates, its ELBO, and the gradient of the log-density there, c + A v, in nats."""

    shift: Tensor  # (B, n), as gradient
    factor: Tensor  # (B, n, n), as slope
    log_volume: Tensor  # (B,), as elbo and its standard error
    elbo: Tensor
    elbo_error: Tensor
    gradient: Tensor  # c, float64
    slope: Tensor  # A + I, symmetric, float64

    @property
    def affine(self) -> AffineMap:
        return AffineMap(self.shift, self.factor, self.log_volume)


def _fit(target: AnnealingTarget, affine: AffineMap, num_samples: int, chunk_size: int) -> _Fit:
    """Regress the gradient of log p(x, z) on samples of the start that a map makes."""
    mapped, log_weights = target.mapped(affine), []
    gram = cross = torch.zeros((), dtype=torch.float64, device=affine.shift.device)
    for k in _sizes(target, num_samples, chunk_size):
        v = target.draw(k)
        point, grad_weight, grad_start = mapped.gradients(v)
        design, y = F.pad(v.double(), (1, 0), value=1.0), (grad_weight + grad_start + v).double()
        gram = gram + torch.einsum("kbi,kbj->bij", design, design)  # (B, 1 + n, 1 + n)
        cross = cross + torch.einsum("kbi,kbj->bij", design, y)  # (B, 1 + n, n)
        log_weights.append(point.log_weight.double())
    penalty = _RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    penalty[0, 0] = 0.0
    slope = torch.linalg.solve(gram + penalty, cross)[:, 1:]
    slope = 0.5 * (slope + slope.mT)
    gradient = (cross[:, 0] - torch.einsum("bij,bj->bi", slope, gram[:, 0, 1:])) / num_samples
    known = (slope.abs().amax((1, 2)) < _MAX_SLOPE) & gradient.isfinite().all(1)  # NaN is not
    gradient, slope = torch.where(known[:, None], gradient, 0.0), torch.where(known[:, None, None], slope, 0.0)
    log_weight = torch.cat(log_weights)  # (K, B)
    return _Fit(*affine, log_weight.mean(0), log_weight.std(0) / math.sqrt(num_samples), gradient, slope)


def _step(fit: _Fit, rate: Tensor) -> AffineMap:
    """Move a map towards the Gaussian of the fitted gradient, by a share of the way, ``(B,)``."""
    values, vectors = torch.linalg.eigh(fit.slope)
    precision = (1 - rate[:, None] * values).clamp(min=_MIN_PRECISION)
    along = torch.einsum("bji,bj->bi", vectors, fit.gradient) * rate[:, None] / precision
    along = along * (_MAX_SHIFT / along.square().mean(-1, keepdim=True).sqrt()).clamp(max=1)
    move = torch.einsum("bij,bj->bi", vectors, along).to(fit.shift)
    root = (vectors @ (precision.rsqrt()[..., None] * vectors.mT)).to(fit.factor)
    return AffineMap(
        fit.shift + torch.einsum("bij,bj->bi", fit.factor, move),
        fit.factor @ root,
        fit.log_volume - 0.5 * precision.log().sum(-1).to(fit.log_volume),
    )
