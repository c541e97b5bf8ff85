"""Normalizing flows as priors."""

from __future__ import annotations

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.transforms import AffineTransform
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions import Pushforward
from pyrovae.flows import AffineAutoregressive, FlowChain, FlowFactory
from pyrovae.networks import Positive
from pyrovae.priors.base import Prior
from pyrovae.priors.normal import StandardNormal

__all__ = ["FlowPrior"]


class FlowPrior(Prior):
    r"""A normalizing flow: :math:`\log p(z) = \log \mathcal{N}(f(z); 0, I) + \log |\det \nabla f(z)|`.

    Each flow maps from z towards the normal, so that scoring takes one pass of any flow; sampling by an
    autoregressive flow takes D passes. Before the flows, each component is shifted and scaled by learned numbers.
    Chen et al. (2017, arXiv:1611.02731) use such priors, with autoregressive flows.

    Args:
        latent_dim: number D of latent dimensions.
        flow: makes each flow, which must have an inverse.
        num_layers: number of flows.

    Raises:
        ValueError: if a flow has no inverse, or ``num_layers`` is not positive.

    Example:
        >>> FlowPrior(2, SplineAutoregressive)().log_prob(torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, latent_dim: int, flow: FlowFactory = AffineAutoregressive, num_layers: int = 2) -> None:
        super().__init__(latent_dim)
        self.base = StandardNormal(self.latent_dim)
        self.chain = FlowChain(flow, self.latent_dim, num_layers=num_layers)
        if not self.chain.invertible:
            raise checks.InputError(
                "flow must have an inverse in a prior, such as SplineAutoregressive has, "
                f"but {type(self.chain.flows[0]).__name__} was given"
            )
        self.positive = Positive()
        self.loc = nn.Parameter(torch.zeros(self.latent_dim))
        self.raw_scale = nn.Parameter(self.positive.inverse(torch.ones(self.latent_dim)))

    def forward(self) -> TorchDistributionMixin:
        """Return the transformed normal over ``(D,)``."""
        transforms = [transform.inv for transform in reversed(self.chain())]
        affine = AffineTransform(self.loc, self.positive(self.raw_scale), event_dim=1)
        return Pushforward(self.base(), [*transforms, affine])

    @torch.no_grad()
    def initialize_from_codes(self, z: Tensor) -> None:
        """Set shift and scale to those that standardise the codes ``z``, ``(N, D)``."""
        self.loc.copy_(z.mean(0))
        self.raw_scale.copy_(self.positive.inverse(z.std(0, correction=0).clamp(min=2 * self.positive.minimum)))
