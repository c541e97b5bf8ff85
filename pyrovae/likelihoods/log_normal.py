"""Log-normal likelihood of positive numbers."""

from __future__ import annotations

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyrovae import distributions
from pyrovae.likelihoods.location_scale import LocationScale

__all__ = ["LogNormal"]


class LogNormal(LocationScale):
    r"""Log-normal numbers: :math:`\log x_i \sim \mathcal{N}(\mu_i(z), \sigma^2)`, a density of x above 0.

    :math:`\log p(x_i|z) = \log \mathcal{N}(\log x_i; \mu_i(z), \sigma^2) - \log x_i`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of :math:`\sigma`: ``fixed``; one learned number ``shared`` by all components of x; one learned
            number for each, ``pixel``; or from the ``network``, for each component and code.
        initial_scale: initial scale (constant if fixed), in units of log x; a learned number starts at the standard
            deviation of log x instead where it is initialized from data.
        link: map that keeps it positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of log x.

    Example:
        >>> LogNormal((4,), 2, scale="pixel")(torch.zeros(3, 2)).log_prob(torch.ones(3, 4)).shape
        torch.Size([3])
    """

    support = constraints.positive

    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return log-normal distributions."""
        return distributions.LogNormal(loc, scale)

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the mean of log x, and a learned scale to its standard deviation."""
        log_x = x.log()
        super().initialize(log_x)
        if self.scale in ("shared", "pixel"):
            variance = log_x.var(0, correction=0)
            std = (variance if self.scale == "pixel" else variance.mean()).sqrt()
            with torch.no_grad():
                self.raw_scale.copy_(self.positive.inverse(std.clamp(min=2 * self.positive.minimum + 1e-6)))
