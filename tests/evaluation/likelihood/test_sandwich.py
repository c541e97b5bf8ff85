"""The sandwich holds the exact value, and its chains do not know how the data were made."""

import dataclasses
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import PROGRAMS, GammaPoisson, batch_of, exact
from linear_gaussian import SIZES, LinearGaussian

from pyrovae import (
    VAE,
    Annealed,
    Bernoulli,
    ConditionalVAE,
    FlowPosterior,
    HierarchicalVAE,
    Importance,
    InputError,
    StandardNormal,
    log_marginal,
    sandwich,
    simulate,
)
from pyrovae.evaluation.likelihood.annealed_chains import AnnealingPath, anneal, tune_step_sizes
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.flows import Planar


def sandwiched(oracle, like, estimator, **options):
    bounds = sandwich(oracle.model, oracle.guide, like, estimator, **options)
    exact = oracle.log_prob(bounds.estimate.x)
    return bounds, (bounds.lower - exact), (bounds.upper - exact)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("latent_dim", [2, 50])
def test_the_exact_value_lies_between(latent_dim, start):
    N = SIZES[latent_dim]
    oracle = LinearGaussian(latent_dim, N, guide="mean-field", shift=1.0, widening=0.7)
    estimator = Annealed(30 if latent_dim == 2 else 100, num_chains=8, start=start)
    bounds, below, above = sandwiched(oracle, torch.zeros(1, N).double(), estimator, num_simulated=60)
    for off, sign in ((below, -1), (above, 1)):
        assert sign * off.mean().item() > -3 * off.std().item() / 60**0.5
    assert bounds.gap == pytest.approx((above - below).mean().item())
    if latent_dim == 50:
        assert bounds.gap > 3 * bounds.gap_error  # a short path leaves a gap


@pytest.mark.slow
def test_the_gap_closes_with_more_temperatures():
    oracle = LinearGaussian(50, 100, guide="mean-field", shift=1.0)
    gaps = [sandwiched(oracle, torch.zeros(1, 100).double(), Annealed(T), num_simulated=15)[0].gap for T in (10, 150)]
    assert gaps[0] > 1
    assert gaps[1] < 0.6


@pytest.mark.slow
def test_importance_sampling_can_be_judged_too():
    oracle = LinearGaussian(50, 100, guide="mean-field", shift=1.0)
    like = torch.zeros(1, 100).double()
    bounds, below, above = sandwiched(oracle, like, Importance(200), num_simulated=30, reverse=Annealed(200))
    assert below.mean().item() < -3
    assert abs(above.mean().item()) < 0.3
    assert bounds.gap > 3
    assert "too large by at most" in bounds.sentence


@pytest.mark.slow
def test_constrained_latents():
    import pyro.distributions as dist

    for guide in (lambda x: dist.Gamma(x + 1.0, 1.5), lambda x: dist.LogNormal(torch.zeros_like(x), 1.0)):
        program = GammaPoisson(guide)
        _, below, above = sandwiched(program, torch.zeros(1, 1).double(), Annealed(50), num_simulated=100)
        assert abs(below.mean().item()) < 0.1
        assert abs(above.mean().item()) < 0.1


@pytest.mark.slow
def test_chains_never_see_the_generator_of_the_data(monkeypatch):
    """No number that a chain draws is one that the data are made of, whatever the seed."""
    oracle = LinearGaussian(10, 30, guide="mean-field")
    drawn = []
    draw = AnnealingTarget.draw

    def spy(self, k):
        u = draw(self, k)
        drawn.append(u.flatten())
        return u

    monkeypatch.setattr(AnnealingTarget, "draw", spy)
    torch.manual_seed(3)
    bounds = sandwich(oracle.model, oracle.guide, torch.zeros(1, 30).double(), Annealed(20), num_simulated=20)
    torch.manual_seed(3)
    seed = int(torch.randint(2**62, ()))
    torch.manual_seed(seed)
    latents, (x,) = simulate(oracle.model, 20, torch.zeros(1, 30).double())
    assert torch.equal(x, bounds.estimate.x)  # these are the latents of the data
    noise = torch.cat((latents["z"].flatten(), (x - latents["z"] @ oracle.W.T - oracle.b).flatten()))
    chains = torch.cat(drawn)
    assert len(chains) >= 20 * 10 * 8
    assert (torch.cdist(chains[:, None], noise[:, None]).min() > 0).item()


@pytest.mark.slow
def test_simulated_data_leave_the_generator_alone_but_for_one_number(monkeypatch):
    oracle = LinearGaussian(2, 4)
    states = []

    def spy(*arguments, **options):
        states.append(torch.get_rng_state())
        return log_marginal(*arguments, **options)

    monkeypatch.setattr("pyrovae.evaluation.likelihood.sandwich.log_marginal", spy)
    torch.manual_seed(0)
    sandwich(oracle.model, oracle.guide, torch.zeros(1, 4).double(), Annealed(5), num_simulated=5)
    torch.manual_seed(0)
    torch.randint(2**62, ())
    assert torch.equal(states[0], torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", ["mean field", "two layers", "gamma", "folded", "low rank, of another site"])
def test_chains_back_have_reciprocals_of_mean_one_over_p(name, start):
    program = PROGRAMS[name]()
    latents, (x,) = simulate(program.model, 2000, batch_of(program)[:1])
    programs = BatchedPrograms(program.model, program.guide, (x,), must_cover=start == "guide")
    target, path = AnnealingTarget(programs, start), AnnealingPath(8, start=start)
    with target.running():
        steps, _, _ = tune_step_sizes(target, path)
        u = target.coordinates_of({site: z[None].expand(2, *z.shape) for site, z in latents.items()})
        back = anneal(target, path, steps, u, reverse=True).log_weight
    ratio = (exact(program, x) - back).exp().mean(0)  # E[p / w] = 1
    assert abs(ratio.mean().item() - 1) < 4.5 * ratio.std().item() / 2000**0.5 + 0.003


def weighing_other_data():
    def tripled(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=3 * x)

    def with_factor(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.factor("f", -z.square().sum(-1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def given_its_total(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + x.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    return {
        "tripled": (tripled, "observe each entry of x once, as it is"),
        "factor": (with_factor, "observe nothing but x that depends on the latents"),
        "total": (given_its_total, "distributions that do not depend on x"),
    }


@pytest.mark.parametrize("name", weighing_other_data())
def test_a_model_that_weighs_other_data_than_it_makes_is_refused(name):
    model, message = weighing_other_data()[name]

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0).to_event(1))

    with pytest.raises(InputError, match=message):
        sandwich(model, guide, torch.zeros(1, 2), Annealed(3), num_simulated=5)


def test_an_upper_bound_below_the_lower_one_is_told():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    bounds = sandwich(oracle.model, oracle.guide, torch.zeros(1, 4).double(), Annealed(5), num_simulated=9)
    impossible = dataclasses.replace(bounds, upper=bounds.lower - 1 - 0.01 * torch.arange(9))
    assert "too few for a conclusion" in impossible.sentence


@pytest.mark.slow
def test_labels_and_several_sites():
    program = ConditionalVAE((6,), 2, num_classes=3)
    like = torch.zeros(3, 6), torch.tensor([0, 1, 2])
    bounds = sandwich(program.model, program.guide, like, Annealed(5), num_simulated=7)
    assert bounds.upper.shape == (7,)
    program = HierarchicalVAE((6,), 2, dims=(3,))
    bounds = sandwich(program.model, program.guide, torch.zeros(1, 6), Annealed(20), num_simulated=40)
    assert abs(bounds.gap) < 0.1


@pytest.mark.slow
def test_a_flow_without_an_inverse_needs_the_prior():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), FlowPosterior((6,), 2, flow=Planar))
    with pytest.raises(InputError, match="start must be prior where the guide's flow has no inverse"):
        sandwich(vae.model, vae.guide, torch.zeros(1, 6), Annealed(5), num_simulated=5)
    bounds = sandwich(vae.model, vae.guide, torch.zeros(1, 6), Annealed(20, start="prior"), num_simulated=40)
    assert abs(bounds.gap) < 0.1


def test_summary_is_plain_numbers():
    oracle = LinearGaussian(2, 4, guide="mean-field")
    bounds = sandwich(oracle.model, oracle.guide, torch.zeros(1, 4).double(), Annealed(5), num_simulated=5)
    summary = bounds.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    one = dataclasses.replace(bounds, lower=bounds.lower[:1], upper=bounds.upper[:1])
    assert one.summary()["gap_error"] is None
    assert "nan" not in one.sentence


def test_bad_arguments_are_refused():
    oracle = LinearGaussian(2, 4)
    with pytest.raises(InputError, match="num_simulated must be"):
        sandwich(oracle.model, oracle.guide, torch.zeros(1, 4).double(), num_simulated=0)
