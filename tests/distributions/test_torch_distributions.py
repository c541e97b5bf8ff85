"""Distributions of torch as distributions of Pyro, and distributions of a flattened batch."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import distributions as of_torch

from pyrovae.distributions import FlattenedBatch, to_pyro
from pyrovae.distributions.support_bounds import bounds_of

ONE, MANY = torch.full((3, 4), 0.7), (2 * torch.eye(4) + 0.3).expand(3, 4, 4)


class Shifted(of_torch.Normal):
    """A user's own class."""

    def log_prob(self, value):
        return super().log_prob(value) - 1


GIVEN = [
    of_torch.Normal(ONE, 0.5),
    of_torch.Bernoulli(logits=ONE),
    of_torch.Bernoulli(ONE),
    of_torch.Beta(ONE, 2 * ONE),
    of_torch.Categorical(logits=ONE),
    of_torch.OneHotCategorical(logits=ONE),
    of_torch.ContinuousBernoulli(ONE),
    of_torch.Dirichlet(ONE),
    of_torch.Gamma(ONE, ONE),
    of_torch.Laplace(ONE, ONE),
    of_torch.LogNormal(ONE, ONE),
    of_torch.LowRankMultivariateNormal(ONE, MANY[..., :2], ONE),
    of_torch.MultivariateNormal(ONE, MANY),
    of_torch.NegativeBinomial(5 * ONE, ONE),
    of_torch.Poisson(ONE),
    of_torch.StudentT(5 * ONE),
    of_torch.Uniform(-ONE, ONE),
    of_torch.VonMises(ONE, ONE),
    of_torch.Independent(of_torch.Normal(ONE, 0.5), 1),
    of_torch.TransformedDistribution(of_torch.Normal(ONE, 0.5), [of_torch.SigmoidTransform()]),
    of_torch.MixtureSameFamily(of_torch.Categorical(logits=ONE), of_torch.Normal(ONE, 0.5)),
    Shifted(ONE, 0.5),
]


@pytest.mark.parametrize("fn", GIVEN, ids=lambda fn: type(fn).__name__)
def test_one_of_torch_is_the_same_one_of_pyro(fn):
    same = to_pyro(fn)
    assert isinstance(same, TorchDistributionMixin)
    assert (same.batch_shape, same.event_shape) == (fn.batch_shape, fn.event_shape)
    torch.manual_seed(1)
    expected = fn.sample((5,))
    torch.manual_seed(1)
    value = same.sample((5,))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(same.log_prob(value), fn.log_prob(value))
    assert same.has_rsample == fn.has_rsample
    assert same.to_event(len(fn.batch_shape)).log_prob(value).shape == (5,)
    assert same.expand((2, *fn.batch_shape)).sample().shape == (2, *expected.shape[1:])


def test_the_bounds_of_a_known_one_are_known():
    assert bounds_of(to_pyro(of_torch.Independent(of_torch.Gamma(ONE, ONE), 1))) == bounds_of(dist.Gamma(ONE, ONE))
    uniform = bounds_of(to_pyro(of_torch.Uniform(-ONE, ONE)))
    torch.testing.assert_close((uniform.lower, uniform.upper), (-ONE, ONE))


def test_large_counts_keep_their_digits():
    rate = torch.full((50,), 1e6)
    exact = torch.distributions.Poisson(rate.double()).log_prob(rate.double()).sum().item()
    assert to_pyro(of_torch.Poisson(rate)).log_prob(rate).double().sum().item() == pytest.approx(exact, abs=1e-3)
    assert abs(of_torch.Poisson(rate).log_prob(rate).sum().item() - exact) > 1


def test_a_rate_of_zero_makes_no_count_but_zero():
    fn = to_pyro(of_torch.Poisson(torch.zeros(2)))
    assert fn.log_prob(torch.tensor([0.0, 1.0])).tolist() == [0.0, -math.inf]


def test_a_flattened_batch_is_the_batch_itself():
    loc = torch.randn(2, 3, 4)
    flat, whole = (
        FlattenedBatch(dist.Normal(loc.flatten(0, 1), 0.5).to_event(1), (2, 3)),
        dist.Normal(loc, 0.5).to_event(1),
    )
    for x in (torch.randn(4), torch.randn(3, 4), torch.randn(2, 3, 4), torch.randn(5, 2, 3, 4)):
        torch.testing.assert_close(flat.log_prob(x), whole.log_prob(x))
        torch.testing.assert_close(flat.expand((5, 2, 3)).log_prob(x), whole.expand((5, 2, 3)).log_prob(x))
    torch.testing.assert_close((flat.mean, flat.variance), (whole.mean, whole.variance))
    torch.manual_seed(1)
    drawn = flat.sample((5,))
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, whole.sample((5,)))
    assert flat.expand((2, 3)) is flat
