"""The networks that the benchmarks compare: 784-400-20 (A), 784-200-200-50 (B), 64-64-2 (small), and convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from pyrovae import MLP, VAE, Bernoulli, ConvolutionalDecoder, ConvolutionalEncoder, DiagonalNormal, StandardNormal


@dataclass(frozen=True)
class Architecture:
    latent_dim: int
    hidden_features: tuple[int, ...]  # none: convolutions to 16 and 32 channels
    activation: type[nn.Module]

    def vae(self, data_shape: tuple[int, ...]) -> VAE:
        """Return the VAE of this architecture, for binary data."""
        network: Any = partial(MLP, activation=self.activation)
        encoder = partial(network, hidden_features=self.hidden_features)
        decoder = partial(network, hidden_features=self.hidden_features[::-1])
        if not self.hidden_features:
            encoder, decoder = ConvolutionalEncoder, ConvolutionalDecoder
        D = self.latent_dim
        return VAE(StandardNormal(D), Bernoulli(data_shape, D, decoder), DiagonalNormal(data_shape, D, encoder))


ARCHITECTURES = {
    "A": Architecture(20, (400,), nn.ReLU),
    "B": Architecture(50, (200, 200), nn.Tanh),
    "small": Architecture(2, (64,), nn.ReLU),
    "convolutional": Architecture(20, (), nn.ReLU),
}
