"""Widened and mixed proposals: the same mean weight, with a lighter tail."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import PROGRAMS, batch_of, exact, no_broadcasting
from linear_gaussian import LinearGaussian

from pyrovae import Annealed, Importance, InputError, log_marginal, log_weights
from pyrovae.distributions import UniformSphere
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.execution import evaluating
from pyrovae.execution.batched import BatchedPrograms


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "share"), [(1.3, 0.0), (0.9, 0.0), (1.0, 0.2), (1.2, 0.3), (1.0, 1.0), (1.2, 1.0)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_mean_weight_stays_p(name, scale, share):
    program = PROGRAMS[name]()
    x = batch_of(program)
    ml = log_marginal(program.model, program.guide, x, Importance(20_000, proposal_scale=scale, prior_share=share))
    assert ((ml.log_prob - exact(program, x)).abs() < 5 * ml.standard_error + 1e-3).all()


@pytest.mark.slow
def test_widening_helps_the_best_mean_field_guide():
    """It covers the posterior then, which has wider directions than its own."""
    oracle = LinearGaussian(50, 100, guide="mean-field")
    x = oracle.simulate(20)
    short = {
        scale: (
            oracle.log_prob(x) - log_marginal(oracle.model, oracle.guide, x, Importance(proposal_scale=scale)).log_prob
        ).mean()
        for scale in (1.0, 1.15)
    }
    assert short[1.15] < 0.75 * short[1.0]


def test_no_weight_exceeds_the_likelihood_over_the_priors_share():
    oracle = LinearGaussian(2, 5, guide="mean-field", shift=3.0)
    proposal = Proposal(BatchedPrograms(oracle.model, oracle.guide, (oracle.simulate(4),)), 100, prior_share=0.25)
    with evaluating(oracle.model, oracle.guide):
        chunk = proposal.draw(100)
    assert (chunk.log_weight <= chunk.log_likelihood - math.log(0.25) + 1e-9).all()


def test_prior_and_guide_together_beat_a_guide_that_misses():
    oracle = LinearGaussian(2, 5, guide="mean-field", shift=4.0, widening=0.5)
    x = oracle.simulate(20)
    alone = (log_marginal(oracle.model, oracle.guide, x).log_prob - oracle.log_prob(x)).abs().mean()
    mixed = (
        (log_marginal(oracle.model, oracle.guide, x, Importance(prior_share=0.5)).log_prob - oracle.log_prob(x))
        .abs()
        .mean()
    )
    assert mixed < 0.2 * alone


@pytest.mark.parametrize(("K", "share"), [(1, 0.5), (3, 0.1), (10, 0.25), (23, 0.5)])
@pytest.mark.parametrize("chunk_size", [1, 7, 2000])
def test_the_priors_samples_are_spread_evenly(K, share, chunk_size):
    oracle = LinearGaussian(2, 4, guide="mean-field")
    lw = log_weights(oracle.model, oracle.guide, oracle.simulate(3), K, prior_share=share, chunk_size=chunk_size)
    assert lw.shape == (K, 3)
    assert lw.isfinite().all()
    assert lw.unique().numel() == 3 * K


def test_deterministic_for_a_seed():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    x = oracle.simulate(3)
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        drawn.append(log_weights(oracle.model, oracle.guide, x, 50, proposal_scale=1.2, prior_share=0.2))
    assert torch.equal(*drawn)


@pytest.mark.slow
def test_the_elbo_stays_that_of_the_guide():
    oracle = LinearGaussian(2, 5, guide="mean-field")
    x = oracle.simulate(500)
    plain = log_marginal(oracle.model, oracle.guide, x, num_samples=100)
    for options in ({"proposal_scale": 2.0}, {"prior_share": 0.5}):
        other = log_marginal(oracle.model, oracle.guide, x, Importance(100, **options))
        assert other.elbo.mean().item() == pytest.approx(plain.elbo.mean().item(), abs=0.05)
        assert (other.num_evaluations == 200).all()


def test_a_program_that_does_not_broadcast():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    x = oracle.simulate(3)
    for options in ({"proposal_scale": 1.2}, {"prior_share": 0.3}, {"proposal_scale": 1.2, "prior_share": 0.3}):
        ml = log_marginal(no_broadcasting(oracle), oracle.guide, x, Importance(2000, **options))
        assert ((ml.log_prob - oracle.log_prob(x)).abs() < 5 * ml.standard_error).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposal_scale": 0.0}, "proposal_scale must be a finite number above 0"),
        ({"proposal_scale": -1.0}, "proposal_scale must be"),
        ({"proposal_scale": math.inf}, "proposal_scale must be"),
        ({"prior_share": -0.1}, "prior_share must be"),
        ({"prior_share": 1.1}, "prior_share must be"),
    ],
)
def test_bad_proposals_are_refused(options, message):
    oracle = LinearGaussian(2, 4)
    with pytest.raises(InputError, match=message):
        log_marginal(oracle.model, oracle.guide, oracle.simulate(3), Importance(**options))


def on_the_circle(kind):
    class OnTheCircle:
        def model(self, x):
            with pyro.plate("data", len(x)):
                if kind == "angle":
                    z = pyro.sample("z", dist.VonMises(torch.zeros(1).double(), 1.0))
                    z = torch.stack((z.cos(), z.sin()), -1)
                else:
                    z = pyro.sample("z", UniformSphere(2, torch.float64))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                if kind == "angle":
                    pyro.sample("z", dist.VonMises(x[:, 0], torch.ones(1).double()))
                else:
                    pyro.sample("z", UniformSphere(2, torch.float64))

    return OnTheCircle()


@pytest.mark.parametrize("kind", ["angle", "direction"])
def test_what_has_no_width_cannot_be_widened(kind):
    program = on_the_circle(kind)
    x = torch.zeros(2, 2).double()
    with pytest.raises(InputError, match="must be 1 where a latent is a direction or an angle, as 'z' is"):
        log_marginal(program.model, program.guide, x, Importance(10, proposal_scale=1.2))
    assert log_marginal(program.model, program.guide, x, Importance(10, prior_share=0.5)).log_prob.isfinite().all()


def test_masked_latents_are_not_widened():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    mask = torch.tensor([True, False, True])
    guide = pyro.poutine.mask(oracle.guide, mask)
    model = pyro.poutine.mask(oracle.model, mask)
    with pytest.raises(InputError, match="proposal_scale must be 1 where a latent is masked"):
        log_marginal(model, guide, oracle.simulate(3), Importance(10, proposal_scale=1.2))
    ml = log_marginal(model, guide, oracle.simulate(3), Importance(10, prior_share=0.5))
    assert ml.log_prob[1].abs() < 1e-6


@pytest.mark.slow
def test_no_more_latents_at_a_time_than_asked_for():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    most = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            most.append(z.shape[:-1].numel())
            pyro.sample("x", dist.Normal(z @ oracle.W.T + oracle.b, 1.0).to_event(1), obs=x)

    log_marginal(
        model, oracle.guide, oracle.simulate(5), Importance(400, proposal_scale=1.2, prior_share=0.2), chunk_size=50
    )
    assert max(most) <= 50
    most.clear()
    path = Annealed(3, num_chains=20, start="prior")
    log_marginal(model, oracle.guide, oracle.simulate(40), path, chunk_size=1000)
    assert max(most) <= 64 * 40  # the start's spread
    assert sorted(most)[-2] <= 1000
