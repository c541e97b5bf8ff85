"""The posterior in coordinates: its integral is p(x), whatever map the start is, and its gradients are right."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import PROGRAMS, batch_of, exact, no_broadcasting
from linear_gaussian import LinearGaussian

from pyrovae import VAE, Bernoulli, DiagonalNormal, InputError, SemiSupervisedVAE, StandardNormal
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms


def target_of(model, guide, arguments, start="guide"):
    return AnnealingTarget(BatchedPrograms(model, guide, arguments, must_cover=start == "guide"), start)


@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_mean_weight_is_p_also_after_an_affine_change(name, start):
    program = PROGRAMS[name]()
    x = batch_of(program)
    target = target_of(program.model, program.guide, (x,), start)
    K, n = 40_000, target.num_coordinates
    with target.running():
        u = target.draw(K)
        plain = target.evaluate(u)
        b = torch.linspace(0.1, 0.2, n).double()
        moved = target.evaluate(0.1 + b.exp() * u)
    torch.testing.assert_close(target_log_start(target, u), plain.log_start)
    changed = moved.log_weight + moved.log_start - plain.log_start + b.sum()
    for log_weight in (plain.log_weight, changed):
        estimate = log_weight.logsumexp(0) - math.log(K)
        error = (2 * log_weight).logsumexp(0).exp() / log_weight.logsumexp(0).exp().square() - 1 / K
        assert ((estimate - exact(program, x)).abs() < 5 * error.clamp(min=0).sqrt() + 1e-6).all()


def target_log_start(target, u):
    with target.running():
        return target.log_start(u)


@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_those_of_differences(name, start):
    program = PROGRAMS[name]()
    x = batch_of(program)
    target = target_of(program.model, program.guide, (x,), start)
    with target.running():
        u = 0.3 * target.draw(4)
        point, grad_weight, grad_start = target.gradients(u)
        direction = torch.randn_like(u)
        ahead, behind = target.evaluate(u + 1e-6 * direction), target.evaluate(u - 1e-6 * direction)
    assert not point.log_weight.requires_grad
    for field, gradient in (("log_weight", grad_weight), ("log_start", grad_start)):
        slope = (getattr(ahead, field) - getattr(behind, field)) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(-1), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_latents_have_the_coordinates_that_they_came_from(name, start):
    program = PROGRAMS[name]()
    target = target_of(program.model, program.guide, (batch_of(program),), start)
    with target.running():
        u = target.draw(5)
        torch.testing.assert_close(target.coordinates_of(target.evaluate(u).latents), u)


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_data_are_repeated_for_a_program_that_does_not_broadcast(start):
    oracle = LinearGaussian(2, 4, guide="mean-field")
    x = oracle.simulate(3)
    whole = target_of(oracle.model, oracle.guide, (x,), start)
    parts = target_of(no_broadcasting(oracle), oracle.guide, (x,), start)
    assert whole.programs.broadcasts
    assert not parts.programs.broadcasts
    with whole.running():
        u = whole.draw(7)
        expected = whole.gradients(u)
    with parts.running():
        assert parts.draw(7).shape == u.shape
        found = parts.gradients(u)
        torch.testing.assert_close(parts.coordinates_of(found[0].latents), u)
    for a, b in zip([*expected[0][:3], *expected[1:]], [*found[0][:3], *found[1:]], strict=True):
        torch.testing.assert_close(a, b)


def test_parameters_are_constants_while_a_target_runs_and_learn_again_after():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))
    vae.posterior.network.layers[0].bias.requires_grad_(False)
    before = [part.requires_grad for part in vae.parameters()]
    target = target_of(vae.model, vae.guide, (torch.ones(3, 6),))
    with target.running():
        assert not any(part.requires_grad for part in vae.parameters())
        assert target.gradients(target.draw(4))[1].abs().sum() > 0
    assert [part.requires_grad for part in vae.parameters()] == before
    with pytest.raises(ZeroDivisionError), target.running():
        raise ZeroDivisionError
    assert [part.requires_grad for part in vae.parameters()] == before


def test_a_guide_of_one_site_encodes_once():
    oracle = LinearGaussian(2, 4)
    calls = []

    def guide(x):
        calls.append(len(x))
        return oracle.guide(x)

    target = target_of(oracle.model, guide, (oracle.simulate(3),))
    before = len(calls)
    with target.running():
        target.gradients(target.draw(5))
    assert len(calls) == before


def test_discrete_latents_are_refused():
    program = SemiSupervisedVAE((6,), 2, num_classes=3)
    with pytest.raises(InputError, match="but 'y' is discrete"):
        target_of(program.model, program.guide, (torch.ones(2, 6),))


def test_masked_data_stay_at_weight_one():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2), DiagonalNormal((6,), 2))
    mask = torch.tensor([True, False])
    target = target_of(pyro.poutine.mask(vae.model, mask), pyro.poutine.mask(vae.guide, mask), (torch.ones(2, 6),))
    with target.running():
        point = target.evaluate(target.draw(3))
    assert (point.log_weight[:, 1] == 0).all()
    assert (point.log_weight[:, 0] != 0).all()


def test_an_unknown_start_is_refused():
    oracle = LinearGaussian(2, 4)
    with pytest.raises(InputError, match="start must be"):
        target_of(oracle.model, oracle.guide, (oracle.simulate(3),), "posterior")


def test_a_likelihood_that_ignores_the_latents_has_no_gradient():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    target = target_of(model, model_of_z, (torch.zeros(3, 2),), "prior")
    with target.running():
        _, grad_weight, grad_start = target.gradients(target.draw(4))
    assert (grad_weight == 0).all()
    assert (grad_start != 0).any()


def model_of_z(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
