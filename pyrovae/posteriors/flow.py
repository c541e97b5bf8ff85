"""Normalizing flows as posteriors."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import Pushforward
from pyrovae.flows import AffineAutoregressive, FlowChain, FlowFactory
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["FlowPosterior"]


class FlowPosterior(Posterior):
    r"""An amortized normalizing flow: :math:`z = f(u; h(x))`.

    The base is an amortized diagonal normal, :math:`u \sim \mathcal{N}(\mu(x), \mathrm{diag}\,\sigma(x)^2)`. Sampling,
    and the density of the samples, take one pass through each flow. With :class:`~pyrovae.AffineAutoregressive` this is
    the inverse autoregressive flow (Kingma et al., 2016, arXiv:1606.04934), with :class:`~pyrovae.Planar` or
    :class:`~pyrovae.Radial` it is a flow of Rezende & Mohamed (2015, arXiv:1505.05770), whose density is known only at
    its latest draws. The density at other z takes D passes of an autoregressive flow.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to 2D features and those of the context.
        flow: makes each flow.
        num_layers: number of flows.
        context_features: number of features h(x) of the context; 0 for flows that do not depend on the datum.
        link: map that keeps the base's scale positive: ``softplus`` or ``exp``.
        min_scale: smallest scale of the base, in units of u.

    Raises:
        ValueError: if a number is too small.

    Example:
        >>> q = FlowPosterior((64,), 2, flow=Planar, num_layers=8)(torch.zeros(3, 64))
        >>> q.log_prob(q.rsample()).shape
        torch.Size([3])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        flow: FlowFactory = AffineAutoregressive,
        num_layers: int = 2,
        context_features: int = 64,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.sizes = [latent_dim, latent_dim, checks.integer("context_features", context_features, minimum=0)]
        self.network = make_network(network, self.data_shape, sum(self.sizes))
        self.positive = Positive(link, checks.number("min_scale", min_scale))
        self.chain = FlowChain(flow, self.latent_dim, context_features, num_layers)
        self.has_density = self.chain.invertible

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        loc, raw_scale, context = self.network(x).split(self.sizes, -1)
        transforms = self.chain(context if context.shape[-1] else None)
        return Pushforward(dist.Normal(loc, self.positive(raw_scale)).to_event(1), transforms)
