"""Gaussian noise around a mean image."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import OptimalNormal
from pyrovae.likelihoods.location_scale import LocationScale
from pyrovae.networks import MLP, NetworkFactory

__all__ = ["Gaussian"]

NEW_SHARE = 0.1  # of a batch's scale in the running one


class Gaussian(LocationScale):
    r"""Add Gaussian noise to a mean image: :math:`p(x|z) = \mathcal{N}(x; \mu(z), \mathrm{diag}\,\sigma^2)`.

    With a fixed scale this is squared error with its constants: maximising it is minimising
    :math:`\|x - \mu(z)\|^2 / 2\sigma^2`.

    The ``optimal`` scale is that of the :math:`\sigma`-VAE (Rybkin et al., 2021, arXiv:2006.13202): while it is
    trained, :math:`\sigma^2` is the mean squared error of the batch, the value that maximises the batch's
    likelihood; where it is evaluated, :math:`\sigma` is a running average over training batches, so that nothing
    is learned from what is evaluated. The average moves whenever a log-probability is computed in training mode with
    gradients.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension where
            the scale comes from the network).
        scale: where :math:`\sigma` comes from: ``fixed``; one learned number ``shared`` by all pixels; one
            learned number for each ``pixel``; from the ``network``, for each pixel and code; or the ``optimal``
            number, computed from the squared error.
        initial_scale: its value at the start (always, if fixed), in units of x.
        link: how it is kept positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.

    Example:
        >>> Gaussian((64,), 2, scale="pixel")(torch.zeros(3, 2)).log_prob(torch.zeros(3, 64)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        scale: Literal["fixed", "shared", "pixel", "network", "optimal"] = "shared",
        initial_scale: float = 0.5,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-3,
    ) -> None:
        checks.choice("scale", scale, ("fixed", "shared", "pixel", "network", "optimal"))
        learned = "fixed" if scale == "optimal" else scale
        super().__init__(data_shape, latent_dim, network, learned, initial_scale, link, min_scale)
        self.scale = scale

    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return normal distributions, at the optimal scale in training if that is wanted."""
        if self.scale == "optimal" and self.training:
            return OptimalNormal(loc, scale, self._follow, self.positive.minimum)
        return dist.Normal(loc, scale)

    def initialize(self, x: Tensor) -> None:
        """Start at the data's mean; the optimal scale, at their deviation from it."""
        super().initialize(x)
        if self.scale == "optimal":
            self._set_scale((x - x.mean(0)).square().mean().sqrt())

    def _follow(self, scale: Tensor) -> None:
        self._set_scale(torch.lerp(self.positive(self.raw_scale), scale, NEW_SHARE))

    def _set_scale(self, scale: Tensor) -> None:
        with torch.no_grad():
            self.raw_scale.copy_(self.positive.inverse(scale.clamp(min=2 * self.positive.minimum)))
