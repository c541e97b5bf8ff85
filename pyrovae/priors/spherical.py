"""Uniform prior on the unit sphere."""

from __future__ import annotations

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import UniformSphere
from pyrovae.priors.base import Prior

__all__ = ["SphericalUniform"]


class SphericalUniform(Prior):
    r"""The uniform distribution of directions: :math:`p(z) = 1 / |S^{D-1}|` on the unit sphere.

    It is used with :class:`~pyrovae.VonMisesFisher` (Davidson et al., 2018, arXiv:1804.00891).

    Args:
        latent_dim: number D of components, at least 2; the sphere itself has D - 1 dimensions.

    Raises:
        ValueError: if ``latent_dim`` is less than 2.

    Example:
        >>> SphericalUniform(3)().sample().norm()
        tensor(1.)
    """

    support = constraints.sphere
    center: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(checks.integer("latent_dim of a sphere", latent_dim, minimum=2))
        self.register_buffer("center", torch.zeros(self.latent_dim), persistent=False)

    def forward(self) -> TorchDistributionMixin:
        """Return the uniform distribution over unit vectors ``(D,)``."""
        return UniformSphere(self.latent_dim, self.center.dtype, self.center.device)
