"""Rate, distortion, mutual information, marginal KL and active units against closed forms and quadrature."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import TwoLayers
from linear_gaussian import LinearGaussian

from pyrovae import (
    VAE,
    Bernoulli,
    Column,
    ConditionalVAE,
    DiagonalNormal,
    FlowPosterior,
    InputError,
    Planar,
    Schema,
    StandardNormal,
    TableLikelihood,
)
from pyrovae.evaluation import Annealed, diagnose, rate_distortion


def exact(oracle, x):
    """Rate, distortion and log p(x) of a linear-Gaussian model with a guide that is not shifted, (N,) each."""
    mean = (x - oracle.b) @ oracle.W @ oracle.covariance / oracle.scale**2
    covariance = oracle.covariance if oracle.kind == "exact" else oracle.mean_field.square().diag()
    rate = 0.5 * (covariance.trace() + mean.square().sum(1) - len(covariance) - covariance.logdet())
    residual = (x - mean @ oracle.W.T - oracle.b).square().sum(1) + (oracle.W @ covariance @ oracle.W.T).trace()
    noise = len(oracle.b) * math.log(2 * math.pi * oracle.scale**2)
    return rate, 0.5 * (noise + residual / oracle.scale**2), oracle.log_prob(x)


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["exact", "mean-field"])
def test_rate_distortion_and_elbo_are_their_closed_forms_to_within_their_errors(guide):
    oracle = LinearGaussian(3, 5, guide=guide, scale=0.7)
    x = oracle.simulate(400)
    found = rate_distortion(oracle.model, oracle.guide, x, num_samples=200)
    rate, distortion, log_prob = exact(oracle, x)
    for values, errors, expected in (
        (found.rate, found.rate_error, rate),
        (found.distortion, found.distortion_error, distortion),
    ):
        inside = ((values - expected).abs() < 1.96 * errors).double().mean().item()
        assert 0.90 <= inside <= 0.99
    torch.testing.assert_close(found.elbo, -found.rate - found.distortion)
    assert (found.elbo_error < 1e-9).all() == (guide == "exact")  # where every weight is p(x)
    gap = log_prob + rate + distortion
    assert ((found.elbo - log_prob + gap).abs() < 5 * found.elbo_error + 1e-9).all()


@pytest.mark.slow
def test_mutual_information_of_the_exact_posterior_is_that_of_the_gaussian_channel():
    oracle = LinearGaussian(2, 3, coupling=0.4)
    found = rate_distortion(oracle.model, oracle.guide, oracle.simulate(4000))
    channel = -0.5 * oracle.covariance.logdet().item()
    assert 0.2 < channel < 1.0  # or it is far from what 4000 data can show
    assert found.mutual_information.value == pytest.approx(channel, abs=0.03)
    assert found.marginal_kl.value == pytest.approx(0.0, abs=4 * found.marginal_kl.error + 0.005)
    assert found.mutual_information.value + found.marginal_kl.value == pytest.approx(found.rate.mean().item())
    assert not found.saturated


def test_mutual_information_of_data_with_gaps_is_that_of_the_guide_which_sees_zeros():
    torch.manual_seed(0)
    schema = Schema((Column("height"), Column("animal", "categorical", ("cat", "cow", "dog"))))
    vae = VAE(StandardNormal(2), TableLikelihood((2,), 2, schema=schema), DiagonalNormal((2,), 2))
    x = torch.stack((torch.randn(60), torch.arange(60.0) % 3), 1)
    x[::3, 0], x[1::3, 1] = torch.nan, torch.nan
    found = []
    for data in (x, x.nan_to_num()):
        torch.manual_seed(0)
        found.append(rate_distortion(vae.model, vae.guide, data, num_samples=20).mutual_information)
    assert found[0].value == pytest.approx(found[1].value, rel=1e-5)


@pytest.mark.slow
def test_two_sites_are_scored_together():
    program = TwoLayers()
    x = math.sqrt(3) * torch.randn(2000, 1, dtype=torch.float64)
    found = rate_distortion(program.model, program.guide, x)
    assert found.mutual_information.value == pytest.approx(0.5 * math.log(3), abs=0.05)
    assert set(found.active) == {"z1", "z2"}
    assert all(active.all() for active in found.active.values())


def means_as_data(x, scale=1.0):
    """The guide q(z|x) = N(x, scale), in one dimension."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x, scale).to_event(1))


def standard(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def test_a_few_data_against_quadrature():
    x = torch.tensor([[-1.0], [0.5], [1.0]], dtype=torch.float64)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    q = dist.Normal(x, 1.0).log_prob(grid).exp()  # (3, points)
    step = (grid[1] - grid[0]).item()
    rate = ((q * (q.log() - dist.Normal(0.0, 1.0).log_prob(grid))).sum(1) * step).mean().item()
    mutual = ((q * (q.log() - q.mean(0).log())).sum(1) * step).mean().item()
    found = rate_distortion(standard, means_as_data, x, num_samples=20_000, num_codes=60_000)
    for figure, expected in ((found.mutual_information, mutual), (found.marginal_kl, rate - mutual)):
        assert figure.error < 0.01
        assert abs(figure.value - expected) < 4 * figure.error


@pytest.mark.slow
@pytest.mark.parametrize(("N", "num_codes"), [(40, 20), (12, 60)], ids=["codes of some data", "codes of all"])
def test_the_error_of_the_mutual_information_is_its_spread_over_seeds(N, num_codes):
    oracle = LinearGaussian(2, 3, coupling=0.7)
    x = oracle.simulate(N)
    figures = []
    for seed in range(60):
        torch.manual_seed(seed)
        found = rate_distortion(oracle.model, oracle.guide, x, num_samples=40, num_codes=num_codes)
        figures.append([*found.mutual_information, *found.marginal_kl])
    values = torch.tensor(figures)
    for value, error in (values[:, :2].T, values[:, 2:].T):
        assert error.square().mean().sqrt().item() == pytest.approx(value.std().item(), rel=0.25)


@pytest.mark.parametrize(
    ("distance", "expected"), [(100.0, math.log(6)), (0.0, 0.0)], ids=["codes apart", "codes of one distribution"]
)
def test_mutual_information_is_between_zero_and_log_N(distance, expected):
    x = distance * torch.arange(6.0)[:, None]
    found = rate_distortion(standard, means_as_data, x)
    assert found.mutual_information.value == pytest.approx(expected, abs=1e-5)
    assert found.saturated == (distance > 0)
    assert found.marginal_kl.value == pytest.approx(found.rate.mean().item() - expected, abs=1e-4)


def test_one_datum_tells_nothing_of_itself():
    found = rate_distortion(standard, means_as_data, torch.ones(1, 1))
    assert found.mutual_information.value == pytest.approx(0.0, abs=1e-6)
    assert not found.saturated
    assert not found.active["z"].any()


@pytest.mark.slow
def test_a_unit_is_active_if_its_mean_varies_and_not_because_it_is_estimated():
    oracle = LinearGaussian(3, 5)
    oracle.W[:, 1] = 0  # dead: its posterior is the prior
    oracle.covariance = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + oracle.W.T @ oracle.W)
    x = oracle.simulate(2000)
    found = rate_distortion(oracle.model, oracle.guide, x, num_samples=20)  # the noise alone has a variance of 0.05
    assert found.active["z"].tolist() == [True, False, True]
    mean = (x - oracle.b) @ oracle.W @ oracle.covariance
    torch.testing.assert_close(found.variances["z"], mean.var(0), rtol=0.05, atol=5e-3)


@pytest.mark.slow
def test_a_dead_unit_is_not_active_by_a_hair():
    """Means of variance 0.0125 in a posterior as wide as the prior: 0.0062 nats; in a narrow one they are a code."""

    def program(width):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x, torch.tensor([1.0, width])).to_event(1))

        return model, guide

    x = (torch.arange(400.0) - 199.5)[:, None].expand(-1, 2)
    x = x / x[:, 0].std(correction=0) * math.sqrt(0.0125)
    for width, active in ((1.0, False), (0.1, True)):
        torch.manual_seed(0)
        found = rate_distortion(*program(width), x, num_samples=2000, num_codes=1)
        assert found.active["z"].tolist() == [False, active]
        expected = 0.5 * torch.tensor([1 + 0.0125, 1 + 0.0125 / width**2]).double().log()
        torch.testing.assert_close(found.nats["z"], expected, rtol=0.1, atol=1e-4)
        torch.testing.assert_close(found.variances["z"], torch.full((2,), 0.0125).double(), rtol=0.1, atol=0)
    dead = diagnose(*program(1.0), x[:50], num_samples=100, refinement_steps=0, estimator=Annealed(num_temperatures=5))
    assert dead.health["collapse"].startswith("The posterior has collapsed: the codes carry 0.0")


def test_a_sites_components_keep_their_shape():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z.sum((-1, -2))[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            loc = torch.zeros(len(x), 2, 3)
            loc[:, 1, 2] = x[:, 0]
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(2))

    found = rate_distortion(model, guide, torch.randn(200, 1))
    assert found.active["z"].tolist() == [[False] * 3, [False, False, True]]
    assert found.mutual_information.value > 0.1


def test_discrete_sites_have_no_units_but_information():
    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(4)))
            pyro.sample("x", dist.Normal(y.to(x)[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=-40.0 * (x - torch.arange(4.0)).square()))

    found = rate_distortion(model, guide, torch.arange(4.0).repeat(10)[:, None])
    assert found.active == {}
    assert found.mutual_information.value == pytest.approx(math.log(4), abs=1e-4)  # four classes of ten data
    assert found.marginal_kl.value == pytest.approx(0.0, abs=1e-4)


def labelled(prior_of):
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(prior_of(y)[:, None].to(x), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + y[:, None], 1.0).to_event(1))

    return model, guide


def test_labels_go_with_their_data():
    x, y = torch.randn(60, 1), torch.arange(60) % 3
    found = rate_distortion(*labelled(torch.zeros_like), (x, y))
    alone = rate_distortion(standard, means_as_data, x / 2 + y[:, None])  # the same guide, told where to be
    assert found.mutual_information.value == pytest.approx(alone.mutual_information.value, abs=0.05)
    assert found.marginal_kl is not None


def test_a_prior_that_depends_on_the_label_has_no_marginal_kl():
    found = rate_distortion(*labelled(lambda y: y), (torch.randn(60, 1), torch.arange(60) % 3))
    assert found.marginal_kl is None
    assert found.mutual_information is not None
    assert found.unknown == "model must have one prior for all data"


def one_by_one(x):
    """A guide that takes no codes in front of the data plate."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x, 1.0).to_event(1))
        pyro.sample("above", dist.Normal(z.view(len(x), 1), 1.0).to_event(1))


def mixed_up(x):
    """A guide that takes them, but gives other numbers."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x, 1.0).to_event(1))
        pyro.sample("above", dist.Normal(z if z.dim() == 2 else z.flip(0), 1.0).to_event(1))


def above(x):
    with pyro.plate("data", len(x)):
        top = pyro.sample("above", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        z = pyro.sample("z", dist.Normal(top, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def planar():
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), FlowPosterior((4,), 2, flow=Planar))
    return vae.model, vae.guide, torch.eye(4)


HALF = torch.tensor([True, False])


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        (lambda: (above, one_by_one, torch.randn(5, 1)), "guide must broadcast over codes"),
        (lambda: (above, mixed_up, torch.randn(5, 1)), "guide must broadcast over codes"),
        (planar, "flow must have an inverse"),
        (lambda: (*(pyro.poutine.mask(part, HALF) for part in (standard, means_as_data)), torch.ones(2, 1)), "masked"),
    ],
    ids=["does not broadcast", "broadcasts wrongly", "no inverse", "masked"],
)
def test_what_cannot_be_known_is_unknown_rather_than_wrong(programs, reason):
    model, guide, x = programs()
    found = rate_distortion(model, guide, x)
    assert found.mutual_information is None
    assert found.marginal_kl is None
    assert reason in found.unknown
    assert found.rate.isfinite().all()
    assert not found.saturated


def test_chunks_bound_what_runs_at_a_time_and_change_nothing_else():
    seen = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            seen.append(z.numel())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    found = rate_distortion(model, means_as_data, torch.randn(70, 1), num_samples=500, num_codes=50, chunk_size=300)
    assert max(seen) <= 300
    assert found.rate.shape == (70,)


def test_programs_of_this_package_with_labels():
    vae = ConditionalVAE((4,), 2, num_classes=3)
    found = rate_distortion(vae.model, vae.guide, (torch.eye(4), torch.tensor([0, 1, 2, 0])))
    assert found.unknown is None


@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({"num_samples": 1}, torch.eye(4)),
        ({"num_codes": 0}, torch.eye(4)),
        ({"chunk_size": 0}, torch.eye(4)),
        ({}, torch.zeros(0, 4)),
        ({}, torch.full((2, 4), math.inf)),
    ],
)
def test_bad_input_is_refused(options, x):
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
    with pytest.raises(InputError, match=r"must|masked"):
        rate_distortion(vae.model, vae.guide, x, **options)
