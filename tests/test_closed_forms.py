"""Marginal likelihoods with closed forms, of latents on every support: no estimate is above them, none far below."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import AffineTransform

from pyrovae import Annealing, diagnose, log_marginal, sandwich
from pyrovae.distributions import UniformSphere, VonMisesFisher
from pyrovae.evaluation import refine

TINY = (1.0, 0.3, 0.01)


class Conjugate:
    """A prior of one latent site, a likelihood, and the exact posterior, blurred by ``off``."""

    def __init__(self, a, off=1.0):
        self.a = torch.tensor(a)
        self.off = off

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z), obs=x if self.whole else x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x if self.whole else x[:, 0]))

    whole = False


class DirichletMultinomial(Conjugate):
    whole = True
    like = torch.zeros(1, 4)
    x = torch.tensor([[5.0, 0, 0, 0], [2, 3, 0, 0], [1, 1, 1, 2]])

    def prior(self, x):
        return dist.Dirichlet(self.a.expand(4))

    def likelihood(self, z):
        return dist.Multinomial(5, z)

    def posterior(self, x):
        return dist.Dirichlet(self.off * (self.a + x))

    def log_prob(self, x):
        return dist.DirichletMultinomial(self.a.double().expand(4), 5).log_prob(x.double())


class BetaBinomial(Conjugate):
    like = torch.zeros(1, 1)
    x = torch.tensor([[0.0], [3], [6]])

    def prior(self, x):
        return dist.Beta(self.a, 2 * self.a)

    def likelihood(self, z):
        return dist.Binomial(6, z)

    def posterior(self, x):
        return dist.Beta(self.off * (self.a + x), self.off * (2 * self.a + 6 - x))

    def log_prob(self, x):
        return dist.BetaBinomial(self.a.double(), 2 * self.a.double(), 6).log_prob(x[:, 0].double())


class Stretched(BetaBinomial):
    """The same on [-1, 2]."""

    def prior(self, x):
        return dist.AffineBeta(self.a, 2 * self.a, torch.tensor(-1.0), torch.tensor(3.0))

    def likelihood(self, z):
        return dist.Binomial(6, (z + 1) / 3)

    def posterior(self, x):
        a, b = self.off * (self.a + x), self.off * (2 * self.a + 6 - x)
        return dist.AffineBeta(a, b, torch.tensor(-1.0), torch.tensor(3.0))


class GammaPoisson(Conjugate):
    like = torch.zeros(1, 1)
    x = torch.tensor([[0.0], [1], [7]])

    def prior(self, x):
        return dist.Gamma(self.a, torch.tensor(0.5))

    def likelihood(self, z):
        return dist.Poisson(z)

    def posterior(self, x):
        return dist.Gamma(self.off * (self.a + x), self.off * torch.tensor(1.5))

    def log_prob(self, x):
        return dist.GammaPoisson(self.a.double(), torch.tensor(0.5).double()).log_prob(x[:, 0].double())


class Shifted(GammaPoisson):
    """The same above 2."""

    def prior(self, x):
        return dist.TransformedDistribution(super().prior(x), [AffineTransform(2.0, 1.0)])

    def likelihood(self, z):
        return dist.Poisson((z - 2).clamp(min=1e-38))

    def posterior(self, x):
        return dist.TransformedDistribution(super().posterior(x), [AffineTransform(2.0, 1.0)])


class InverseGammaExponential(Conjugate):
    """z ~ InverseGamma(a, 1), x ~ Exponential(1 / z): x is Lomax."""

    like = torch.ones(1, 1)
    x = torch.tensor([[0.01], [1.0], [30.0]])

    def prior(self, x):
        return dist.InverseGamma(self.a, torch.tensor(1.0))

    def likelihood(self, z):
        return dist.Exponential(1 / z)

    def posterior(self, x):
        return dist.InverseGamma(self.off * (self.a + 1), self.off * (1 + x))

    def log_prob(self, x):
        a = self.a.double()
        return a.log() - (a + 1) * x[:, 0].double().log1p()


class OnTheSphere(Conjugate):
    """z uniform on the sphere, x a von Mises-Fisher direction around it: x is uniform."""

    whole = True
    like = torch.tensor([[1.0, 0, 0]])
    x = nn.functional.normalize(torch.tensor([[1.0, 2, 3], [-1, 0, 1]]), dim=-1)

    def prior(self, x):
        return UniformSphere(3)

    def likelihood(self, z):
        return VonMisesFisher(z, 3 / self.a)

    def posterior(self, x):
        return VonMisesFisher(x, self.off * 3 / self.a * torch.ones(len(x)))

    def log_prob(self, x):
        return torch.full((len(x),), -math.log(4 * math.pi), dtype=torch.float64)


PROGRAMS = [DirichletMultinomial, BetaBinomial, Stretched, GammaPoisson, Shifted, InverseGammaExponential]
