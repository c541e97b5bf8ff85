"""Mixture of discretised logistic distributions, with channels that depend on each other."""

from __future__ import annotations

from typing import Literal

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import Levels, QuantizedLogisticMixture
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, Positive, init_output_bias, make_network

__all__ = ["DiscretizedLogisticMixture"]


class DiscretizedLogisticMixture(Likelihood):
    r"""A mixture of K discretised logistic distributions at each pixel, whose channels depend on each other.

    With :math:`x_{cp}` the channel c of the pixel p, all channels of a pixel come from one component, and the location
    of each channel depends linearly on the channels before it, as in PixelCNN++ (Salimans et al., 2017,
    arXiv:1701.05517): :math:`P(x|z) = \prod_p \sum_k \pi_{kp} \prod_c P(x_{cp} \mid \mu_{kcp} + \sum_{j<c} a_{kcjp}
    (x_{jp} - \tfrac12), s_{kcp})`, with all of :math:`\pi, \mu, s, a` from the network. Data that are not ``(C, H, W)``
    have no channels: each component of x has its own mixture. The mean is exact for the first channel. For later
    channels it is computed at the means of the channels before, which is exact except for the truncation at 0 and 1.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to all parameters: for images ``(C, H, W)`` with more than one channel
            K (1 + 2 C + C (C - 1) / 2) channels, else 3 K times as many rows of the first dimension as the data.
        num_components: number K of components.
        initial_scale: initial scale of each component, in units of x, which goes from 0 to 1.
        link: map that keeps scales positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.
        levels: number L of levels; x is one of 0, 1 / (L - 1), ..., 1. By default, ``train`` takes the number of the
            data; elsewhere the default is 256.

    Example:
        >>> DiscretizedLogisticMixture((3, 8, 8), 2)(torch.zeros(5, 2)).log_prob(torch.ones(5, 3, 8, 8)).shape
        torch.Size([5])
    """

    discrete = True
    levels: int

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        num_components: int = 5,
        initial_scale: float = 0.05,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-4,
        levels: int | None = None,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.levels = 256 if levels is None else checks.integer("levels", levels, minimum=2)
        self.support = Levels(self.levels)
        self.positive = Positive(link, checks.number("min_scale", min_scale))
        initial = torch.tensor(checks.number("initial_scale", initial_scale, self.positive.minimum, open_below=True))
        self.offset = self.positive.inverse(initial).item()
        K = self.num_components = checks.integer("num_components", num_components)
        C = self.channels = self.data_shape[0] if len(self.data_shape) == 3 else 1
        self.sizes = K, K * C, K * C, K * C * (C - 1) // 2  # of the logits, locations, scales and slopes of a pixel
        outputs = sum(self.sizes) * self.data_shape[0] // C, *self.data_shape[1:]
        self.network = make_network(network, self.latent_dim, outputs)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        outputs = self.network(z).flatten(-len(self.data_shape)).unflatten(-1, (sum(self.sizes), -1))  # (*, S, P)
        logits, *others = outputs.split(self.sizes, -2)  # (*, K, P) and more
        loc, raw_scale, slopes = (
            part.unflatten(-2, (self.num_components, size // self.num_components))
            for part, size in zip(others, self.sizes[1:], strict=True)
        )  # (*, K, C, P) twice, (*, K, C (C - 1) / 2, P)
        scale = self.positive(raw_scale + self.offset)
        return QuantizedLogisticMixture(logits, loc, scale, slopes, self.data_shape, self.levels)

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to quantiles of each pixel as locations, equal weights, and zero slopes."""
        some = x[:: -(-len(x) // 1000)].sort(0).values  # (n, *data_shape): some 1000 data suffice
        index = (torch.arange(self.num_components, device=x.device) + 0.5) / self.num_components * len(some)
        loc = some[index.long()].reshape(self.num_components * self.channels, -1)  # (K C, P)
        value = torch.zeros(sum(self.sizes), loc.shape[1], dtype=x.dtype, device=x.device)
        value[self.num_components :][: len(loc)] = loc
        init_output_bias(self.network, value.reshape(-1, *self.data_shape[1:]))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, num_components={self.num_components}, levels={self.levels}"
