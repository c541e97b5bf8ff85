"""Normal posteriors."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["DiagonalNormal"]


class DiagonalNormal(Posterior):
    r"""Amortize :math:`q(z|x) = \mathcal{N}(z; \mu(x), \mathrm{diag}\,\sigma(x)^2)`.

    (Kingma & Welling, 2014, arXiv:1312.6114.)

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to 2D features.
        link: how the scale is kept positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of z.

    Example:
        >>> q = DiagonalNormal((1, 28, 28), 20)(torch.zeros(3, 1, 28, 28))
        >>> q.batch_shape, q.event_shape
        (torch.Size([3]), torch.Size([20]))
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.network = make_network(network, self.data_shape, 2 * self.latent_dim)
        self.positive = Positive(link, checks.number("min_scale", min_scale))

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        loc, raw_scale = self.network(x).chunk(2, -1)  # (*, D) each
        return dist.Normal(loc, self.positive(raw_scale)).to_event(1)
