"""Densities and draws by logarithms: those of the value where it can be told, and exact where it cannot."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import AffineTransform, ExpTransform, PowerTransform, SigmoidTransform
from torch.distributions.transforms import StickBreakingTransform

from pyrovae.distributions.exact_density import apply_last_transform, draw, invert_last_transform, log_density
from pyrovae.distributions.log_coordinates import (
    Interval,
    Simplex,
    log_space_of,
    logs_of,
    map_with_logs,
    stack_with_logs,
)

A, B = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.0, 3.0]).double()


def changed(fn, *transforms):
    return dist.TransformedDistribution(fn, list(transforms))


FAMILIES = {
    "gamma": lambda: dist.Gamma(A, B),
    "exponential": lambda: dist.Exponential(B),
    "inverse gamma": lambda: dist.InverseGamma(A, B),
    "weibull": lambda: dist.Weibull(B, A),
    "shifted gamma": lambda: changed(dist.Gamma(A, B), AffineTransform(1.5, 2.0)),
    "gamma from above": lambda: changed(dist.Gamma(A, B), AffineTransform(1.5, -2.0)),
    "power of a gamma": lambda: changed(dist.Gamma(A, B), PowerTransform(torch.tensor(1.5).double())),
    "beta": lambda: dist.Beta(A, B),
    "stretched beta": lambda: dist.AffineBeta(A, B, -A, B),
    "beta turned round": lambda: changed(dist.Beta(A, B), AffineTransform(1.0, -2.0)),
    "kumaraswamy": lambda: dist.Kumaraswamy(A, B),
    "log-normal": lambda: dist.LogNormal(A, B),
    "logit-normal": lambda: changed(dist.Normal(A, 0.5), SigmoidTransform()),
    "log-normals of one event": lambda: changed(dist.Normal(A, B).to_event(1), ExpTransform()),
    "logit-normals of one event": lambda: changed(dist.MultivariateNormal(A, torch.diag(B)), SigmoidTransform()),
    "shifted gammas of one event": lambda: changed(dist.Gamma(A, B).to_event(1), AffineTransform(A, B)),
    "inverse gammas of one event": lambda: changed(
        dist.Gamma(A, B).to_event(1), PowerTransform(torch.tensor(-1.0).double())
    ),
    "relaxed coin": lambda: dist.RelaxedBernoulli(torch.tensor(0.7).double(), logits=A),
    "relaxed classes": lambda: dist.RelaxedOneHotCategorical(torch.tensor(0.7).double(), logits=torch.stack((A, B))),
    "dirichlet": lambda: dist.Dirichlet(torch.stack((A, B))),
    "stick-breaking": lambda: changed(dist.Normal(torch.stack((A, B)), 1.0).to_event(1), StickBreakingTransform()),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_and_densities_are_those_of_torch(name):
    fn = FAMILIES[name]()
    fn = fn.expand((20_000, *fn.batch_shape))
    z, reference = draw(fn), fn.sample()
    logs = logs_of(z, log_space_of(fn))
    assert logs is not None
    torch.testing.assert_close(log_density(fn, z), fn.log_prob(z), rtol=1e-5, atol=1e-5)
    plain = z.clone()
    assert logs_of(plain, log_space_of(fn)) is None
    torch.testing.assert_close(log_space_of(fn).logs(plain), logs, rtol=1e-4, atol=1e-4)
    for q in (0.1, 0.5, 0.9):
        below = (z <= reference.quantile(q, 0)).double().mean(0)
        torch.testing.assert_close(below, torch.full_like(below, q), rtol=0, atol=0.02)


def test_the_logarithm_of_a_gamma_has_its_exact_distribution():
    """Log z of Gamma(a, 1) has the mean digamma(a) and the variance trigamma(a), however small a is."""
    for a in (0.003, 0.01, 0.3, 1.0, 20.0):
        fn = dist.Gamma(torch.full((100_000,), a), 1.0)
        logs = logs_of(draw(fn), log_space_of(fn)).double()
        exact = torch.tensor(a).double()
        spread = torch.special.polygamma(1, exact).sqrt().item()
        assert logs.mean().item() == pytest.approx(exact.digamma().item(), abs=5 * spread / 100_000**0.5)
        assert logs.std().item() == pytest.approx(spread, rel=0.03)


def test_a_density_is_told_where_the_value_is_rounded_away():
    logs = torch.tensor([-500.0])
    fn = dist.Gamma(torch.tensor([0.01]), 1.0)
    z = log_space_of(fn).value(logs)
    expected = -0.99 * -500 - math.lgamma(0.01)
    assert log_density(fn, z).item() == pytest.approx(expected, rel=1e-6)
    wide = dist.LogNormal(torch.tensor([-450.0]), 60.0)
    assert log_density(wide, z).item() == pytest.approx(dist.Normal(-450.0, 60.0).log_prob(logs).item() + 500, rel=1e-6)
    nearly_one = log_space_of(dist.Beta(0.5, 0.5)).value(torch.tensor([200.0]))
    beta = dist.Beta(torch.tensor([2.0]), torch.tensor([0.01]))
    assert log_density(beta, nearly_one).item() == pytest.approx(0.99 * 200 + math.log(0.01 * 1.01), rel=1e-5)


def test_a_kumaraswamy_whose_values_are_rounded_to_one():
    """1 - z^a is a uniform number to the power of 1 / b, so that its logarithm has the mean -1 / b."""
    a, b = torch.full((100_000,), 0.5).double(), torch.full((100_000,), 0.002).double()
    fn = dist.Kumaraswamy(a, b)
    z = draw(fn)
    logit = logs_of(z, log_space_of(fn))
    assert (z > 1 - 1e-15).double().mean() > 0.9
    rest = torch.where(logit > 30, -logit + a.log(), (-torch.expm1(a * nn.functional.logsigmoid(logit))).log())
    assert rest.mean().item() == pytest.approx(-500, abs=5 * 500 / 100_000**0.5)
    expected = a.log() + b.log() + (a - 1) * nn.functional.logsigmoid(logit) + (b - 1) * rest
    torch.testing.assert_close(log_density(fn, z), expected)


def test_what_lies_outside_or_is_rounded_to_an_infinite_density_has_none():
    fn = dist.Exponential(torch.ones(2), validate_args=False)
    assert log_density(fn, torch.tensor([-1.0, 1.0])).tolist() == [-math.inf, -1.0]
    assert log_density(dist.Gamma(torch.tensor([0.5]), 1.0), torch.zeros(1)).item() == -math.inf
    fn = dist.Gamma(torch.ones(2, 3), 1.0, validate_args=False).to_event(1).mask(torch.tensor([True, False]))
    assert log_density(fn, -torch.ones(2, 3)).tolist() == [-math.inf, 0.0]
    assert log_density(dist.VonMises(torch.zeros(2), 1.0), torch.tensor([3.0, 4.0])).isfinite().tolist() == [
        True,
        False,
    ]


def test_gradients_reach_what_was_rounded():
    u = torch.tensor([-300.0], requires_grad=True)
    fn = dist.Gamma(torch.tensor([0.01]), 1.0)
    log_density(fn, Interval(0.0, math.inf, "lower").value(u)).sum().backward()
    assert u.grad.item() == pytest.approx(0.01 - 1)


@pytest.mark.parametrize("name", ["log-normal", "logit-normal", "stick-breaking"])
def test_the_last_transform_there_and_back(name):
    fn = FAMILIES[name]()
    before = 50 * torch.randn(7, 2).double()
    z = apply_last_transform(fn, before)
    assert (z > 0).all()
    torch.testing.assert_close(invert_last_transform(fn, z), before)
    assert apply_last_transform(changed(dist.Uniform(A, B + 3), SigmoidTransform()), before) is None


@pytest.mark.parametrize("concentration", [0.8, 2.0])
def test_every_correlation_of_an_lkj_has_one_distribution(concentration):
    """2 Beta(a, a) - 1 with a = concentration + (D - 2) / 2 (Lewandowski et al., 2009)."""
    D = 4
    factors = draw(dist.LKJCholesky(D, torch.full((50_000,), concentration)))
    variances = (factors @ factors.mT).var(0)[torch.tril_indices(D, D, -1).unbind()]
    expected = 1 / (2 * concentration + D - 1)
    torch.testing.assert_close(variances, torch.full_like(variances, expected), rtol=0.04, atol=0)
    matrices = draw(dist.LKJ(3, torch.full((50_000,), concentration)))
    assert matrices[:, 2, 1].var().item() == pytest.approx(1 / (2 * concentration + 2), rel=0.04)


def test_simplex_coordinates_there_and_back():
    u = 100 * torch.randn(20, 4).double()
    logs = Simplex().logs_at(u)
    torch.testing.assert_close(logs.logsumexp(-1), torch.zeros(20).double())
    torch.testing.assert_close(Simplex().coordinates(logs), u)
    u = torch.randn(4).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: Simplex().logs_at(v).exp()[:-1], u)
    torch.testing.assert_close(Simplex().volume(u), jacobian.slogdet()[1])


def test_memories_follow_shapes_and_do_not_cross_spaces():
    fn = dist.Gamma(torch.full((3,), 0.01), 1.0)
    z = draw(fn)
    logs = logs_of(z, log_space_of(fn))
    assert torch.equal(logs_of(map_with_logs(lambda v: v[None, [2, 0]], z), log_space_of(fn)), logs[None, [2, 0]])
    both = stack_with_logs([z, draw(fn)])
    assert torch.equal(logs_of(both, log_space_of(fn))[0], logs)
    assert logs_of(stack_with_logs([z, z.clone()]), log_space_of(fn)) is None
    assert logs_of(z, log_space_of(dist.Beta(1.0, 1.0))) is None
    assert logs_of(z, log_space_of(dist.Pareto(1.0, 1.0))) is None
