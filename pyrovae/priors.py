"""Priors p(z): nothing in, a distribution over ``(D,)`` out. Subclass :class:`Prior` to add one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """Hold what every prior p(z) shares; a subclass defines ``forward()``.

    Args:
        latent_dim: number D of latent dimensions.

    Raises:
        ValueError: if ``latent_dim`` is not a positive integer.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = checks.integer("latent_dim", latent_dim)

    @abstractmethod
    def forward(self) -> TorchDistributionMixin:
        """Return p(z), of batch shape ``()`` and event shape ``(D,)``."""

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"latent_dim={self.latent_dim}"


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
