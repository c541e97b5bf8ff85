"""Base class of likelihoods with a location and a scale."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, Positive, init_output_bias, make_network

__all__ = ["LocationScale"]


class LocationScale(Likelihood):
    r"""Base class of likelihoods with a location and a scale; a subclass defines ``noise(loc, scale)``.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of the scale: ``fixed``; one learned number ``shared`` by all components of x; one
            learned number for each, ``pixel``; or from the ``network``, for each component and code.
        initial_scale: initial scale (constant if fixed), in units of x.
        link: map that keeps it positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.
    """

    raw_scale: Tensor
    at_lower_bound: str | None = (
        "its density has no bound but this one (min_scale), as where features are constant or repeat values exactly; "
        "leave such features out, dequantise them, or share one scale (scale shared)"
    )

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

    @abstractmethod
    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return the distribution of each component of x, of batch shape ``(*, *data_shape)``.

        Args:
            loc: ``(*, *data_shape)``.
            scale: broadcasts to the shape of ``loc``.
        """

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        loc, raw_scale = self.network(z), self.raw_scale
        if self.scale == "network":
            loc, deviation = loc.chunk(2, -len(self.data_shape))  # (*, *data_shape) each
            raw_scale = raw_scale + deviation
        return self.noise(loc, self.positive(raw_scale)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the data's mean."""
        mean = x.mean(0)
        init_output_bias(self.network, torch.cat((mean, torch.zeros_like(mean))) if self.scale == "network" else mean)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, scale={self.scale!r}"
