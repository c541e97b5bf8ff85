"""Programs of one or two latent sites whose log p(x) has a closed form, and guides of many families for them."""

import math

import pyro
import pyro.distributions as dist
import torch
from linear_gaussian import LinearGaussian
from torch import nn

from pyrovae.distributions import LowRankMultivariateNormal


class TwoLayers(nn.Module):
    """z1 ~ N(0, 1), z2 ~ N(z1, 1), x ~ N(z2, 1): x ~ N(0, 3), and the posterior is known."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(z1, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z2, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(2 * x / 3, (2 / 3) ** 0.5).to_event(1))
            pyro.sample("z1", dist.Normal(z2 / 2, 0.5**0.5).to_event(1))


def no_broadcasting(oracle):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            mean = torch.einsum("bd,nd->bn", z.view(len(x), 2), oracle.W) + oracle.b
            pyro.sample("x", dist.Normal(mean, oracle.scale).to_event(1), obs=x)

    return model


class GammaPoisson:
    """z ~ Gamma(3, 2), x ~ Poisson(z): x is negative binomial."""

    def __init__(self, guide):
        self.of_x = guide

    def model(self, x):
        with pyro.plate("data", len(x)):
            rate = torch.tensor(2.0, dtype=x.dtype)
            z = pyro.sample("z", dist.Gamma(3 * torch.ones_like(rate), rate))
            pyro.sample("x", dist.Poisson(z), obs=x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.of_x(x[:, 0]))

    def log_prob(self, x):
        return dist.NegativeBinomial(torch.tensor(3.0).double(), probs=torch.tensor(1 / 3).double()).log_prob(x[:, 0])

    def simulate(self, count):
        z = dist.Gamma(torch.tensor(3.0).double(), 2.0).sample((count, 1))
        return torch.poisson(z)


class Chained:
    """z1 ~ N(0, I), z2 ~ N(z1, I), x ~ N(z2, I) in the plane; the guide's covariance of z2 depends on z1."""

    def __init__(self, kind):
        self.kind = kind

    def model(self, x):
        with pyro.plate("data", len(x)):
            zero = torch.zeros(2, dtype=x.dtype)
            z1 = pyro.sample("z1", dist.Normal(zero, 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(z1, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z2, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x / 3, 0.9).to_event(1))
            W = 0.4 * z1.tanh().unsqueeze(-1)  # (*, 2, 1)
            scale = 0.7 * torch.ones_like(z1)
            if self.kind == "low rank":
                fn = LowRankMultivariateNormal((x + z1) / 2, W, scale)
            else:
                fn = dist.MultivariateNormal((x + z1) / 2, W @ W.mT + scale.square().diag_embed())
            pyro.sample("z2", fn)

    def log_prob(self, x):
        return dist.Normal(torch.zeros(2).double(), math.sqrt(3)).to_event(1).log_prob(x)

    def simulate(self, count):
        return math.sqrt(3) * torch.randn(count, 2).double()


class InAnInterval:
    """z ~ U(c - 1, c + 2) with c = x / 2, x ~ N(z, 1/4); the guide is another distribution on the same interval."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(x[:, 0] / 2 - 1, x[:, 0] / 2 + 2))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.AffineBeta(torch.tensor(1.5).double(), 2.0, x[:, 0] / 2 - 1, torch.tensor(3.0)))

    def log_prob(self, x):
        x = x[:, 0]
        normal = dist.Normal(torch.zeros(1).double(), 1.0)
        return (normal.cdf((2 - x / 2) / 0.5) - normal.cdf((-1 - x / 2) / 0.5)).log() - math.log(3)

    def simulate(self, count):
        return torch.linspace(-0.9, 0.9, count).double().unsqueeze(-1)


class Halved(GammaPoisson):
    """z is half-normal, many noises to one value, and x ~ N(z, 1)."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.HalfNormal(torch.ones(1).double()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def log_prob(self, x):
        x = x[:, 0]
        scaled = dist.Normal(torch.zeros(1).double(), math.sqrt(2))
        return scaled.log_prob(x) + (2 * dist.Normal(torch.zeros(1).double(), 1.0).cdf(x / math.sqrt(2))).log()

    def simulate(self, count):
        return torch.linspace(-1, 2, count).double().unsqueeze(-1)


PROGRAMS = {
    "low rank, of another site": lambda: Chained("low rank"),
    "full covariance, of another site": lambda: Chained("full"),
    "support that depends on x": InAnInterval,
    "folded": lambda: Halved(lambda x: dist.HalfNormal(0.8 + 0.2 * x.abs())),
    "mean field": lambda: LinearGaussian(2, 4, guide="mean-field"),
    "full covariance": lambda: LinearGaussian(2, 4),
    "two layers": TwoLayers,
    "gamma": lambda: GammaPoisson(lambda x: dist.Gamma(x + 2.5, 2.5)),
    "log-normal": lambda: GammaPoisson(lambda x: dist.LogNormal(((x + 3) / 3).log(), 0.6)),
}


def batch_of(program):
    return torch.tensor([[0.3], [-2.0]]).double() if isinstance(program, TwoLayers) else program.simulate(3)


def exact(program, x):
    if isinstance(program, TwoLayers):
        return dist.Normal(torch.zeros((), dtype=torch.float64), math.sqrt(3)).log_prob(x[:, 0])
    return program.log_prob(x)
