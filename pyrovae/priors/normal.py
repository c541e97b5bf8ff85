"""Normal priors."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae.networks import Positive
from pyrovae.priors.base import Prior

__all__ = ["LearnedNormal", "StandardNormal"]


class StandardNormal(Prior):
    r"""The standard normal :math:`p(z) = \mathcal{N}(z; 0, I)` (Kingma & Welling, 2014, arXiv:1312.6114).

    Args:
        latent_dim: number D of latent dimensions.

    Example:
        >>> StandardNormal(20)().log_prob(torch.zeros(3, 20)).shape
        torch.Size([3])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.register_buffer("loc", torch.zeros(self.latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(self.latent_dim), persistent=False)

    def forward(self) -> TorchDistributionMixin:
        """Return the standard normal over ``(D,)``."""
        return dist.Normal(self.loc, self.scale).to_event(1)


class LearnedNormal(Prior):
    r"""A normal :math:`p(z) = \mathcal{N}(z; \mu, \mathrm{diag}\,\sigma^2)` with learned parameters, initially 0 and 1.

    Args:
        latent_dim: number D of latent dimensions.

    Example:
        >>> prior = LearnedNormal(2)
        >>> prior.initialize_from_codes(torch.tensor([[1.0, 4.0], [3.0, 8.0]]))
        >>> prior().mean.tolist(), prior().stddev.tolist()
        ([2.0, 6.0], [1.0, 2.0])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.positive = Positive()
        self.loc = nn.Parameter(torch.zeros(self.latent_dim))
        self.raw_scale = nn.Parameter(self.positive.inverse(torch.ones(self.latent_dim)))

    def forward(self) -> TorchDistributionMixin:
        """Return the normal over ``(D,)``."""
        return dist.Normal(self.loc, self.positive(self.raw_scale)).to_event(1)

    @torch.no_grad()
    def initialize_from_codes(self, z: Tensor) -> None:
        """Set mean and scale to those of the codes ``z``, ``(N, D)``."""
        self.loc.copy_(z.mean(0))
        self.raw_scale.copy_(self.positive.inverse(z.std(0, correction=0).clamp(min=2 * self.positive.minimum)))
