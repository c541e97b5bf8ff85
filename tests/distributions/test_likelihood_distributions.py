"""The distributions that likelihoods are made of, against sums, integrals and closed forms."""

import math
from itertools import product

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, stats

from pyrovae.distributions import (
    ContinuousBernoulli,
    Counts,
    GivenTotal,
    Levels,
    OptimalNormal,
    QuantizedCategorical,
    QuantizedLogistic,
    QuantizedLogisticMixture,
    UnitBernoulli,
)

LOGITS = [-1e4, -300.0, -20.0, -0.51, -0.49, -1e-3, 0.0, 1e-6, 0.004, 0.49, 0.51, 3.0, 20.0, 300.0, 1e4]


def grid(levels, dtype=torch.float32):
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def mixture(*, K=3, C=3, P=1, levels=4, data_shape=None, scale=0.3):
    draw = torch.Generator().manual_seed(1)
    logits, loc, width, slopes = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((K, P), (K, C, P), (K, C, P), (K, C * (C - 1) // 2, P))
    )
    shape = (C, P) if data_shape is None else data_shape
    return QuantizedLogisticMixture(logits, 0.5 + loc / 3, scale * width.exp(), slopes, shape, levels)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one_and_has_its_mean(logit):
    fn = ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64))

    def density(x):
        return fn.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    near = min(1.0, 50 / max(abs(logit), 1e-9))  # where all the mass is
    ends = (1 - near, 1.0) if logit > 0 else (0.0, near)
    assert integrate.quad(density, *ends)[0] == pytest.approx(1, abs=1e-9)
    assert integrate.quad(lambda x: x * density(x), *ends)[0] == pytest.approx(fn.mean.item(), abs=1e-9)


def test_continuous_bernoulli_is_sound_in_single_precision():
    logits = torch.tensor(LOGITS, requires_grad=True)
    exact = ContinuousBernoulli(logits.detach().double())
    for x in (0.0, 0.3, 1.0):
        log_prob = ContinuousBernoulli(logits).log_prob(torch.tensor(x))
        torch.testing.assert_close(log_prob.double(), exact.log_prob(torch.tensor(x)), rtol=1e-6, atol=1e-6)
        (grad,) = torch.autograd.grad(log_prob.sum(), logits)
        torch.testing.assert_close(grad.double(), x - exact.mean, rtol=0, atol=1e-6)  # as of any exponential family
    torch.testing.assert_close(ContinuousBernoulli(logits).mean.double(), exact.mean, rtol=0, atol=1e-6)


def test_continuous_bernoulli_is_pyros_where_that_is_sound():
    logits, x = torch.tensor([-5.0, -1.0, 1.0, 5.0]), torch.rand(10, 4)
    theirs = dist.ContinuousBernoulli(logits=logits)
    torch.testing.assert_close(ContinuousBernoulli(logits).log_prob(x), theirs.log_prob(x), rtol=1e-4, atol=1e-4)


def test_continuous_bernoulli_samples_have_its_distribution():
    for logit in (-1e4, -3.0, 0.0, 1e-7, 2.0, 40.0):
        x = ContinuousBernoulli(torch.tensor(logit)).sample((5000,)).double()
        assert x.min() >= 0
        assert x.max() <= 1
        if logit < 0:
            exact = stats.truncexpon(b=-logit, scale=-1 / logit).cdf
        elif logit > 1e-3:
            x, exact = 1 - x, stats.truncexpon(b=logit, scale=1 / logit).cdf
        else:
            exact = stats.uniform().cdf
        assert stats.kstest(x.numpy(), exact).pvalue > 1e-3, logit


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_quantised_logistic_sums_to_one(levels):
    draw = torch.Generator().manual_seed(levels)
    loc = torch.cat((torch.rand(50, generator=draw), torch.tensor([-50.0, -1.0, 0.0, 0.5, 1.0, 2.0, 50.0])))[:, None]
    scale = torch.tensor([1e-6, 1e-4, 1e-3, 0.01, 0.1, 1.0, 1e3, 1e6])
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        fn = QuantizedLogistic(loc.to(dtype), scale.to(dtype), levels)
        total = fn.log_prob(grid(levels, dtype)[:, None, None]).logsumexp(0)
        torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=tolerance)


def test_quantised_logistic_is_the_mass_between_the_borders():
    levels = 17
    x, h = np.arange(levels)[:, None, None] / (levels - 1), 0.5 / (levels - 1)
    loc, scale = np.linspace(-0.5, 1.5, 9)[:, None], np.array([0.01, 0.05, 0.3, 2.0])
    above = np.where(x == 1, 1.0, stats.logistic.cdf(x + h, loc, scale))
    expected = above - np.where(x == 0, 0.0, stats.logistic.cdf(x - h, loc, scale))
    fn = QuantizedLogistic(torch.from_numpy(loc), torch.from_numpy(scale), levels)
    torch.testing.assert_close(fn.log_prob(torch.from_numpy(x)).exp(), torch.from_numpy(expected))


def test_quantised_logistic_is_finite_in_the_tails():
    loc = torch.tensor([-1e6, -30.0, 0.0, 0.5, 30.0, 1e6])[:, None].requires_grad_()
    scale = torch.tensor([1e-6, 1e-4, 0.1, 1e4]).requires_grad_()
    log_prob = QuantizedLogistic(loc, scale).log_prob(grid(256)[:, None, None])
    grads = torch.autograd.grad(log_prob.sum(), (loc, scale))
    assert all(tensor.isfinite().all() for tensor in (log_prob, *grads))


def test_quantised_logistic_draws_what_it_says():
    fn = QuantizedLogistic(torch.tensor([0.1, 0.5, 1.2], dtype=torch.float64), torch.tensor(0.2), levels=5)
    probs = fn.log_prob(grid(5, torch.float64)[:, None]).exp()
    torch.testing.assert_close(fn.mean, (grid(5, torch.float64)[:, None] * probs).sum(0))
    x = fn.sample((20_000,))
    counts = (x == grid(5, torch.float64)[:, None, None]).double().mean(1)
    torch.testing.assert_close(counts, probs, rtol=0, atol=0.015)


def test_quantised_categorical_is_a_categorical_on_the_levels():
    logits = torch.randn(3, 5)
    fn, index = QuantizedCategorical(logits), torch.randint(5, (7, 3))
    torch.testing.assert_close(fn.log_prob(index / 4), dist.Categorical(logits=logits).log_prob(index))
    torch.testing.assert_close(fn.mean, logits.softmax(-1) @ grid(5))
    assert Levels(5).check(fn.sample((100,))).all()
    torch.testing.assert_close(fn.sample((20_000,)).mean(0), fn.mean, rtol=0, atol=0.02)


@pytest.mark.parametrize(("channels", "levels"), [(1, 4), (2, 4), (3, 4)])
def test_mixture_sums_to_one_over_all_channels_together(channels, levels):
    for scale in (1e-4, 0.3, 100.0):
        fn = mixture(C=channels, levels=levels, scale=scale)
        x = torch.tensor(list(product(range(levels), repeat=channels)), dtype=torch.float64)[..., None] / (levels - 1)
        assert fn.log_prob(x).logsumexp(0).item() == pytest.approx(0, abs=1e-9)


def test_mixture_is_each_component_with_its_channels_moved():
    fn, x = mixture(P=2, levels=256), grid(256, torch.float64)[torch.tensor([[3, 250], [100, 7], [30, 128]])]
    expected = 0.0
    for p in range(2):
        weighted = []
        for k in range(3):
            r, g, _ = x[:, p] - 0.5
            a = fn.slopes[k, :, p]
            moves = torch.stack((torch.zeros(()), a[0] * r, a[1] * r + a[2] * g))
            loc, scale = fn.loc[k, :, p] + moves, fn.scale[k, :, p]
            weighted.append(fn.logits[:, p].log_softmax(0)[k] + QuantizedLogistic(loc, scale).log_prob(x[:, p]).sum())
        expected += torch.stack(weighted).logsumexp(0)
    torch.testing.assert_close(fn.log_prob(x), expected)


def test_mixture_draws_what_it_says():
    fn = mixture(levels=3)
    x = torch.tensor(list(product(range(3), repeat=3)), dtype=torch.float64)[..., None] / 2  # (27, 3, 1)
    probs = fn.log_prob(x).exp()
    drawn = fn.sample((20_000,))
    counts = (drawn == x[:, None]).all(-1).all(-1).double().mean(1)
    torch.testing.assert_close(counts, probs, rtol=0, atol=0.015)


def test_mean_of_a_mixture_is_exact_away_from_the_ends():
    one = mixture(C=1, levels=5)
    x = grid(5, torch.float64)[:, None, None]
    torch.testing.assert_close(one.mean, (x * one.log_prob(x).exp()[:, None, None]).sum(0))
    fn = QuantizedLogisticMixture(
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[[0.4], [0.5], [0.6]], [[0.6], [0.5], [0.3]]]),
        torch.full((2, 3, 1), 0.01),
        torch.tensor([[[0.8], [-0.5], [0.5]], [[0.3], [0.3], [1.0]]]),
        (3, 1),
    )
    torch.testing.assert_close(fn.sample((20_000,)).mean(0), fn.mean, rtol=0, atol=0.003)


def test_mixture_is_finite_at_extremes():
    loc = torch.tensor([-1e4, 0.3, 1e4])[:, None, None].expand(3, 3, 1).clone().requires_grad_()
    scale = torch.tensor([1e-4, 1e3, 1e-4])[:, None, None].expand(3, 3, 1).clone().requires_grad_()
    logits = torch.tensor([[0.0], [-1e4], [1e4]], requires_grad=True)
    fn = QuantizedLogisticMixture(logits, loc, scale, 1e3 * torch.ones(3, 3, 1), (3, 1))
    log_prob = fn.log_prob(torch.tensor([0.0, 1.0, 0.2])[:, None])
    grads = torch.autograd.grad(log_prob, (logits, loc, scale))
    assert all(tensor.isfinite().all() for tensor in (log_prob, *grads))


def test_optimal_normal_is_at_the_most_probable_scale():
    loc, x, seen = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5), []
    log_prob = OptimalNormal(loc, torch.tensor(3.0), seen.append).log_prob(x)
    sigma = (x - loc).square().mean().sqrt()
    assert log_prob.shape == (6, 5)
    torch.testing.assert_close(seen, [sigma.detach()])
    torch.testing.assert_close(log_prob, dist.Normal(loc, sigma).log_prob(x))
    for factor in (0.9, 1.1):
        assert log_prob.sum() > dist.Normal(loc, factor * sigma).log_prob(x).sum()
    (grad,) = torch.autograd.grad(log_prob.sum(), loc)
    (through,) = torch.autograd.grad(-0.5 * x.numel() * sigma.square().log(), loc)
    torch.testing.assert_close(grad, through)


def test_optimal_normal_is_the_normal_it_was_given_for_samples():
    fn = OptimalNormal(torch.ones(2), torch.tensor([1.0, 3.0]), lambda scale: None).expand((4, 2))
    assert isinstance(fn, OptimalNormal)
    torch.testing.assert_close(fn.stddev, torch.tensor([1.0, 3.0]).expand(4, 2))
    torch.testing.assert_close(fn.sample((20_000,)).std((0, 1)), torch.tensor([1.0, 3.0]), rtol=0.02, atol=0)


def test_given_total_multiplies_shares_by_each_datums_own_total():
    share = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    fn = GivenTotal(share.log(), torch.tensor(50.0), lambda log_rate: dist.Poisson(log_rate.exp()), 1)
    x = torch.tensor([[1.0, 0.0, 9.0], [200.0, 100.0, 0.0]])
    rate = share * x.sum(1, keepdim=True)
    torch.testing.assert_close(fn.log_prob(x), dist.Poisson(rate).log_prob(x).sum(1))
    torch.testing.assert_close(fn.mean, 50 * share)
    torch.testing.assert_close(fn.sample((10_000,)).mean(0), fn.mean, rtol=0, atol=0.4)
    # Of all totals, sum_n Poisson(n; n) has no end: what is given is no part of what is explained.
    two = torch.cartesian_prod(torch.arange(60.0), torch.arange(60.0))
    every = GivenTotal(torch.tensor([0.5, 0.5]).log(), torch.tensor(1.0), lambda r: dist.Poisson(r.clamp(-50).exp()), 1)
    of_total = {n: every.log_prob(two)[two.sum(1) == n].exp().sum().item() for n in (1, 10, 50)}
    assert of_total == pytest.approx({n: stats.poisson.pmf(n, n) for n in of_total}, rel=1e-4)


@pytest.mark.parametrize("levels", [2, 17, 256, 65_536])
def test_levels_are_recognised_after_scaling(levels):
    x = grid(levels)
    support = Levels(levels)
    assert support.check(x).all()
    assert not support.check(torch.tensor([-1 / (levels - 1), 1 + 1 / (levels - 1), math.nan, math.inf])).any()
    assert not support.check(x[:-1] + 0.3 / (levels - 1)).any()


def test_counts_are_integers_from_zero_on():
    x = torch.tensor([0.0, 3.0, 1e6, -1.0, 0.5, math.nan, math.inf])
    assert Counts().check(x).tolist() == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    "fn",
    [
        ContinuousBernoulli(torch.randn(3)),
        QuantizedLogistic(torch.rand(3), torch.rand(3), 5),
        QuantizedCategorical(torch.randn(3, 5)),
        mixture(data_shape=(1, 3), C=1, P=3),
        GivenTotal(torch.randn(3).log_softmax(-1), torch.tensor(9.0), lambda r: dist.Poisson(r.exp()), 1),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_expanding_repeats_and_validates(fn):
    wide = fn.expand((2, *fn.batch_shape[:0], *fn.batch_shape))
    assert isinstance(wide, type(fn))
    assert wide.batch_shape == (2, *fn.batch_shape)
    x = wide.sample()
    assert x.shape == (2, *fn.batch_shape, *fn.event_shape)
    torch.testing.assert_close(wide.log_prob(x), fn.log_prob(x))
    assert fn.sample((4,)).shape == (4, *fn.batch_shape, *fn.event_shape)
    strict = type(fn).expand(fn, fn.batch_shape)
    strict._validate_args = True
    with pytest.raises(ValueError, match="within the support"):
        strict.log_prob(x + 1.3)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((), (5,))])
def test_gradients_of_grey_coins(shapes):
    torch.manual_seed(0)
    value = torch.rand(shapes[0], dtype=torch.float64, requires_grad=True)
    logits = (3 * torch.randn(shapes[1], dtype=torch.float64)).requires_grad_()

    def log_prob(value, logits):
        return UnitBernoulli(logits=logits, validate_args=False).log_prob(value)

    expected = value * torch.nn.functional.logsigmoid(logits) + (1 - value) * torch.nn.functional.logsigmoid(-logits)
    torch.testing.assert_close(log_prob(value, logits), expected)
    assert torch.autograd.gradcheck(log_prob, (value, logits))
    assert torch.autograd.gradgradcheck(log_prob, (value, logits))
