"""Probabilities of grey levels, for bits/dim without dequantisation."""

from __future__ import annotations

from typing import Literal

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import Levels, QuantizedCategorical, QuantizedLogistic
from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.location_scale import LocationScale
from pyrovae.networks import MLP, NetworkFactory, init_output_bias, make_network

__all__ = ["Categorical", "DiscretizedLogistic"]


class DiscretizedLogistic(LocationScale):
    r"""Logistic noise around a mean, rounded to the nearest level.

    :math:`P(x_i|z) = \mathrm{sigm}\frac{x_i + h - \mu_i(z)}{s} - \mathrm{sigm}\frac{x_i - h - \mu_i(z)}{s}` with
    h half a step; the first and the last level include everything beyond. These probabilities sum to 1 over the
    levels, so that bits/dim is exact (Kingma et al., 2016, arXiv:1606.04934; Salimans et al., 2017, arXiv:1701.05517).
    Its mean is the exact mean of the levels.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of s: ``fixed``; one learned number ``shared`` by all pixels; one learned number
            for each ``pixel``; or from the ``network``, for each pixel and code.
        initial_scale: initial scale (constant if fixed), in units of x, which goes from 0 to 1.
        link: map that keeps it positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.
        levels: number L of levels; x is one of 0, 1 / (L - 1), ..., 1. By default, ``train`` takes the number of the
            data; elsewhere the default is 256.

    Example:
        >>> DiscretizedLogistic((3, 8, 8), 2)(torch.zeros(5, 2)).log_prob(torch.ones(5, 3, 8, 8)).shape
        torch.Size([5])
    """

    discrete = True
    levels: int
    at_lower_bound = None  # a probability of 1 is no fault

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        scale: Literal["fixed", "shared", "pixel", "network"] = "shared",
        initial_scale: float = 0.1,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
        levels: int | None = None,
    ) -> None:
        super().__init__(data_shape, latent_dim, network, scale, initial_scale, link, min_scale)
        self.levels = 256 if levels is None else checks.integer("levels", levels, minimum=2)
        self.support = Levels(self.levels)

    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return quantised logistic distributions."""
        return QuantizedLogistic(loc, scale, self.levels)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, levels={self.levels}"


class Categorical(Likelihood):
    r"""A probability for each level of each pixel: :math:`P(x_i = v/(L-1)|z) = \mathrm{softmax}_v\,l_{iv}(z)`.

    It does not use the order of the levels, and can represent any distribution over them
    (van den Oord et al., 2016, arXiv:1601.06759).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logits: L times as many rows of the first dimension as the data.
        levels: number L of levels; x is one of 0, 1 / (L - 1), ..., 1. By default, ``train`` takes the number of the
            data; elsewhere the default is 256.

    Example:
        >>> Categorical((1, 8, 8), 2, levels=17)(torch.zeros(5, 2)).log_prob(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    discrete = True
    levels: int

    def __init__(
        self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP, levels: int | None = None
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.levels = 256 if levels is None else checks.integer("levels", levels, minimum=2)
        self.support = Levels(self.levels)
        outputs = self.levels * self.data_shape[0], *self.data_shape[1:]
        self.network = make_network(network, self.latent_dim, outputs)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        dims = len(self.data_shape)
        logits = self.network(z).unflatten(-dims, (self.levels, self.data_shape[0]))  # (*, L, *data_shape)
        return QuantizedCategorical(logits.movedim(-dims - 1, -1)).to_event(dims)

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the logarithm of each pixel's histogram."""
        # With one more datum that has all levels equally, so that levels that never occur get a finite logit.
        count = x.new_full((self.levels, *self.data_shape), 1 / self.levels)
        for batch in x.split(1000):
            index = (batch * (self.levels - 1)).round().long()
            count.scatter_add_(0, index, torch.ones_like(batch, dtype=count.dtype))
        init_output_bias(self.network, (count / (len(x) + 1)).log().flatten(0, 1))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, levels={self.levels}"
