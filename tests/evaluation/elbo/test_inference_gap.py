"""The guide refined for each datum, against the best one of its family, which is known of linear-Gaussian models."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import TwoLayers
from linear_gaussian import LinearGaussian

from pyrovae import VAE, Annealed, Bernoulli, DiagonalNormal, InputError, StandardNormal, diagnose
from pyrovae.evaluation import refine


def best_mean_field(oracle, x):
    """The ELBO of the best normal with independent components, (N,)."""
    precision = torch.linalg.inv(oracle.covariance)
    return oracle.log_prob(x) - 0.5 * (precision.diagonal().log().sum() - precision.logdet())


@pytest.mark.slow
@pytest.mark.parametrize("bad", [{"shift": 1.0}, {"widening": 0.5}, {"shift": -1.0, "widening": 2.0}])
@pytest.mark.parametrize("D", [2, 10])
def test_a_bad_mean_field_guide_is_refined_to_the_best_one(D, bad):
    oracle = LinearGaussian(D, 12, guide="mean-field", **bad)
    x = oracle.simulate(60)
    found = refine(oracle.model, oracle.guide, x, num_samples=1000)
    assert (oracle.log_prob(x) - found.elbo).mean() > 0.2  # or there is nothing to refine
    short = (best_mean_field(oracle, x) - found.refined_elbo).mean().item()
    error = found.refined_elbo_error.square().sum().sqrt().item() / len(x)
    assert -4 * error < short < 0.02
    gap = (found.refined_elbo - found.elbo).double()
    torch.testing.assert_close(found.amortization_gap, gap)
    assert (found.amortization_gap > -4 * found.amortization_gap_error).all()


@pytest.mark.slow
@pytest.mark.parametrize("D", [2, 10])
def test_with_full_covariance_it_is_refined_to_the_posterior(D):
    oracle = LinearGaussian(D, 12, guide="mean-field", shift=1.0)
    x = oracle.simulate(20)
    found = refine(oracle.model, oracle.guide, x, full_covariance=True)
    torch.testing.assert_close(found.refined_elbo, oracle.log_prob(x), rtol=0, atol=2e-3)


@pytest.mark.parametrize("full_covariance", [False, True])
def test_the_exact_guide_has_no_gap(full_covariance):
    oracle = LinearGaussian(4, 6)
    x = oracle.simulate(20)
    found = refine(oracle.model, oracle.guide, x, num_steps=20, full_covariance=full_covariance)
    torch.testing.assert_close(found.refined_elbo, oracle.log_prob(x), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.amortization_gap, torch.zeros_like(found.elbo), rtol=0, atol=1e-4)


def test_what_does_not_help_is_undone():
    """Where the guide is the best of its family, and refinement too short to be of use, many data keep it."""
    oracle = LinearGaussian(10, 12, guide="mean-field")
    x = oracle.simulate(200)
    found = refine(oracle.model, oracle.guide, x, num_steps=2)
    kept = found.amortization_gap == 0
    assert kept.double().mean() > 0.5
    assert (found.amortization_gap_error[kept] == 0).all()
    assert found.amortization_gap.mean() > -0.1


@pytest.mark.slow
def test_the_reported_elbos_are_those_of_other_samples():
    """They are bounds in expectation, and their errors are honest."""
    oracle = LinearGaussian(2, 6, guide="mean-field", coupling=1.0)
    x = oracle.simulate(400)
    found = refine(oracle.model, oracle.guide, x, num_steps=60, num_samples=20)
    away = (found.refined_elbo - best_mean_field(oracle, x)) / found.refined_elbo_error
    assert away.mean().item() == pytest.approx(0.0, abs=0.2)
    assert away.std().item() == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
def test_two_sites_are_refined_together():
    program = TwoLayers()
    x = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)

    def guide(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(2 * x / 3 + 1, 2 * (2 / 3) ** 0.5).to_event(1))
            pyro.sample("z1", dist.Normal(z2 / 2 - 1, 0.5**0.5).to_event(1))

    found = refine(program.model, guide, x)
    exact = dist.Normal(torch.zeros((), dtype=torch.float64), math.sqrt(3)).log_prob(x[:, 0])
    assert (exact - found.elbo > 1.0).all()
    torch.testing.assert_close(found.refined_elbo, exact, rtol=0, atol=1e-3)


def gamma_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Gamma(torch.full((1,), 3.0), 2.0).to_event(1))
        pyro.sample("x", dist.Poisson(z).to_event(1), obs=x)


@pytest.mark.slow
def test_a_guide_that_is_not_made_of_noise_is_refined_on_all_reals():
    """Of a positive latent, the coordinates are its whitened logarithm."""
    x = torch.tensor([[0.0], [3.0], [9.0]])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(3 + x, torch.full_like(x, 1.0)).to_event(1))  # the exact rate is 3

    found = refine(gamma_model, guide, x, num_samples=2000)
    exact = dist.NegativeBinomial(3.0, probs=torch.tensor(1 / 3)).log_prob(x[:, 0]).double()
    assert (exact - found.elbo > 0.5).all()
    # Dividing z by 3, which is a shift of its logarithm, is all that there is to do.
    assert ((found.refined_elbo - exact).abs() < 0.03).all()


@pytest.mark.slow
def test_batches_may_come_one_by_one():
    oracle = LinearGaussian(2, 4, guide="mean-field", shift=1.0)
    x = oracle.simulate(7)
    found = refine(oracle.model, oracle.guide, iter(x.split(3)), num_steps=50)
    assert found.refined_elbo.shape == (7,)
    assert (found.amortization_gap > 0).all()


@pytest.mark.slow
def test_a_tempered_model_is_refined_as_the_model_it_is():
    oracle = LinearGaussian(2, 4, guide="mean-field", shift=1.0)
    x = oracle.simulate(5)
    scaled = refine(pyro.poutine.scale(oracle.model, 0.1), pyro.poutine.scale(oracle.guide, 0.1), x, num_samples=1000)
    torch.testing.assert_close(scaled.refined_elbo, best_mean_field(oracle, x), rtol=0, atol=0.02)


def test_nothing_is_left_behind_in_the_programs():
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    refine(vae.model, vae.guide, torch.eye(4), num_steps=3)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.grad is None for parameter in vae.parameters())
    assert vae.training


def discrete(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(y, 1.0), obs=x[:, 0])


def guess(x):
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(0.5))


def test_discrete_latents_are_refused():
    with pytest.raises(InputError, match="discrete"):
        refine(discrete, guess, torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("options", "N"),
    [({"num_steps": 0}, 2), ({"num_samples": 1}, 2), ({"chunk_size": 0}, 2), ({}, 0)],
)
def test_bad_input_is_refused(options, N):
    oracle = LinearGaussian(2, 4)
    with pytest.raises(InputError, match="must"):
        refine(oracle.model, oracle.guide, oracle.simulate(N), **options)


@pytest.mark.slow
def test_an_angle_is_not_refined():
    """A density on all reals of what repeats itself has no integral, and the bound would be none."""

    def program(observed):
        def run(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.VonMises(torch.zeros(1).double(), 1.0))
                if observed:
                    pyro.sample("x", dist.Normal(torch.stack((z.cos(), z.sin()), -1), 1.0).to_event(1), obs=x)

        return run

    x = torch.zeros(2, 2).double()
    with pytest.raises(InputError, match="'z' is an angle"):
        refine(program(True), program(False), x)
    found = diagnose(program(True), program(False), x, num_samples=20, estimator=Annealed(num_temperatures=5))
    assert found.refinement is None
    assert any("angle" in note for note in found.notes)
