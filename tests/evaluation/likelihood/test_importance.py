"""Importance weights against the exact marginal likelihood of linear-Gaussian models."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import TwoLayers
from linear_gaussian import LinearGaussian
from torch import nn

from pyrovae import VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal, log_marginal, log_weights
from pyrovae.evaluation.likelihood.importance import sample_in_chunks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.execution import evaluating
from pyrovae.execution.batched import BatchedPrograms


@pytest.mark.parametrize("latent_dim", [1, 2, 10])
def test_exact_posterior_gives_log_p_with_every_weight(latent_dim):
    oracle = LinearGaussian(latent_dim, 12)
    x = oracle.simulate(5)
    lw = log_weights(oracle.model, oracle.guide, x, num_samples=50)
    assert lw.shape == (50, 5)
    torch.testing.assert_close(lw, oracle.log_prob(x).expand(50, 5), rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "oracle",
    [
        lambda: LinearGaussian(2, 2, guide="mean-field", coupling=1.0, seed=0),
        lambda: LinearGaussian(10, 12, guide="mean-field", coupling=0.3),
    ],
    ids=["2 latents", "10 latents"],
)
def test_mean_field_bound_grows_with_K_towards_the_exact_value(oracle):
    oracle = oracle()
    x = oracle.simulate(2000)
    shortfalls = []
    for K in (1, 4, 16):
        shortfall = oracle.log_prob(x) - log_marginal(oracle.model, oracle.guide, x, num_samples=K).log_prob
        shortfalls.append(shortfall.mean().item())
        assert shortfalls[-1] > -4 * shortfall.std().item() / len(x) ** 0.5
    assert shortfalls[0] > shortfalls[1] > shortfalls[2]
    assert shortfalls[0] > 0.1  # or the guide is exact, and nothing is tested

    x = x[:40]
    ml = log_marginal(oracle.model, oracle.guide, x, num_samples=5000)
    shortfall = (oracle.log_prob(x) - ml.log_prob).mean().item()
    assert -4 * ml.monte_carlo_error < shortfall < 0.02


@pytest.mark.slow
def test_monte_carlo_error_is_the_spread_over_repetitions():
    oracle = LinearGaussian(2, 6, guide="mean-field")
    x = oracle.simulate(1).expand(400, -1)  # one datum, 400 independent estimates
    ml = log_marginal(oracle.model, oracle.guide, x, num_samples=200)
    assert ml.standard_error.mean().item() == pytest.approx(ml.log_prob.std().item(), rel=0.15)
    inside = (ml.log_prob - oracle.log_prob(x)).abs() < 1.96 * ml.standard_error
    assert 0.90 <= inside.double().mean().item() <= 0.99


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("K", [1, 5, 23])
def test_exactly_K_samples_whatever_the_chunks(chunk_size, K):
    oracle = LinearGaussian(2, 4, guide="mean-field")
    lw = log_weights(oracle.model, oracle.guide, oracle.simulate(3), num_samples=K, chunk_size=chunk_size)
    assert lw.shape == (K, 3)
    assert lw.unique().numel() == 3 * K  # all drawn anew, none repeated or left empty


def test_one_latent_site_is_encoded_once():
    oracle = LinearGaussian(2, 4)
    calls = []

    def guide(x):
        calls.append(len(x))
        return oracle.guide(x)

    log_weights(oracle.model, guide, oracle.simulate(3), num_samples=1000, chunk_size=30)
    assert len(calls) <= 3  # once for all hundred chunks, and twice to see that the programs broadcast


def test_two_latent_sites_where_one_depends_on_the_other():
    program = TwoLayers()
    x = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    lw = log_weights(program.model, program.guide, x, num_samples=20)
    exact = dist.Normal(torch.zeros((), dtype=torch.float64), math.sqrt(3)).log_prob(x[:, 0])
    torch.testing.assert_close(lw, exact.expand(20, 2), rtol=0, atol=1e-9)


def test_a_program_that_does_not_broadcast_sees_its_data_repeated():
    oracle = LinearGaussian(2, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            assert z.dim() == 2, "this decoder takes one batch dimension only"
            mean = torch.einsum("bd,nd->bn", z.view(len(x), 2), oracle.W) + oracle.b
            pyro.sample("x", dist.Normal(mean, oracle.scale).to_event(1), obs=x)

    x = oracle.simulate(3)
    lw = log_weights(model, oracle.guide, x, num_samples=11, chunk_size=6)
    torch.testing.assert_close(lw, oracle.log_prob(x).expand(11, 3), rtol=0, atol=1e-9)


def test_a_program_that_broadcasts_wrongly_is_not_believed():
    """A decoder that mixes the leading dimension runs under a plate of samples, but gives other numbers."""
    oracle = LinearGaussian(2, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            mixed = z if z.dim() == 2 else z.flip(0)
            pyro.sample("x", dist.Normal(mixed @ oracle.W.T + oracle.b, oracle.scale).to_event(1), obs=x)

    x = oracle.simulate(3)
    lw = log_weights(model, oracle.guide, x, num_samples=10)
    torch.testing.assert_close(lw, oracle.log_prob(x).expand(10, 3), rtol=0, atol=1e-9)


def test_a_tempered_model_is_weighed_as_the_model_it_is():
    oracle = LinearGaussian(2, 4)
    x = oracle.simulate(2)
    lw = log_weights(pyro.poutine.scale(oracle.model, 0.1), pyro.poutine.scale(oracle.guide, 0.1), x, num_samples=5)
    torch.testing.assert_close(lw, oracle.log_prob(x).expand(5, 2), rtol=0, atol=1e-9)


def test_masked_data_have_no_weight():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    mask = torch.tensor([True, False, True])
    x = oracle.simulate(3)
    lw = log_weights(pyro.poutine.mask(oracle.model, mask), pyro.poutine.mask(oracle.guide, mask), x, num_samples=9)
    assert (lw[:, 1] == 0).all()
    assert (lw[:, 0] != 0).all()


def test_dropout_is_off_in_bare_functions_too():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))
    vae.likelihood.network.layers.append(nn.Dropout(0.5))
    z = torch.zeros(2, 2)

    def model(x):
        pyro.module("vae", vae)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            assert not vae.training
            pyro.sample("x", vae.likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(z, 1e-9).to_event(1))

    proposal = Proposal(BatchedPrograms(model, guide, (torch.ones(2, 6),)), 5)
    with evaluating(model, guide):
        (chunk,) = sample_in_chunks(proposal, 2000)
    torch.testing.assert_close(chunk.log_likelihood, chunk.log_likelihood[:1].expand(5, 2))
    assert vae.training


def test_a_guide_without_a_density_is_refused():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(torch.zeros(2), event_dim=1))

    with pytest.raises(InputError, match="its site 'z' is a point"):
        log_weights(vae.model, guide, torch.ones(2, 6), num_samples=5)


def test_evaluation_leaves_dropout_off_and_modes_as_they_were():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))
    vae.posterior.network.layers.append(nn.Dropout(0.5))
    vae.train()
    vae.likelihood.eval()
    log_weights(vae.model, vae.guide, torch.ones(2, 6), num_samples=3)
    assert vae.training
    assert not vae.likelihood.training
    assert vae.posterior.network.layers[-1].training


def normal(name, **options):
    return pyro.sample(name, dist.Normal(0.0, 1.0), **options)


def outside(x):
    normal("z")
    with pyro.plate("data", len(x)):
        normal("x", obs=x[:, 0])


def inside(x):
    with pyro.plate("data", len(x)):
        normal("z")


def observing(x):
    with pyro.plate("data", len(x)):
        normal("z")
        normal("x", obs=x[:, 0])


def in_two_plates(x):
    with pyro.plate("data", len(x), dim=-1), pyro.plate("pixels", 3, dim=-2):
        normal("z")


def empty(x):
    return None


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (outside, inside, "site 'z' must lie in pyro.plate"),
        (observing, outside, "site 'z' must lie in pyro.plate"),
        (observing, empty, "does not sample 'z'|at least one latent site"),
        (inside, inside, "model must observe x"),
        (observing, in_two_plates, "plate 'pixels'"),
    ],
)
def test_programs_of_another_form_are_refused(model, guide, message):
    with pytest.raises(InputError, match=message):
        log_weights(model, guide, torch.zeros(4, 2), num_samples=2)


@pytest.mark.parametrize(("K", "chunk_size", "x"), [(0, 10, 2), (-1, 10, 2), (2.0, 10, 2), (5, 0, 2), (5, 10, 0)])
def test_bad_arguments_are_refused(K, chunk_size, x):
    oracle = LinearGaussian(2, 4)
    with pytest.raises(InputError):
        list(log_weights(oracle.model, oracle.guide, torch.zeros(x, 4, dtype=torch.float64), K, chunk_size=chunk_size))
