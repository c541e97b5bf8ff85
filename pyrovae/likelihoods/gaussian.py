"""Gaussian noise around a mean image."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network, start_output

__all__ = ["Gaussian"]


class Gaussian(Likelihood):
    r"""Add Gaussian noise to a mean image: :math:`p(x|z) = \mathcal{N}(x; \mu(z), \mathrm{diag}\,\sigma^2)`.

    With a fixed scale this is squared error with its constants: maximising it is minimising
    :math:`\|x - \mu(z)\|^2 / 2\sigma^2`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension where
            the scale comes from the network).
        scale: where :math:`\sigma` comes from: ``fixed``; one learned number ``shared`` by all pixels; one
            learned number for each ``pixel``; or from the ``network``, for each pixel and code.
        initial_scale: its value at the start (always, if fixed), in units of x.
        link: how it is kept positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.

    Example:
        >>> Gaussian((64,), 2, scale="pixel")(torch.zeros(3, 2)).log_prob(torch.zeros(3, 64)).shape
        torch.Size([3])
    """

    raw_scale: Tensor

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        scale: Literal["fixed", "shared", "pixel", "network"] = "shared",
        initial_scale: float = 0.5,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-3,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.scale = checks.choice("scale", scale, ("fixed", "shared", "pixel", "network"))
        self.positive = Positive(link, checks.number("min_scale", min_scale))
        initial = torch.tensor(checks.number("initial_scale", initial_scale, self.positive.minimum, open_below=True))
        outputs = 2 if scale == "network" else 1
        self.network = make_network(network, self.latent_dim, (outputs * self.data_shape[0], *self.data_shape[1:]))
        offset = self.positive.inverse(initial).expand(self.data_shape if scale == "pixel" else ()).clone()
        if scale in ("shared", "pixel"):
            self.raw_scale = nn.Parameter(offset)
        else:
            self.register_buffer("raw_scale", offset)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        loc, raw_scale = self.network(z), self.raw_scale
        if self.scale == "network":
            loc, deviation = loc.chunk(2, -len(self.data_shape))  # (*, *data_shape) each
            raw_scale = raw_scale + deviation
        return dist.Normal(loc, self.positive(raw_scale)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Start at the data's mean."""
        mean = x.mean(0)
        start_output(self.network, torch.cat((mean, torch.zeros_like(mean))) if self.scale == "network" else mean)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, scale={self.scale!r}"
