"""Programs that are not ours train and evaluate unchanged: Pyro's tutorial VAE, bare functions, two latent sites."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from tutorial_programs import TutorialVAE, TwoSites

from pyrovae import DataSet, Digits, InputError, fit, generate, log_marginal, reconstruct


@pytest.mark.slow
@pytest.mark.parametrize("compile", ["off", "graph"])
def test_pyros_tutorial_vae(compile):
    data = Digits()
    vae = TutorialVAE()
    history = fit(vae.model, vae.guide, data, epochs=5, batch_size=64, compile=compile, progress=False)
    assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo + 1
    ml = log_marginal(vae.model, vae.guide, data.test[:20], num_samples=200)
    assert ml.log_prob.shape == (20,)
    assert (ml.log_prob > ml.elbo).all()
    assert -ml.nll > history.epochs[-1].validation_elbo - 3
    assert generate(vae.model, 3, data.test[:1]).shape == (3, 1, 8, 8)  # though its own site is flat
    assert reconstruct(vae.model, vae.guide, data.test[:2]).shape == (2, 1, 8, 8)


def linear_data(count=2000):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 1, generator=generator)
    return DataSet(2.0 * z + 0.5 * torch.randn(count, 1, generator=generator) + 1.0)


def bare_model(x):
    slope = pyro.param("slope", torch.tensor(0.5))
    offset = pyro.param("offset", torch.tensor(0.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(slope * z + offset, 0.5).to_event(1), obs=x)


def bare_guide(x):
    a = pyro.param("a", torch.tensor(0.1))
    b = pyro.param("b", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(a * x + b, scale).to_event(1))


@pytest.mark.slow
def test_a_bare_pair_of_functions_finds_the_exact_answer():
    """x = slope z + offset + noise: the marginal is N(1, 4.25), and the guide's family holds the posterior."""
    data = linear_data()
    optimizer = partial(torch.optim.Adam, lr=0.02)
    fit(bare_model, bare_guide, data, epochs=40, batch_size=200, optimizer=optimizer, progress=False)
    assert abs(pyro.param("slope").item()) == pytest.approx(2.0, abs=0.15)
    assert pyro.param("offset").item() == pytest.approx(1.0, abs=0.3)
    x = data.test[:100]
    ml = log_marginal(bare_model, bare_guide, x, num_samples=500)
    exact = dist.Normal(pyro.param("offset"), (pyro.param("slope") ** 2 + 0.25).sqrt()).log_prob(x[:, 0])
    assert ml.nll == pytest.approx(-exact.mean().item(), abs=0.01)
    assert sorted(pyro.get_param_store().keys()) == ["a", "b", "offset", "scale", "slope"]
    pyro.clear_param_store()


@pytest.mark.slow
def test_a_model_with_two_latent_sites():
    data = linear_data()
    program = TwoSites()
    optimizer = partial(torch.optim.Adam, lr=0.02)
    fit(program.model, program.guide, data, epochs=60, batch_size=200, optimizer=optimizer, progress=False)
    x = data.test[:50]
    assert abs(program.w.item()) == pytest.approx(1.8, abs=0.4)  # E x^2 = w^2 + 2 = 5.25
    ml = log_marginal(program.model, program.guide, x, num_samples=2000)
    variance = program.w.item() ** 2 + 2.0
    exact = dist.Normal(torch.tensor(0.0), variance**0.5).log_prob(x[:, 0])
    assert ml.nll == pytest.approx(-exact.mean().item(), abs=0.02)
    assert {name: z.shape for name, z in ml.draws.items()} == {"z1": (50, 10, 1), "z2": (50, 10, 1)}


def test_a_site_outside_the_plate_is_refused_by_name_before_training():
    def model(x):
        loc = pyro.sample("global_loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([1]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("global_loc", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    with pytest.raises(InputError, match=r"site 'global_loc' must lie in pyro.plate"):
        fit(model, guide, linear_data(100), progress=False)
    pyro.clear_param_store()
