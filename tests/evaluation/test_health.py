"""Sentences on a trained program: each fault is made and told with its numbers, and nothing of healthy programs."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import (
    MLP,
    VAE,
    Autoencoder,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    Digits,
    Gaussian,
    GaussianMixture,
    Importance,
    NegativeBinomial,
    Poisson,
    StandardNormal,
    VampPrior,
    VonMisesFisher,
    fit,
)
from pyrovae.evaluation import check_health, diagnose
from pyrovae.evaluation.health import CHECKS, findings
from pyrovae.priors import SphericalUniform

X = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
small = partial(MLP, hidden_features=(16,))


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


def trained(vae, x, epochs=60, lr=2e-2):
    """Return a VAE trained for some seconds, with most of the data for training."""
    torch.manual_seed(0)
    optimizer = partial(torch.optim.Adam, lr=lr)
    fit(vae.model, vae.guide, DataSet(x), epochs=epochs, optimizer=optimizer, compile="off", progress=False)
    return vae


def told(vae, x):
    return findings(vae.model, vae.guide, x)


def test_nothing_is_told_where_all_latents_are_used():
    assert check_health(*programs([True, True, True]), X) == []


def test_a_collapse_of_all_is_told_with_the_rate():
    (sentence,) = check_health(*programs([False, False]), X)
    assert sentence.startswith("The posterior has collapsed: the codes carry 0.00 nats per datum")
    assert "kl_warmup" in sentence


def test_a_few_data_tell_nothing_of_single_latents():
    assert check_health(*programs([True, False, True]), X[:1]) == []
    assert check_health(*programs([True, False, True]), X[:10]) == []
    assert "collapse" in findings(*programs([False, False]), X[:1])


def test_codes_that_are_the_same_for_all_data_have_not_the_kl_of_a_collapse():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ torch.ones(2, 6), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.ones(len(x), 2), 0.5).to_event(1))

    found = findings(model, guide, X)
    assert list(found) == ["unused_latents"]
    assert found["unused_latents"].startswith("2 of 2 latents carry no information")


def test_unused_latents_are_named():
    (sentence,) = check_health(*programs([True, False, True, False]), X)
    assert sentence.startswith("2 of 4 latents carry no information (z[1], z[3])")


def test_a_deterministic_encoder_has_nothing_to_collapse():
    program = Autoencoder((6,), 2)
    assert check_health(program.model, program.guide, X.sigmoid().round()) == []


def test_the_random_state_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_health(*programs([True, False]), X)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_posterior_at_its_smallest_scale_is_told():
    """A likelihood of a scale far below what z can be told to: the posterior would be narrower than it may."""
    torch.manual_seed(0)
    likelihood = Gaussian((6,), 2, small, scale="fixed", initial_scale=0.01)
    x = X[:, :2] @ torch.randn(2, 6)
    narrow = VAE(StandardNormal(2), likelihood, DiagonalNormal((6,), 2, small, min_scale=0.2))
    trained(narrow, x, epochs=30)
    sentence = told(narrow, x)["scale_at_bound"]
    assert sentence.startswith("Of the positive parameters of DiagonalNormal ")
    assert "% are at their lower bound, 0.2: its codes have next to no noise there" in sentence
    narrow.posterior.positive.minimum = 0.0
    assert "scale_at_bound" not in told(narrow, x)


def test_a_concentration_at_its_bound_is_told_of_the_sphere():
    vae = VAE(SphericalUniform(3), Gaussian((6,), 3, small), VonMisesFisher((6,), 3, small))
    with torch.no_grad():
        vae.posterior.network.layers[-1].bias[-1] = -20.0
    assert (
        "VonMisesFisher 100% are at their lower bound, 1: its directions are spread" in told(vae, X)["scale_at_bound"]
    )


@pytest.mark.slow
def test_a_density_that_explodes_at_a_constant_feature_is_told():
    torch.manual_seed(0)
    x = torch.cat((X, torch.full((len(X), 1), 3.0)), 1)
    vae = VAE(StandardNormal(2), Gaussian((7,), 2, small, scale="pixel", link="exp"), DiagonalNormal((7,), 2, small))
    vae.initialize(x)
    with torch.no_grad():
        vae.likelihood.network.layers[-1].weight[-1] = 0.0  # as after a long training
    found = told(trained(vae, x, epochs=100, lr=5e-2), x)
    assert found["exploding_density"].startswith("The density explodes for 1 of 7 features, which are known to about ")
    assert "nats per datum: a density has no bound where features are constant" in found["exploding_density"]
    with torch.no_grad():
        vae.likelihood.raw_scale[-1] = -30.0
    assert (
        "Of the positive parameters of Gaussian 14% are at their lower bound, 0.001" in told(vae, x)["scale_at_bound"]
    )


def test_a_saturated_bernoulli_is_told_with_its_cost():
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2, small), DiagonalNormal((6,), 2, small))
    x = X.sigmoid().round()
    assert "saturated_likelihood" not in told(vae, x)
    with torch.no_grad():
        vae.likelihood.network.layers[-1].weight.zero_()
        vae.likelihood.network.layers[-1].bias.fill_(-20.0)
    sentence = told(vae, x)["saturated_likelihood"]
    share, cost = x.mean().item(), 20.0 * x.sum(1).mean().item()
    assert f"gives {share:.2%} of the values a probability below 1e-06" in sentence
    assert f"cost {cost:.2f} of the {cost:.2f} nats per datum" in sentence


def test_counts_that_a_poisson_all_but_rules_out_are_told():
    torch.manual_seed(0)
    x = dist.NegativeBinomial(torch.tensor(0.5), torch.tensor(0.95)).sample((200, 6))
    network = partial(MLP, hidden_features=(4,))
    for family, faulty in ((Poisson, True), (NegativeBinomial, False)):
        vae = VAE(StandardNormal(2), family((6,), 2, network), DiagonalNormal((6,), 2, network))
        vae.initialize(x)
        assert ("saturated_likelihood" in told(vae, x)) == faulty


def test_dead_and_repeated_components_are_counted():
    torch.manual_seed(0)
    vae = VAE(GaussianMixture(2, 5), Gaussian((6,), 2, small), DiagonalNormal((6,), 2, small))
    with torch.no_grad():
        vae.prior.loc.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [50.0, 0.0], [0.0, -50.0]]))
    sentence = told(vae, X)["dead_components"]
    assert sentence.startswith("Of the 5 components of the prior, 2 hold less than 0.002 of the codes each and 1 are ")
    assert "2 would do as well (num_components)" in sentence
    assert "1 are the same as another" in told(vae, X[:20])["dead_components"]  # too few to know what is used
    assert "hold less" not in told(vae, X[:20])["dead_components"]


def test_pseudo_data_that_are_the_same_are_counted():
    vae = VAE(VampPrior(2, 20), Gaussian((6,), 2, small), DiagonalNormal((6,), 2, small))
    vae.initialize(X)
    assert "dead_components" not in told(vae, X)
    with torch.no_grad():
        vae.prior.pseudo_data[5:] = vae.prior.pseudo_data[0]
    assert "Of the 20 components of the prior, 15 are the same as another: 5 would" in told(vae, X)["dead_components"]


@pytest.mark.parametrize("event_dim", [0, 1])
def test_a_mixture_of_ones_own_is_examined(event_dim):
    loc = torch.tensor([0.0, 0.1, 90.0]) if event_dim == 0 else torch.tensor([[0.0, 0.0], [0.1, 0.0], [90.0, 0.0]])

    def model(x):
        with pyro.plate("data", len(x)):
            parts = dist.Normal(loc, 1.0).to_event(event_dim)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), parts))
            pyro.sample("x", dist.Normal(z.reshape(len(x), -1)[:, :1].expand(-1, 6), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            codes = x[:, :2] if event_dim else x[:, 0]
            pyro.sample("z", dist.Normal(codes, 0.5).to_event(event_dim))

    assert "1 hold less than 0.0033 of the codes each: 2 would" in findings(model, guide, X)["dead_components"]


def test_a_diagnosis_tells_the_same():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2, small), DiagonalNormal((6,), 2, small))
    with torch.no_grad():
        vae.likelihood.network.layers[-1].weight.zero_()
        vae.likelihood.network.layers[-1].bias.fill_(-20.0)
    found = diagnose(
        vae.model, vae.guide, X[:30].sigmoid().round(), refinement_steps=0, num_samples=10, estimator=Importance(10)
    )
    assert "saturated_likelihood" in found.health
    assert found.summary()["health"] == found.health


def test_each_check_has_a_name_of_its_own():
    names = [check.__name__ for check in CHECKS]
    assert len({*names}) == len(names)


@pytest.mark.slow
def test_a_dead_model_and_a_healthy_one_of_the_digits(capsys):
    """Without a warm-up the first seed below collapses, and training says so; with one it does not."""
    data = Digits(binarization="dynamic")
    said, noted = {}, {}
    network = partial(MLP, hidden_features=(64, 64))
    for warmup in (0, 6):
        torch.manual_seed(1)
        vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2, network), DiagonalNormal((1, 8, 8), 2, network))
        vae.initialize(data.train[:])
        make = partial(torch.optim.Adam, lr=2e-3)
        history = fit(vae.model, vae.guide, data, epochs=20, optimizer=make, kl_warmup=warmup)
        noted[warmup] = capsys.readouterr().err
        said[warmup] = [*history.health(), *check_health(vae.model, vae.guide, data.test[:])]
    assert said[0][0].startswith("The posterior has collapsed: the KL on validation data is 0.00 nats")
    assert said[0][-1].startswith("The posterior has collapsed: the codes carry 0.0")
    assert noted[0].count("The posterior is collapsed at epoch ") == 1
    assert not any("collapsed" in sentence for sentence in (*said[6], noted[6]))


@pytest.mark.slow
def test_nothing_is_told_of_healthy_models_of_the_digits(capsys):
    """A seed of each prior, trained for about two seconds; scripts/benchmarks/health.py has ten, and other data."""
    data = Digits(binarization="threshold")
    priors = [StandardNormal, partial(GaussianMixture, num_components=5), partial(VampPrior, num_components=20)]
    network = partial(MLP, hidden_features=(32,))
    for seed in range(3):
        torch.manual_seed(seed)
        prior = priors[seed](2)
        vae = VAE(prior, Bernoulli((1, 8, 8), 2, network), DiagonalNormal((1, 8, 8), 2, network))
        vae.initialize(data.train[:])
        optimizer = partial(torch.optim.Adam, lr=1e-2)
        scheduler = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=40)
        history = fit(vae.model, vae.guide, data, epochs=40, batch_size=256, optimizer=optimizer, scheduler=scheduler)
        assert {**told(vae, data.validation[:]), **history.findings()} == {}, f"seed {seed}"
    assert "collapsed" not in capsys.readouterr().err
