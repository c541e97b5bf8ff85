"""Continuous Bernoulli likelihood of values in [0, 1]."""

from __future__ import annotations

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, init_output_bias, make_network

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    r"""The normalised cross-entropy of pixels in [0, 1]: :math:`p(x_i|z) \propto p_i(z)^{x_i} (1 - p_i(z))^{1 - x_i}`.

    In the logit l, :math:`\log p(x_i|z) = l x_i + \log(l / (e^l - 1))`
    (Loaiza-Ganem & Cunningham, 2019, arXiv:1907.06845). It is a density: dequantise 8-bit images, because
    with many exact zeros it would be unbounded.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logits of ``data_shape``.

    Example:
        >>> ContinuousBernoulli((1, 28, 28), 20)(torch.zeros(3, 20)).log_prob(torch.rand(3, 1, 28, 28)).shape
        torch.Size([3])
    """

    support = constraints.unit_interval

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP) -> None:
        super().__init__(data_shape, latent_dim)
        self.network = make_network(network, self.latent_dim, self.data_shape)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        return distributions.ContinuousBernoulli(self.network(z)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to logits with the data's mean, by Cohen's (1991) approximation of the inverse."""
        # Clamped: gradients would vanish at the extreme logit of a pixel that is always off.
        r = (2 * x.mean(0) - 1).clamp(-0.96, 0.96)
        init_output_bias(self.network, 2 * r * (3 - r**2) / (1 - r**2))
