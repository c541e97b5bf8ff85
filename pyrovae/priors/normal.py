"""Normal priors."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae.priors.base import Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    r"""Take :math:`p(z) = \mathcal{N}(z; 0, I)` (Kingma & Welling, 2014, arXiv:1312.6114).

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
