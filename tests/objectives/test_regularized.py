"""Free bits, beta-TCVAE and MMD: each is the ELBO where it should be, and departs from it as its formula says."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import (
    MLP,
    MMD,
    VAE,
    Bernoulli,
    BetaTCVAE,
    DiagonalNormal,
    FreeBits,
    HierarchicalVAE,
    InputError,
    StandardNormal,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from pyrovae.handlers import Temper
from pyrovae.objectives import estimate_elbo_terms
from pyrovae.objectives.regularized import _discrepancy
from pyrovae.programs import private_modules

SHAPE, D, B = (1, 4, 4), 3, 8
small = partial(MLP, hidden_features=(16,))


@pytest.fixture(autouse=True)
def _surroundings():
    with private_modules():
        yield


@pytest.fixture
def vae():
    return VAE(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small)).double()


@pytest.fixture
def x():
    return (torch.rand(B, *SHAPE) < 0.5).double()


def loss(objective, vae, x, beta=1.0):
    temper = Temper(torch.tensor(beta, dtype=torch.float64))
    torch.manual_seed(7)
    return objective.loss(temper(vae.model), temper(vae.guide), x)


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(
    ("objective", "same"),
    [
        (FreeBits(0.0), TraceMeanField_ELBO()),
        (BetaTCVAE(1.0, 1.0, 1.0), Trace_ELBO()),
        (MMD(mmd_weight=0.0, kl_weight=1.0), Trace_ELBO()),
    ],
)
def test_each_is_the_elbo_at_its_neutral_weights(vae, x, objective, same, beta):
    assert loss(objective, vae, x, beta) == pytest.approx(loss(same, vae, x, beta), rel=1e-9)


def kl_of_dimensions(vae, x):
    q = vae.posterior(x).base_dist
    return 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log())  # (B, D)


@pytest.mark.parametrize("free", [0.0, 0.2, 5.0])
def test_free_bits_charge_each_dimension_at_least_what_is_free(vae, x, free):
    torch.manual_seed(7)
    reconstruction = estimate_elbo_terms(vae.model, vae.guide, x)[0].item()
    charged = B * kl_of_dimensions(vae, x).mean(0).clamp_min(free).sum().item()
    assert loss(FreeBits(free), vae, x) == pytest.approx(charged - reconstruction, rel=1e-9)


def test_free_bits_do_not_pull_at_a_dimension_below_them(vae, x):
    grads = []
    for kl_counts in (False, True):
        vae.zero_grad()
        torch.manual_seed(7)
        if kl_counts:
            FreeBits(100.0).loss_and_grads(vae.model, vae.guide, x)
        else:
            q = vae.posterior(x)
            (-vae.likelihood(q.expand((B,)).rsample()).log_prob(x).sum()).backward()
        grads.append(torch.cat([p.grad.flatten() for p in vae.posterior.parameters()]))
    torch.testing.assert_close(*grads)


def test_free_bits_sample_the_kl_of_a_posterior_without_dimensions_of_its_own():
    pair = LinearGaussian(3, 5, guide="exact")
    x = pair.simulate(4000)
    zero = FreeBits(0.0).loss(pair.model, pair.guide, x) / 4000
    assert zero == pytest.approx(-pair.log_prob(x).mean().item(), rel=0.02)
    assert FreeBits(50.0).loss(pair.model, pair.guide, x) / 4000 > zero + 100  # 3 dimensions of 50 nats


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["bottom_up", "ladder"])
def test_free_bits_of_two_layers_are_their_elbo_where_nothing_is_free(x, inference):
    """Bottom-up, a closed form of KL(q(z1|x) || p(z1|z2)) would take z2 for independent of z1."""
    torch.manual_seed(0)
    parts = {"likelihood": partial(Bernoulli, network=small), "posterior": partial(DiagonalNormal, network=small)}
    program = HierarchicalVAE(SHAPE, 2, dims=(3,), inference=inference, **parts).double()
    found, many = {}, x.repeat(20, 1, 1, 1)
    for objective in (FreeBits(0.0), Trace_ELBO()):
        torch.manual_seed(1)
        losses = torch.tensor([objective.loss(program.model, program.guide, many) for _ in range(36)])
        found[type(objective)] = losses.mean().item() / 20, losses.std().item() / (20 * 6)
    (free, error), (elbo, other) = found.values()
    assert free == pytest.approx(elbo, abs=4 * (error + other))


def test_beta_tcvae_takes_the_aggregate_of_the_batch_apart(vae, x):
    torch.manual_seed(7)
    q = vae.posterior(x).base_dist
    z = torch.distributions.Normal(q.loc, q.scale).rsample()
    torch.manual_seed(7)
    reconstruction, kl = estimate_elbo_terms(vae.model, vae.guide, x).tolist()
    density = torch.zeros(B, B, D, dtype=torch.float64)
    for i in range(B):
        for j in range(B):
            density[i, j] = torch.distributions.Normal(q.loc[j], q.scale[j]).log_prob(z[i])
    aggregate = density.sum(-1).exp().mean(1).log()
    factors = density.exp().mean(1).log().sum(-1)
    correlation = (aggregate - factors).sum().item()
    found = loss(BetaTCVAE(1.0, 4.0, 1.0), vae, x)
    assert found == pytest.approx(kl - reconstruction + 3 * correlation, rel=1e-7)


def test_mmd_is_zero_between_equals_and_positive_between_others():
    torch.manual_seed(0)
    equal = torch.stack([_discrepancy(torch.randn(100, 2), torch.randn(100, 2)) for _ in range(200)])
    assert equal.mean().abs() < 4 * equal.std() / 200**0.5
    assert _discrepancy(torch.randn(100, 2) + 1, torch.randn(100, 2)) > 10 * equal.std()
    z = (torch.randn(200, 2) + 3).requires_grad_()
    _discrepancy(z, torch.randn(200, 2)).backward()
    assert (z.grad.mean(0) > 0).all()  # down the gradient, towards the prior


def test_they_want_one_site_of_vectors_and_say_so(x):
    def codes():
        return [pyro.sample(name, dist.Normal(torch.zeros(2), 1.0).to_event(1)) for name in "zw"]

    def guide(x):
        with pyro.plate("data", len(x)):
            codes()

    def model(x):
        with pyro.plate("data", len(x)):
            z, w = codes()
            pyro.sample("x", dist.Normal((z + w).sum(-1), 1.0), obs=x)

    for objective in (BetaTCVAE(), MMD()):
        with pytest.raises(InputError, match="needs a guide with one latent site, but it has 2"):
            objective.loss(model, guide, torch.zeros(3))
    exact = LinearGaussian(2, 3, guide="exact")
    with pytest.raises(InputError, match="independent over dimensions, such as DiagonalNormal, but Multivariate"):
        BetaTCVAE().loss(exact.model, exact.guide, exact.simulate(3))
