"""A prior, a posterior and a likelihood that pyrovae does not have."""

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from pyrovae import Likelihood, Posterior, Prior
from pyrovae.networks import NetworkFactory
from someones_package.networks import Skip


class LaplacePrior(Prior):
    """Take p(z) as Laplace, with a learned scale.

    Args:
        latent_dim: number of latents.
        scale: its scale at the start.
    """

    def __init__(self, latent_dim: int, scale: float = 1.0):
        super().__init__(latent_dim)
        self.log_scale = nn.Parameter(torch.full((latent_dim,), scale).log())

    def forward(self):
        return dist.Laplace(torch.zeros_like(self.log_scale), self.log_scale.exp()).to_event(1)


class LaplacePosterior(Posterior):
    """Amortise a Laplace distribution.

    Args:
        data_shape: shape of one datum.
        latent_dim: number of latents.
        network: encoder.
    """

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = Skip):
        super().__init__(data_shape, latent_dim)
        self.network = network(self.data_shape, 2 * self.latent_dim)

    def forward(self, x):
        loc, raw = self.network(x).chunk(2, -1)
        return dist.Laplace(loc, nn.functional.softplus(raw) + 1e-3).to_event(1)


class Beta(Likelihood):
    """Take grey values between 0 and 1 as beta distributed.

    Args:
        data_shape: shape of one datum.
        latent_dim: number of latents.
        network: decoder, to twice the rows of the first dimension.
    """

    support = constraints.unit_interval

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = Skip):
        super().__init__(data_shape, latent_dim)
        self.network = network(self.latent_dim, (2 * self.data_shape[0], *self.data_shape[1:]))

    def forward(self, z):
        shapes = nn.functional.softplus(self.network(z)) + 0.1
        first, second = shapes.chunk(2, -len(self.data_shape))
        return _InsideBeta(first, second).to_event(len(self.data_shape))


class _InsideBeta(dist.Beta):
    """A beta distribution that is not asked for its density at the very ends."""

    def log_prob(self, value):
        return super().log_prob(value.clamp(1e-3, 1 - 1e-3))
