"""Annealed importance sampling against exact marginal likelihoods."""

import json
import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import PROGRAMS, GammaPoisson, batch_of, exact, no_broadcasting
from linear_gaussian import SIZES, LinearGaussian

from pyrovae import (
    VAE,
    Annealed,
    Bernoulli,
    DiagonalNormal,
    FlowPosterior,
    FlowPrior,
    HierarchicalVAE,
    Importance,
    InputError,
    LowRankNormal,
    MixturePosterior,
    SphericalVAE,
    StandardNormal,
    log_marginal,
)
from pyrovae.distributions import NormalMixture
from pyrovae.evaluation.likelihood.annealed_chains import AnnealingPath, anneal, tune_step_sizes
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.flows import Planar

TEMPERATURES = {2: 40, 10: 100, 50: 300}  # by the number of latents: as many as the bounds below need


def shortfall(oracle, x, estimator):
    ml = log_marginal(oracle.model, oracle.guide, x, estimator)
    return (oracle.log_prob(x) - ml.log_prob).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", SIZES)
def test_within_a_tenth_of_a_nat_from_the_best_mean_field_guide(latent_dim):
    oracle = LinearGaussian(latent_dim, SIZES[latent_dim], guide="mean-field")
    x = oracle.simulate(20)
    assert abs(shortfall(oracle, x, Annealed(TEMPERATURES[latent_dim]))) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [2, 50])
def test_within_three_tenths_from_a_bad_guide(latent_dim):
    """Moved by one standard deviation and too narrow: importance sampling is lost where there are 50 latents."""
    oracle = LinearGaussian(latent_dim, SIZES[latent_dim], guide="mean-field", shift=1.0, widening=0.7)
    x = oracle.simulate(20)
    assert abs(shortfall(oracle, x, Annealed(TEMPERATURES[latent_dim]))) < 0.3
    if latent_dim == 50:
        assert shortfall(oracle, x, Importance(5000)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [2, 50])
def test_from_the_prior(latent_dim):
    oracle = LinearGaussian(latent_dim, SIZES[latent_dim], guide="mean-field", shift=5.0)
    x = oracle.simulate(10)
    ml = log_marginal(oracle.model, oracle.guide, x, Annealed(TEMPERATURES[latent_dim], start="prior"))
    off = (ml.log_prob - oracle.log_prob(x)).mean().item()
    assert -ml.mean_bias - 4 * ml.monte_carlo_error < off < 4 * ml.monte_carlo_error
    assert ml.mean_bias < 1.5
    torch.testing.assert_close(ml.elbo, log_marginal(oracle.model, oracle.guide, x).elbo, rtol=0.2, atol=1.0)


def test_the_exact_guide_has_nothing_to_anneal():
    oracle = LinearGaussian(10, 20)
    x = oracle.simulate(5)
    ml = log_marginal(oracle.model, oracle.guide, x, Annealed(5))
    torch.testing.assert_close(ml.log_prob, oracle.log_prob(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(ml.elbo, oracle.log_prob(x), rtol=0, atol=1e-9)
    assert ml.interval == pytest.approx((ml.nll, ml.nll), abs=1e-3)  # and chains from the prior find no more


@pytest.mark.slow
@pytest.mark.parametrize(
    ("oracle", "T"),
    [
        (lambda: LinearGaussian(2, 5, guide="mean-field", shift=1.0), 20),
        (lambda: LinearGaussian(10, 30, guide="mean-field", shift=1.0), 100),
    ],
    ids=["2", "10"],
)
def test_errors_are_calibrated_over_200_repetitions(oracle, T):
    oracle = oracle()
    x = oracle.simulate(1).expand(200, -1)
    ml = log_marginal(oracle.model, oracle.guide, x, Annealed(T))
    off = ml.log_prob - oracle.log_prob(x)
    assert 0.90 <= (off.abs() < 1.96 * ml.standard_error).double().mean().item() <= 0.99
    assert ml.standard_error.mean().item() == pytest.approx(off.std().item(), rel=0.25)
    assert -off.mean().item() == pytest.approx(ml.mean_bias, abs=0.01 + 4 * off.std().item() / 200**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_any_program_of_continuous_latents(name, start):
    program = PROGRAMS[name]()
    x = batch_of(program)
    ml = log_marginal(program.model, program.guide, x, Annealed(20, start=start, num_chains=200), chunk_size=1000)
    assert ((ml.log_prob - exact(program, x)).abs() < 4 * ml.standard_error + 0.01).all()


@pytest.mark.slow
def test_a_bad_guide_of_positive_latents():
    program = GammaPoisson(lambda x: dist.Gamma(20 * torch.ones_like(x), 2.0))
    x = torch.tensor([[0.0], [1.0], [4.0]]).double()
    ml = log_marginal(program.model, program.guide, x, Annealed(60, num_chains=100))
    assert ((ml.log_prob - exact(program, x)).abs() < 4 * ml.standard_error + 0.02).all()
    assert (ml.draws["z"] > 0).all()


class OnTheCircle:
    """A direction z in the plane, uniform, and x ~ N(W z, 1/4): p(x) by quadrature."""

    W = torch.tensor([[1.5, 0.2], [0.0, -1.0], [0.7, 0.7]]).double()

    def model(self, x):
        from pyrovae.distributions import UniformSphere

        with pyro.plate("data", len(x)):
            z = pyro.sample("z", UniformSphere(2, torch.float64))
            pyro.sample("x", dist.Normal(z @ self.W.T, 0.5).to_event(1), obs=x)

    def guide(self, x):
        from pyrovae.distributions import VonMisesFisher

        with pyro.plate("data", len(x)):
            loc = torch.nn.functional.normalize(x @ self.W + 0.5, dim=-1)
            pyro.sample("z", VonMisesFisher(loc, 2 * torch.ones(len(x)).double()))

    def log_prob(self, x):
        angle = torch.linspace(0, 2 * math.pi, 2001)[:-1].double()
        z = torch.stack((angle.cos(), angle.sin()), -1)  # (2000, 2)
        return dist.Normal(z @ self.W.T, 0.5).to_event(1).log_prob(x[:, None]).logsumexp(1) - math.log(2000)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_directions(start):
    program = OnTheCircle()
    x = torch.randn(6, 3).double()
    ml = log_marginal(program.model, program.guide, x, Annealed(50, num_chains=100, start=start))
    assert ((ml.log_prob - program.log_prob(x)).abs() < 4 * ml.standard_error + 0.02).all()
    torch.testing.assert_close(ml.draws["z"].norm(dim=-1), torch.ones(6, 10).double())


@pytest.mark.slow
def test_a_mixture_is_annealed_in_its_values():
    oracle = LinearGaussian(2, 5, guide="mean-field")
    x = oracle.simulate(5)

    def guide(x):
        mean = (x - oracle.b) @ oracle.W @ oracle.covariance
        loc = torch.stack((mean - 1, mean + 1), -2)
        with pyro.plate("data", len(x)):
            pyro.sample("z", NormalMixture(torch.zeros(2).double(), loc, 0.5 * torch.ones_like(loc)))

    ml = log_marginal(oracle.model, guide, x, Annealed(50, num_chains=100))
    assert ((ml.log_prob - oracle.log_prob(x)).abs() < 4 * ml.standard_error + 0.02).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: VAE(StandardNormal(2), Bernoulli((6,), 2), FlowPosterior((6,), 2, flow=Planar)),
        lambda: VAE(FlowPrior(2), Bernoulli((6,), 2), FlowPosterior((6,), 2)),
        lambda: VAE(StandardNormal(2), Bernoulli((6,), 2), MixturePosterior((6,), 2)),
        lambda: HierarchicalVAE((6,), 2, dims=(3,)),
        lambda: HierarchicalVAE((6,), 2, dims=(3,), inference="ladder"),
        lambda: HierarchicalVAE((6,), 2, dims=(3,), layer_posterior=partial(LowRankNormal, rank=1)),
        lambda: SphericalVAE((6,), 3),
    ],
    ids=[
        "planar flow, never inverted",
        "flows",
        "mixture",
        "hierarchical",
        "ladder",
        "hierarchical, low rank",
        "spherical",
    ],
)
def test_programs_of_ours_agree_with_samples_of_the_prior(make):
    program = make()
    x = torch.bernoulli(torch.full((4, 6), 0.5))
    expected = log_marginal(program.model, program.guide, x, Importance(20_000, prior_share=1.0))
    for start in ("guide", "prior"):
        ml = log_marginal(program.model, program.guide, x, Annealed(15, num_chains=100, start=start))
        error = (expected.standard_error.square() + ml.standard_error.square()).sqrt()
        assert ((ml.log_prob - expected.log_prob).abs() < 4.5 * error + 0.01).all()


@pytest.mark.slow
def test_a_program_that_does_not_broadcast():
    oracle = LinearGaussian(2, 4, guide="mean-field", shift=1.0)
    x = oracle.simulate(3)
    ml = log_marginal(no_broadcasting(oracle), oracle.guide, x, Annealed(40, num_chains=50))
    assert ((ml.log_prob - oracle.log_prob(x)).abs() < 4 * ml.standard_error + 0.01).all()


@pytest.mark.slow
def test_reproducible():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    x = oracle.simulate(3)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(log_marginal(oracle.model, oracle.guide, x, Annealed(10)))
    assert torch.equal(results[0].log_prob, results[1].log_prob)


@pytest.mark.slow
def test_acceptance_is_what_step_sizes_are_tuned_to():
    oracle = LinearGaussian(10, 30, guide="mean-field", shift=1.0)
    x = oracle.simulate(20)
    for aim in (0.65, 0.9):
        path = Annealed(80, target_acceptance=aim)
        ml = log_marginal(oracle.model, oracle.guide, x, path)
        assert ml.acceptance.mean().item() == pytest.approx(aim, abs=0.04)


def test_decoder_runs_are_counted():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    rows = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            rows.append(z.shape[:-1].numel())
            pyro.sample("x", dist.Normal(z @ oracle.W.T + oracle.b, 1.0).to_event(1), obs=x)

    ml = log_marginal(model, oracle.guide, oracle.simulate(3), Annealed(10, num_leapfrogs=3, num_chains=16))
    assert (ml.num_evaluations == (16 + 4 + 8) * (9 * 3 + 1)).all()  # estimate, step sizes, check
    once = 3 * (2 + 2) + 16 * 3 + 2 * 64 * 3  # looking whether it broadcasts, posterior draws; the spread of the starts
    assert 0 <= sum(rows) - ml.num_evaluations.sum().item() <= once


@pytest.mark.slow
def test_paths_are_what_was_integrated():
    """The mean log weight along beta, integrated, is the mean log weight of the chains."""
    oracle = LinearGaussian(10, 30, guide="mean-field", shift=1.0)
    target = AnnealingTarget(BatchedPrograms(oracle.model, oracle.guide, (oracle.simulate(5),)))
    path = AnnealingPath(50)
    with target.running():
        steps, _, _ = tune_step_sizes(target, path)
        result = anneal(target, path, steps, target.draw(8))
    assert steps.shape == (49, 5)
    torch.testing.assert_close(result.log_weight.mean(0), (result.path * path.betas().diff()[:, None]).sum(0))
    assert (result.path[-1] > result.path[0]).all()  # towards the posterior, weights grow


@pytest.mark.slow
def test_more_temperatures_and_chains_bring_more():
    oracle = LinearGaussian(50, 100, guide="mean-field", shift=1.0)
    x = oracle.simulate(20)
    short = [shortfall(oracle, x, Annealed(T, num_chains=4)) for T in (5, 20, 100)]
    assert short[0] > short[1] > short[2]


def test_one_temperature_is_importance_sampling():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    x = oracle.simulate(100)
    torch.manual_seed(0)
    ml = log_marginal(oracle.model, oracle.guide, x, Annealed(1, num_chains=50))
    assert ml.nll == pytest.approx(
        log_marginal(oracle.model, oracle.guide, x, num_samples=50).nll, abs=5 * ml.monte_carlo_error
    )
    assert (ml.acceptance == 1).all()


def test_betas_begin_at_0_and_end_at_1():
    for start in ("guide", "prior"):
        betas = AnnealingPath(7, start=start).betas()
        assert len(betas) == 8
        assert betas[0] == 0
        assert betas[-1] == pytest.approx(1)
        assert (betas.diff() > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_temperatures": 0}, "num_temperatures must be an integer of at least 1"),
        ({"num_chains": 0}, "num_chains must be an integer of at least 1"),
        ({"num_leapfrogs": 0}, "num_leapfrogs must be an integer of at least 1"),
        ({"start": "posterior"}, "start must be"),
        ({"refinement_rounds": -1}, "refinement_rounds must be an integer of at least 0, but -1 was given"),
        (
            {"refinement_rounds": 1, "num_chains": 3},
            "num_chains must be even if the guide is refined and keep_guide is true",
        ),
        ({"keep_guide": 1}, "keep_guide must be a bool"),
        ({"target_acceptance": 1.0}, "target_acceptance must be"),
        ({"target_acceptance": 0.0}, "target_acceptance must be"),
    ],
)
def test_bad_paths_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Annealed(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": Annealed(5), "num_samples": 10}, "num_samples must be left out where an estimator is given"),
        ({"estimator": "annealed"}, "estimator must be an Estimator, but a str was given"),
        ({"estimator": Annealed}, "estimator must be an Estimator, but the class Annealed was given"),
        ({"estimator": 100}, "estimator must be an Estimator, but an int was given"),
    ],
)
def test_what_is_no_estimator_is_refused(options, message):
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))
    with pytest.raises(InputError, match=message):
        log_marginal(vae.model, vae.guide, torch.ones(2, 6), **options)


@pytest.mark.slow
def test_verdicts_of_chains():
    x = LinearGaussian(50, 100).simulate(10)
    good = LinearGaussian(50, 100, guide="mean-field")
    bad = LinearGaussian(50, 100, guide="mean-field", shift=2.0)

    def verdict(oracle, *options):
        return log_marginal(oracle.model, oracle.guide, x, Annealed(*options)).verdict

    assert "agree" in verdict(good, 200)
    assert "disagree" in verdict(bad, 10)
    assert "too few" in verdict(good, 10, 1)
    for C in (2, 3, 4):
        assert "disagree" in verdict(bad, 10, C)


def test_a_datum_whose_weights_are_all_zero_is_told():
    """So far away that the square of its distance has no number; the others are as they were."""
    oracle = LinearGaussian(2, 4, guide="mean-field")

    def guide(x):
        return oracle.guide(x.clamp(-5, 5))

    x = torch.cat((oracle.simulate(2), torch.full((1, 4), 1e200, dtype=torch.float64)))
    for estimator in (Importance(100), Annealed(4, num_chains=8)):
        ml = log_marginal(oracle.model, guide, x, estimator)
        assert ml.log_prob.isfinite().tolist() == [True, True, False]
        assert "Of 1 data every weight is zero" in ml.verdict
        assert "nan" not in ml.verdict
        json.dumps(ml.summary(), allow_nan=False)


def test_a_diverging_chain_stays_where_it_is():
    """Steps of infinite length: no program sees what is not finite, and nothing is accepted."""
    oracle = LinearGaussian(2, 4, guide="mean-field")
    seen = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            seen.append(bool(z.isfinite().all()))
            pyro.sample("x", dist.Normal(z @ oracle.W.T + oracle.b, 1.0).to_event(1), obs=x)

    target = AnnealingTarget(BatchedPrograms(model, oracle.guide, (oracle.simulate(3),)))
    path = AnnealingPath(6)
    with target.running():
        u = target.draw(4)
        result = anneal(target, path, torch.full((5, 3), math.inf).double(), u)
    assert all(seen)
    assert torch.equal(result.end, u)
    assert (result.acceptance == 0).all()
