"""Normal posteriors."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks, distributions
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["DiagonalNormal", "FullCovarianceNormal", "LowRankNormal"]


class DiagonalNormal(Posterior):
    r"""An amortized diagonal normal, :math:`q(z|x) = \mathcal{N}(z; \mu(x), \mathrm{diag}\,\sigma(x)^2)`.

    (Kingma & Welling, 2014, arXiv:1312.6114.)

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to 2D features.
        link: map that keeps the scale positive: ``softplus`` or ``exp``.
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


class FullCovarianceNormal(Posterior):
    r"""An amortized normal of full covariance, :math:`q(z|x) = \mathcal{N}(z; \mu(x), L(x) L(x)^\top)`.

    L is a Cholesky factor. Unlike a diagonal normal, it can be the exact posterior of a linear-Gaussian model
    (Kingma & Welling, 2019, section 2.5.1, arXiv:1906.02691).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to 2D + D(D - 1)/2 features.
        link: map that keeps the diagonal of L positive: ``softplus`` or ``exp``.
        min_scale: smallest entry of the diagonal, in units of z.

    Example:
        >>> FullCovarianceNormal((64,), 3)(torch.zeros(5, 64)).covariance_matrix.shape
        torch.Size([5, 3, 3])
    """

    position: Tensor

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.sizes = [latent_dim, latent_dim, latent_dim * (latent_dim - 1) // 2]
        self.network = make_network(network, self.data_shape, sum(self.sizes))
        self.positive = Positive(link, checks.number("min_scale", min_scale))
        # Positions in the flattened L of its diagonal, then of the entries below.
        rows, columns = torch.tril_indices(latent_dim, latent_dim, -1)
        position = torch.cat((torch.arange(latent_dim) * (latent_dim + 1), rows * latent_dim + columns))
        self.register_buffer("position", position, persistent=False)

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        loc, raw_scale, below = self.network(x).split(self.sizes, -1)
        entries = torch.cat((self.positive(raw_scale), below), -1)
        zeros = entries.new_zeros(*entries.shape[:-1], self.latent_dim**2)
        flat = zeros.scatter(-1, self.position.expand_as(entries), entries)
        scale_tril = flat.unflatten(-1, (self.latent_dim, self.latent_dim))  # (*, D, D)
        return distributions.MultivariateNormal(loc, scale_tril=scale_tril)


class LowRankNormal(Posterior):
    r"""An amortized normal, :math:`q(z|x) = \mathcal{N}(z; \mu(x), W(x) W(x)^\top + \mathrm{diag}\,\sigma(x)^2)`.

    W has rank R: a low-rank covariance and a diagonal. The family lies between diagonal and full covariance, at a cost
    linear in D (Rezende et al., 2014, arXiv:1401.4082, use rank 1). It is computed in double precision, because
    :math:`\sigma` may be small.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to (2 + R)D features.
        rank: rank R of W.
        link: map that keeps :math:`\sigma` positive: ``softplus`` or ``exp``.
        min_scale: smallest :math:`\sigma`, in units of z.

    Example:
        >>> q = LowRankNormal((64,), 20, rank=3)(torch.zeros(5, 64))
        >>> q.rsample().shape
        torch.Size([5, 20])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        rank: int = 2,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.rank = checks.integer("rank", rank)
        self.sizes = [latent_dim, latent_dim, latent_dim * self.rank]
        self.network = make_network(network, self.data_shape, sum(self.sizes))
        self.positive = Positive(link, checks.number("min_scale", min_scale))

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        loc, raw_scale, factor = self.network(x).split(self.sizes, -1)
        factor = factor.unflatten(-1, (self.latent_dim, self.rank))  # (*, D, R)
        return distributions.LowRankMultivariateNormal(loc, factor, self.positive(raw_scale))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, rank={self.rank}"
