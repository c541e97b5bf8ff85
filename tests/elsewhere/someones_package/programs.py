"""Programs of someone else: sites of their own names, x flattened."""

from math import prod

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyrovae import Program


class Underived(nn.Module):
    """Explain x by a code of its own scale and a wider one below it.

    Args:
        data_shape: shape of one datum.
        latent_dim: latents of the upper code.
        width: features of the hidden layers.
    """

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, width: int = 32):
        super().__init__()
        pixels, lower = prod(data_shape), 2 * latent_dim
        self.latent_dim, self.lower = latent_dim, lower
        self.down = nn.Sequential(nn.Linear(latent_dim, width), nn.ReLU(), nn.Linear(width, 2 * lower))
        self.decoder = nn.Sequential(nn.Linear(lower, width), nn.ReLU(), nn.Linear(width, pixels))
        self.encoder = nn.Sequential(nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, 2 * lower))
        self.up = nn.Sequential(nn.Linear(lower, width), nn.ReLU(), nn.Linear(width, 2 * latent_dim))

    @staticmethod
    def normal(parameters):
        loc, log_scale = parameters.chunk(2, -1)
        return dist.Normal(loc, log_scale.clamp(-4, 4).exp()).to_event(1)

    def model(self, x):
        pyro.module("two_codes", self)
        with pyro.plate("images", len(x), dim=-1):
            zero = x.new_zeros(self.latent_dim)
            upper = pyro.sample("upper", dist.Normal(zero, 1.0).to_event(1))
            lower = pyro.sample("lower", self.normal(self.down(upper)))
            pyro.sample("pixels", dist.Bernoulli(logits=self.decoder(lower)).to_event(1), obs=x.flatten(1))

    def guide(self, x):
        pyro.module("two_codes", self)
        with pyro.plate("images", len(x), dim=-1):
            lower = pyro.sample("lower", self.normal(self.encoder(x.flatten(1))))
            pyro.sample("upper", self.normal(self.up(lower)))


class TwoCodes(Underived, Program):
    """Be the same program, as a choice of the command line."""


class Shares(Program):
    """Explain x by shares of its total, which the model takes from x.

    Args:
        data_shape: shape of one datum.
        latent_dim: number of latents.
    """

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim
        self.decoder = nn.Linear(latent_dim, prod(data_shape))
        self.encoder = nn.Linear(prod(data_shape), 2 * latent_dim)

    def model(self, x):
        pyro.module("shares", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            mean = x.flatten(1).sum(1, keepdim=True) * self.decoder(z).softmax(-1)
            pyro.sample("x", dist.Normal(mean, 0.3).to_event(1), obs=x.flatten(1))

    def guide(self, x):
        pyro.module("shares", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", TwoCodes.normal(self.encoder(x.flatten(1))))


class NoGuide(nn.Module):
    """Lack what a program needs.

    Args:
        data_shape: shape of one datum.
        latent_dim: number of latents.
    """

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int):
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(latent_dim))

    def model(self, x):
        """Do nothing."""
