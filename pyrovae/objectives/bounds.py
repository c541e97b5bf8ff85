r"""Bounds of log p(x) from several samples, with :math:`w_k = p(x, z_k) / q(z_k|x)`, :math:`z_k \sim q(z|x)`."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.objectives.base import Objective, weights_of
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["CIWAE", "IWAE", "MIWAE", "Renyi"]


class _Bound(Objective):
    """Base class of bounds that are functions of the log weights, with their exact gradient."""

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the loss twice: it is also the scalar to differentiate."""
        weights = weights_of(list(self._get_traces(model, guide, arguments, {})))
        loss = -weights.plate_scale * self.bound(weights.log_weight).sum()
        return loss, loss

    @abstractmethod
    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the bound of each datum, in nats: from ``(K, B)`` to ``(B,)``."""


class IWAE(_Bound):
    r"""The importance-weighted bound :math:`L_K = \mathrm{E} \log \frac1K \sum_k w_k` of each datum.

    (Burda et al., 2015, arXiv:1509.00519.)
    With a tempered KL, :math:`\log w_k = \log p(x|z_k) + \beta (\log p(z_k) - \log q(z_k|x))`. In a subsampled plate
    the bound of each datum is multiplied by N / B; Pyro's own ``RenyiELBO`` puts this factor inside the logarithm.

    Args:
        num_particles: number K of samples per datum.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> IWAE(num_particles=5).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return logsumexp of the log weights minus log K, ``(B,)``."""
        return log_weight.logsumexp(0) - math.log(len(log_weight))


class MIWAE(_Bound):
    r"""The mean of M bounds :math:`L_K`, whose gradient has a higher signal-to-noise ratio for the guide.

    (Rainforth et al., 2018, arXiv:1802.04537.)

    Args:
        num_particles: number K of samples in each bound.
        num_bounds: number M of bounds per datum.
        vectorize_particles: True to draw them in one run, False for M K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> MIWAE(num_particles=4, num_bounds=2).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, num_bounds: int = 5, vectorize_particles: bool = True) -> None:
        checks.integer("num_particles", num_particles)
        super().__init__(num_particles * checks.integer("num_bounds", num_bounds), vectorize_particles)
        self.num_bounds = num_bounds

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the mean of the M bounds, ``(B,)``."""
        groups = log_weight.unflatten(0, (self.num_bounds, -1))  # (M, K, B)
        return (groups.logsumexp(1) - math.log(groups.shape[1])).mean(0)


class CIWAE(_Bound):
    r"""The combination :math:`\lambda\,\mathrm{ELBO} + (1 - \lambda) L_K` (Rainforth et al., 2018, arXiv:1802.04537).

    Args:
        num_particles: number K of samples per datum.
        elbo_weight: share :math:`\lambda` of the ELBO, from 0 to 1.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> CIWAE(elbo_weight=0.05).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, elbo_weight: float = 0.5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)
        self.elbo_weight = checks.number("elbo_weight", elbo_weight, 0.0, 1.0)

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the convex combination, ``(B,)``."""
        iwae = log_weight.logsumexp(0) - math.log(len(log_weight))
        return self.elbo_weight * log_weight.mean(0) + (1 - self.elbo_weight) * iwae


class Renyi(_Bound):
    r"""The Rényi bound :math:`\frac{1}{1-\alpha} \log \frac1K \sum_k w_k^{1-\alpha}`.

    (Li & Turner, 2016, arXiv:1602.02311.) At :math:`\alpha = 1` it is the ELBO, at 0 the bound of :class:`IWAE`; below
    0 it may exceed log p(x). Pyro's ``RenyiELBO`` is wrong in a subsampled plate, whose factor enters its logarithm.

    Args:
        num_particles: number K of samples per datum.
        alpha: order :math:`\alpha` of the divergence.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> Renyi(alpha=0.5).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, alpha: float = 0.5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)
        self.alpha = checks.number("alpha", alpha, -math.inf)

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the bound of order alpha, ``(B,)``."""
        if self.alpha == 1:
            return log_weight.mean(0)
        power = 1 - self.alpha
        return (torch.logsumexp(power * log_weight, 0) - math.log(len(log_weight))) / power
