"""The set on which a distribution has a density, for any name of its support."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import AffineTransform, ComposeTransform, ExpTransform, SigmoidTransform
from torch.distributions.transforms import StickBreakingTransform

from pyrovae.distributions.support_bounds import bounds_of, in_support, is_truncated, support_kind


def made(fn, *transforms):
    return dist.TransformedDistribution(fn, list(transforms))


def unit():
    return dist.Uniform(torch.tensor(0.0), 1.0)


INTERVALS = {
    "normal": (lambda: dist.Normal(0.0, 1.0), -math.inf, math.inf),
    "exponential": (lambda: dist.Exponential(1.0), 0, math.inf),
    "several": (lambda: dist.Gamma(torch.ones(3, 2), 1.0).to_event(1), 0, math.inf),
    "uniform": (lambda: dist.Uniform(torch.tensor(-1.0), 2.0), -1, 2),
    "expanded": (lambda: dist.Uniform(torch.tensor(-1.0), 2.0).expand((3,)), -1, 2),
    "log-normal": (lambda: dist.LogNormal(0.0, 1.0), 0, math.inf),
    "pareto": (lambda: dist.Pareto(torch.tensor(2.0), 1.0), 2, math.inf),
    "gumbel, made of a uniform": (lambda: dist.Gumbel(0.0, 1.0), -math.inf, math.inf),
    "half of a uniform": (lambda: made(unit(), AffineTransform(0.0, 0.5)), 0, 0.5),
    "turned round": (lambda: made(unit(), AffineTransform(1.0, -3.0)), -2, 1),
    "several steps": (
        lambda: made(unit(), ComposeTransform([AffineTransform(0.0, 2.0), ExpTransform()])),
        1,
        math.e**2,
    ),
    "sigmoid of a half-line": (lambda: made(dist.Exponential(1.0), SigmoidTransform()), 0.5, 1),
    "angle": (lambda: dist.VonMises(0.0, 1.0), -math.pi, math.pi),
    "mixture": (lambda: dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Beta(torch.ones(2), 1.0)), 0, 1),
    "classes": (lambda: dist.Categorical(torch.ones(4)), 0, 3),
    "coin": (lambda: dist.Bernoulli(0.5), 0, 1),
    "counts": (lambda: dist.Poisson(1.0), 0, math.inf),
    "counts of a total": (lambda: dist.Binomial(7, 0.5), 0, 7),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_bounds_are_those_of_samples(name):
    make, lower, upper = INTERVALS[name]
    bounds = bounds_of(make())
    assert bounds[:2] == pytest.approx((lower, upper))
    assert bounds.discrete == (name in ("classes", "coin", "counts", "counts of a total"))
    samples = make().sample((1000,))
    assert in_support(make(), samples, 1e-6).all()
    for bound, by in ((lower, -1), (upper, 1)):
        if math.isfinite(bound):
            assert not in_support(make(), torch.full_like(samples, bound + by)).any()
    if bounds.discrete:
        assert not in_support(make(), samples.double() + 0.5).any()


def test_bounds_of_each_datum():
    low = torch.tensor([0.0, -1.0])
    bounds = bounds_of(dist.Uniform(low, low + 2))
    assert torch.equal(bounds.lower, low)
    assert in_support(dist.Uniform(low, low + 2), torch.tensor([[1.5, 1.5]])).tolist() == [[True, False]]


def test_what_a_transform_of_several_numbers_cuts_is_found_by_its_inverse():
    cut = made(dist.Uniform(torch.zeros(2), 1.0).to_event(1), StickBreakingTransform())
    whole = dist.Dirichlet(torch.ones(3))
    assert is_truncated(cut)
    assert not is_truncated(made(dist.Normal(torch.zeros(2), 1.0).to_event(1), StickBreakingTransform()))
    assert in_support(cut, cut.sample((500,))).all()
    share = in_support(cut, whole.sample((4000,))).double().mean()
    x = StickBreakingTransform().inv(whole.sample((4000,)))
    assert share.item() == pytest.approx(((x > 0) & (x < 1)).all(-1).double().mean().item(), abs=0.04)


def test_components_of_a_mixture_cover_together():
    fn = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Uniform(torch.tensor([-2.0, 1.0]), torch.tensor([-1.0, 2.0]))
    )
    assert bounds_of(fn) is None
    assert in_support(fn, torch.tensor([-1.5, 0.0, 1.5])).tolist() == [True, False, True]


def test_what_is_masked_is_anywhere():
    fn = dist.Exponential(torch.ones(2)).mask(torch.tensor([True, False]))
    assert in_support(fn, -torch.ones(2)).tolist() == [False, True]


def test_kinds():
    assert (
        support_kind(dist.Normal(0.0, 1.0))
        == support_kind(dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        == "real"
    )
    assert support_kind(dist.Bernoulli(0.5)) == support_kind(dist.Categorical(torch.ones(2))) == "discrete"
    assert support_kind(dist.OneHotCategorical(torch.ones(2))) == "one_hot"
    assert support_kind(made(dist.Normal(torch.zeros(2), 1.0).to_event(1), StickBreakingTransform())) == "simplex"
    assert support_kind(dist.LKJCholesky(2)) == "corr_cholesky"
