"""Deterministic codes as posteriors."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae.networks import MLP, NetworkFactory, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["PointPosterior"]


class PointPosterior(Posterior):
    r"""A deterministic code :math:`z = \mu(x)`, for autoencoders without noise.

    A point has no density: :math:`\log q(z|x)` counts as 0. The value of an objective is then no bound on
    :math:`\log p(x)`, and importance sampling, whose samples are all the same z, cannot estimate it.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to D features.

    Example:
        >>> q = PointPosterior((64,), 2)(torch.zeros(3, 64))
        >>> q.log_prob(q.rsample())
        tensor([0., 0., 0.])
    """

    has_density = False

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP) -> None:
        super().__init__(data_shape, latent_dim)
        self.network = make_network(network, self.data_shape, self.latent_dim)

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return the point for ``x`` of shape ``(*, *data_shape)``."""
        return dist.Delta(self.network(x), event_dim=1)
