"""Mixtures of normals as posteriors."""

from __future__ import annotations

from typing import Literal

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import NormalMixture
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["MixturePosterior"]


class MixturePosterior(Posterior):
    r"""An amortized mixture: :math:`q(z|x) = \sum_k \pi_k(x)\, \mathcal{N}(z; \mu_k(x), \mathrm{diag}\,\sigma_k(x)^2)`.

    Samples are differentiable with respect to the weights too: see
    :class:`~pyrovae.distributions.NormalMixture`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: encoder, from ``data_shape`` to K + 2KD features.
        num_components: number K of components.
        link: map that keeps the scales positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of z.

    Example:
        >>> q = MixturePosterior((64,), 2, num_components=5)(torch.zeros(3, 64))
        >>> q.rsample().requires_grad
        True
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        num_components: int = 3,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.num_components = checks.integer("num_components", num_components)
        each = self.num_components * self.latent_dim
        self.sizes = [self.num_components, each, each]
        self.network = make_network(network, self.data_shape, sum(self.sizes))
        self.positive = Positive(link, checks.number("min_scale", min_scale))

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        logits, *parts = self.network(x).split(self.sizes, -1)
        loc, raw_scale = (part.unflatten(-1, (self.num_components, self.latent_dim)) for part in parts)  # (*, K, D)
        return NormalMixture(logits, loc, self.positive(raw_scale))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, num_components={self.num_components}"
