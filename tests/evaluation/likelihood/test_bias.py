"""Told errors against exact ones: heavy tails, lost chains, ties, rounding, missed modes, and what intervals cover."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import Annealed, CrossCheck, Importance, compare, cross_check, log_marginal
from pyrovae.evaluation.likelihood.bias import extrapolated_bias, halved_bounds, jensen_bias, unseen_tail
from pyrovae.evaluation.likelihood.diagnostics import annealed_error, rounding_error


def weights(num_samples, num_data, precision):
    """Log weights with the mean weight 1 of a normal guide whose posterior has so much of its precision: k = 1 - it."""
    u = torch.randn(num_samples, num_data, len(precision), dtype=torch.float64)
    h = torch.tensor(precision, dtype=torch.float64)
    return (0.5 * (1 - h) * u.square() + 0.5 * h.log()).sum(-1)


def test_halved_bounds_are_means_over_partitions():
    log_weights = weights(64, 5, [0.5])
    halved = halved_bounds(log_weights)
    assert (halved[:-1] >= halved[1:]).all()
    torch.testing.assert_close(halved[0], log_weights.logsumexp(0) - math.log(64))
    torch.testing.assert_close(halved_bounds(torch.cat((log_weights, 900 * log_weights), 1))[:, :5], halved)
    pairs = halved_bounds(torch.tensor([[0.0], [-math.inf]]))  # one split: either half of it has all weight or none
    assert pairs[1] == -math.inf
    assert pairs[2:].isnan().all()


@pytest.mark.parametrize("precision", [[0.8, 0.8], [1.3, 0.9]])
def test_light_tails_have_the_bias_of_the_second_order(precision):
    log_weights = weights(1024, 400, precision)
    told = extrapolated_bias(halved_bounds(log_weights)).mean()
    assert told.item() == pytest.approx(jensen_bias(log_weights).mean().item(), rel=0.35)


@pytest.mark.parametrize("precision", [[0.4, 0.4], [0.2], [0.5] * 10])
def test_the_bias_of_heavy_tails_is_told_in_full(precision):
    log_weights = weights(256, 2000, precision)
    halved = halved_bounds(log_weights)
    short, told = -halved[0].mean().item(), extrapolated_bias(halved).mean().item()
    assert 0.5 * short < told < 3 * short
    assert jensen_bias(log_weights).mean().item() < 0.55 * short


@pytest.mark.parametrize("k", [0.2, 0.5, 0.7])
def test_the_mean_of_a_pareto_tail_is_that_of_the_whole_of_it(k):
    """Quantiles of a Pareto distribution, whose mean 1 / (1 - k) they lack a part of."""
    K = 1000
    p = (torch.arange(K, dtype=torch.float64) + 0.5) / K
    log_weights = (-k * (1 - p).log()).flip(0)[:, None]
    M = 95
    unseen = unseen_tail(
        log_weights, log_weights.logsumexp(0), torch.tensor([K]), torch.tensor([(M * k + 5) / (M + 10)]).double()
    )
    short = -math.log(1 - k) - (log_weights.logsumexp(0) - math.log(K)).item()
    assert unseen.item() == pytest.approx(short, rel=0.15, abs=1e-4)


@pytest.mark.slow
def test_a_chain_that_is_lost_harms_nothing():
    """z ~ HalfNormal(1), x ~ N(z, 0.5): fifteen chains agree, and one may lie 75 nats below."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.HalfNormal(torch.ones(len(x)).double()))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(x.clamp(min=0.3).log() - 0.1, 0.7))

    x = torch.linspace(-0.5, 2.5, 30, dtype=torch.float64)
    total = math.hypot(1, 0.5)
    exact = math.log(2) + dist.Normal(0.0, total).log_prob(x) + torch.special.log_ndtr(x / (0.5 * total))
    ml = log_marginal(model, guide, x, Annealed())
    assert (ml.log_prob - exact).mean().item() == pytest.approx(0, abs=0.05)
    assert ml.mean_bias < 0.1
    lost = torch.cat([0.1 * torch.randn(15, 1), torch.full((1, 1), -75.0)])
    assert extrapolated_bias(halved_bounds(lost)).item() < 0.15
    assert annealed_error(lost).item() < 0.3


def test_ties_are_the_end_of_a_tail():
    """Eight weights of a discrete latent: no tail, and an estimate that can be trusted."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(3)).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 0.8), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.tensor([0.4, 0.6, 0.5]).expand(len(x), 3)).to_event(1))

    ml = log_marginal(model, guide, torch.tensor([0.2, 1.0, 2.5]), num_samples=4000)
    assert (ml.pareto_k == -1).all()
    assert "can be trusted" in ml.verdict


def test_rounding_is_part_of_the_error():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.factor("large", torch.full((len(x),), -1e10))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    ml = log_marginal(model, guide, torch.tensor([0.3, 1.0]), num_samples=100)
    assert (ml.standard_error > 1000).all()
    assert "number is exact." not in ml.verdict
    assert rounding_error(torch.tensor([[-100.0], [-3.0]]), torch.float32).item() == pytest.approx(1.43e-6, rel=0.01)


@pytest.mark.slow
def test_a_missed_mode_is_found_by_chains_from_the_prior():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(z**2, 0.2), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sqrt(), 0.14 / x.sqrt()))

    x = torch.linspace(0.8, 3.0, 12, dtype=torch.float64)
    ml = log_marginal(model, guide, x, num_samples=2000)
    check = cross_check(model, guide, x, ml, 12, num_chains=100)
    assert check.missing == pytest.approx(math.log(2), abs=0.15)
    assert "finds more on" in check.sentence
    assert ml.interval[0] > ml.nll - 0.1  # so far as the guide goes
    mixed = log_marginal(model, guide, x, Importance(4000, prior_share=0.2))
    assert mixed.modes_checked
    assert mixed.nll == pytest.approx(ml.nll - math.log(2), abs=0.03)


def test_annealing_tells_of_a_mode_that_its_chains_do_not_reach():
    """z ~ N(0, 1), x ~ N((z^2, z), (0.3, 0.6)): of two roots, the guide has the one with a share of e^-8 of p(x)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            mean, scale = torch.stack([z**2, z], -1), torch.tensor([0.3, 0.6]).double()
            pyro.sample("x", dist.Normal(mean, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(-x[:, 1], 0.1))

    root = torch.linspace(1.1, 1.3, 6, dtype=torch.float64)
    x = torch.stack([root**2, -root], -1)
    z = torch.linspace(-6, 6, 20001, dtype=torch.float64)[:, None]
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z**2, 0.3).log_prob(x[:, 0])
    exact = (joint + dist.Normal(z, 0.6).log_prob(x[:, 1])).logsumexp(0) + math.log(12 / 20000)
    ml = log_marginal(model, guide, [x[:4], x[4:]], Annealed(20))
    short = (exact - ml.log_prob).mean().item()
    assert short > 5
    assert ml.mean_bias < 0.5  # by the chains alone
    assert ml.check.exceeds.all()
    assert ml.check.index.tolist() == list(range(6))
    assert ml.check.missing == pytest.approx(short, abs=1.0)
    assert ml.interval[0] < -exact.mean().item() < ml.nll
    assert not ml.reliable.any()
    assert "the guide misses a part of the posterior" in ml.verdict
    assert log_marginal(model, guide, x, Annealed(20, num_prior_chains=0)).check is None


def test_a_check_weighs_what_it_finds():
    """Differences above log 20 count, whatever their error; the mean is scaled by the share of data that are found."""
    difference = torch.tensor([3.2, 2.8, 0.5, -0.3, -5.0])
    error = torch.tensor([math.nan, 9.0, 0.1, 0.1, 0.1])
    check = CrossCheck(torch.arange(5), difference, difference, error)
    assert check.exceeds.tolist() == [True, False, True, False, False]
    assert check.missing == pytest.approx((3.2 + 0.5) / 5 / 0.8)
    assert check.missing_error(5) == 0
    spread = torch.tensor([3.2, 0, 0.5, 0, 0]).std().item() / 0.8
    assert check.missing_error(20) == pytest.approx(spread * math.sqrt(0.75 / 5))
    useless = CrossCheck(torch.arange(5), difference, torch.tensor([3.2, -9, -9, -9, -9]), error)
    assert useless.missing == pytest.approx(3.2 / 5 / 0.5)  # not by a share of one in five


@pytest.mark.slow
def test_intervals_cover():
    """Of 40 sets with guides that are too narrow, whose tails have shapes up to 0.5."""
    covered = 0
    program = LinearGaussian(4, 8, guide="mean-field", widening=0.95)
    for seed in range(40):
        x = program.simulate(30, seed=seed)
        torch.manual_seed(seed)
        low, high = log_marginal(program.model, program.guide, x, num_samples=400, num_draws=0).interval
        assert math.isfinite(low)
        covered += low <= -program.log_prob(x).mean().item() <= high
    assert covered >= 35


@pytest.mark.slow
def test_a_decoder_is_not_told_from_itself():
    """One model with its guide as it is, and with one that is too narrow."""
    for seed in range(4):
        results = {}
        for name, widening in (("as it is", 1.0), ("narrow", 0.6)):
            program = LinearGaussian(4, 8, guide="mean-field", widening=widening)
            torch.manual_seed(seed)
            results[name] = log_marginal(
                program.model, program.guide, program.simulate(200), num_samples=1000, num_draws=0
            )
        _, other = compare(results).rows
        assert other.difference > 2 * other.difference_error  # which the data alone would take for one
        assert not other.distinguishable


def test_weights_above_their_fit_make_up_for_no_other_datum():
    """The bound does not grow with K, and the tail of the first datum alone foretells a lack."""
    bias = extrapolated_bias(torch.zeros(4, 3).double(), torch.tensor([0.5, -0.4, torch.nan]).double())
    torch.testing.assert_close(bias, torch.tensor([0.5, 0.0, 0.0]).double())
