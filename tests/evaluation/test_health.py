"""Sentences on a trained program's latents: collapse of all, of some, and none if all are used."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import VAE, Autoencoder, Bernoulli, DiagonalNormal, Digits, StandardNormal, fit
from pyrovae.evaluation import check_latents

X = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))


def programs(used):
    """Return programs whose latents follow x where they are used, and are the prior where not."""
    mask = torch.tensor([float(use) for use in used])
    D = len(used)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal((z * mask) @ torch.ones(D, 6), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            scale = 1 - 0.5 * mask
            pyro.sample("z", dist.Normal(x[:, :D] * mask * 0.8, scale.expand(len(x), D)).to_event(1))

    return model, guide


def test_nothing_is_told_where_all_latents_are_used():
    assert check_latents(*programs([True, True, True]), X) is None


def test_a_collapse_of_all_is_told_with_the_rate():
    sentence = check_latents(*programs([False, False]), X)
    assert sentence.startswith("The posterior has collapsed: the codes carry 0.00 nats per datum")
    assert "kl_warmup" in sentence


def test_a_few_data_tell_nothing_of_single_latents():
    assert check_latents(*programs([True, False, True]), X[:1]) is None
    assert check_latents(*programs([True, False, True]), X[:10]) is None
    assert "collapsed" in check_latents(*programs([False, False]), X[:1])


def test_codes_that_are_the_same_for_all_data_have_not_the_kl_of_a_collapse():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ torch.ones(2, 6), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.ones(len(x), 2), 0.5).to_event(1))

    sentence = check_latents(model, guide, X)
    assert sentence.startswith("2 of 2 latents carry no information")
    assert "collapsed" not in sentence


def test_unused_latents_are_named():
    sentence = check_latents(*programs([True, False, True, False]), X)
    assert sentence.startswith("2 of 4 latents carry no information (z[1], z[3])")


def test_a_deterministic_encoder_has_nothing_to_collapse():
    program = Autoencoder((6,), 2)
    assert check_latents(program.model, program.guide, X.sigmoid().round()) is None


def test_the_random_state_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_latents(*programs([True, False]), X)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_dead_model_and_a_healthy_one_of_the_digits():
    """Without a warm-up the first seed below collapses; with one none of them does."""
    data = Digits(binarization="dynamic")
    told = {}
    for warmup in (0, 20):
        torch.manual_seed(1)
        vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
        vae.initialize(data.train[:])
        make = lambda parameters: torch.optim.Adam(parameters, lr=2e-3)  # noqa: E731
        history = fit(vae.model, vae.guide, data, epochs=60, optimizer=make, kl_warmup=warmup, progress=False)
        told[warmup] = [*history.health(), check_latents(vae.model, vae.guide, data.test[:])]
    assert told[0][0].startswith("The posterior has collapsed: the KL on validation data is 0.00 nats")
    assert told[0][-1].startswith("The posterior has collapsed: the codes carry 0.0")
    assert not any("collapsed" in str(sentence) for sentence in told[20])
