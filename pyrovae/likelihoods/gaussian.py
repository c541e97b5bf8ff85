"""Gaussian likelihood."""

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

RUNNING_MOMENTUM = 0.1  # weight of a batch's scale in the running average


class Gaussian(LocationScale):
    r"""Gaussian noise around a mean: :math:`p(x|z) = \mathcal{N}(x; \mu(z), \mathrm{diag}\,\sigma^2)`.

    With a fixed scale this is the negative squared error :math:`-\|x - \mu(z)\|^2 / 2\sigma^2` and a constant.

    The ``optimal`` scale is that of the :math:`\sigma`-VAE (Rybkin et al., 2021, arXiv:2006.13202): in
    training, :math:`\sigma^2` is the mean squared error of the batch, the value that maximises the batch's
    likelihood; in evaluation, :math:`\sigma` is a running average over training batches, so that it does not depend on
    the evaluated data. The average is updated whenever a log-probability is computed in training mode with gradients.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of :math:`\sigma`: ``fixed``; one learned number ``shared`` by all pixels; one
            learned number for each ``pixel``; from the ``network``, for each pixel and code; or the ``optimal``
            number, computed from the squared error.
        initial_scale: initial scale (constant if fixed), in units of x.
        link: map that keeps it positive: ``softplus`` or ``exp``.
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
        """Return normal distributions; with ``scale="optimal"`` in training, at the optimal scale."""
        if self.scale == "optimal" and self.training:
            return OptimalNormal(loc, scale, self._update_scale, self.positive.minimum)
        return dist.Normal(loc, scale)

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the data's mean, and an optimal scale to their standard deviation."""
        super().initialize(x)
        if self.scale == "optimal":
            self._set_scale((x - x.mean(0)).square().mean().sqrt())

    def _update_scale(self, scale: Tensor) -> None:
        self._set_scale(torch.lerp(self.positive(self.raw_scale), scale, RUNNING_MOMENTUM))

    def _set_scale(self, scale: Tensor) -> None:
        with torch.no_grad():
            self.raw_scale.copy_(self.positive.inverse(scale.clamp(min=2 * self.positive.minimum)))
