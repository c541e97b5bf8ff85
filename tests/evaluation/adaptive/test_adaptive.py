"""A wanted error, with samples where they are needed: that it is reached, at what cost, and that it can go on."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from adaptive_estimates import adaptive
from linear_gaussian import LinearGaussian

from pyrovae import (
    MLP,
    VAE,
    Adaptive,
    Annealed,
    Bernoulli,
    DiagonalNormal,
    Digits,
    InputError,
    StandardNormal,
    fit,
    log_marginal,
)
from pyrovae.evaluation import pareto_k
from pyrovae.evaluation.adaptive.allocation import QUANTILE_95, Allocation, allocate
from pyrovae.evaluation.adaptive.error_estimates import error_estimates
from pyrovae.evaluation.adaptive.forecast import forecast
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.adaptive.sampler import Sampler
from pyrovae.evaluation.likelihood.reservoir import Reservoir
from pyrovae.execution.batched import Chunk
from pyrovae.execution.chunking import Chunks

DRAWS = 200  # of the posterior of each datum
FIRST = 128 + 32 + 128  # the pilot from guide and prior, and the first samples of the estimate


class Mixed(LinearGaussian):
    """A guide that is a good one for every other datum, and too narrow and far off for those between."""

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance / self.scale**2
        off = self.is_hard(x)[:, None]
        loc = torch.where(off, mean + 1.5 * self.mean_field, mean)
        scale = torch.where(off, 0.7 * self.mean_field, self.mean_field)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def is_hard(self, x):
        return x[:, 0] > self.b[0]


@pytest.fixture(scope="module")
def mixed():
    return Mixed(5, 10, coupling=0.25)


@pytest.fixture(scope="module")
def x(mixed):
    return mixed.simulate(40)


def within(program, x, target_error, **options):
    return adaptive(program.model, program.guide, x, target_error, **options)


@pytest.fixture(scope="module")
def rounds(mixed, x):
    """What was reached after each round, down to 0.05 nats."""
    states = []
    effort = within(mixed, x, 0.05, num_draws=DRAWS, num_checked=10, callback=lambda now: states.append(now.state))
    return [*states[:-1], effort]


@pytest.fixture(scope="module")
def effort(rounds):
    return rounds[-1]


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[name].nan_to_num(-1e9), b[name].nan_to_num(-1e9)) for name in a if name != "seconds"
    )


@pytest.mark.slow
def test_the_target_is_reached_and_true(mixed, x, effort):
    ml = effort.marginal
    assert effort.reached
    assert effort.stopped == "target"
    assert ml.monte_carlo_error == pytest.approx(effort.monte_carlo_error)
    assert ml.mean_bias == pytest.approx(effort.bias)
    assert 0 < effort.bias < effort.bias + QUANTILE_95 * effort.monte_carlo_error == effort.error < 0.05
    assert abs(-ml.nll - mixed.log_prob(x).mean()) < 0.05
    assert ((ml.log_prob - mixed.log_prob(x)).abs() < 5 * ml.standard_error + 5 * ml.bias).all()


@pytest.mark.slow
def test_the_hard_data_are_annealed_and_the_easy_ones_are_not(mixed, x, effort):
    ml, hard = effort.marginal, mixed.is_hard(x)
    assert ml.method == "adaptive"
    annealed = ~ml.acceptance.isnan()
    assert annealed[hard].all()
    assert annealed[~hard].double().mean() < 0.4  # those whose k̂ happens to be large
    assert ml.pareto_k[annealed].isnan().all()
    assert ml.num_evaluations[~hard].min() == FIRST
    assert ml.num_evaluations[hard].median() > 2 * ml.num_evaluations[~hard].median()
    assert effort.num_annealed == annealed.sum()
    assert (ml.acceptance[hard] > 0.6).all()
    assert ml.draws["z"].shape == (40, DRAWS, 5)
    assert ml.log_likelihood.isfinite().all()


@pytest.mark.slow
def test_a_fixed_number_of_samples_needs_far_more(mixed, x, effort):
    K = 5 * effort.num_evaluations // len(x)
    fixed = log_marginal(mixed.model, mixed.guide, x, num_samples=K)
    exact = mixed.log_prob(x).mean()
    assert (exact + fixed.nll).abs() > 5 * (exact + effort.marginal.nll).abs()


@pytest.mark.slow
def test_the_draws_are_from_the_posterior(mixed, x, effort):
    drawn = effort.marginal.draws["z"].mean(1)  # (B, D)
    exact = (x - mixed.b) @ mixed.W @ mixed.covariance / mixed.scale**2
    sd = mixed.covariance.diagonal().sqrt()
    hard = mixed.is_hard(x)
    for of, few in ((~hard, 80), (hard, 6)):  # the draws of a datum are as many as its effective weights at most
        assert ((drawn - exact)[of].mean(0).abs() < 4 * sd / (few * of.sum()) ** 0.5).all()


@pytest.mark.slow
def test_errors_are_calibrated():
    """Over many sets the mean error is no larger than the biases said, and spreads as the Monte Carlo errors said."""
    errors = []
    program = LinearGaussian(10, 20, guide="mean-field", shift=0.5)
    for seed in range(4):
        x = program.simulate(16, seed=seed + 1)
        effort = within(program, x, 0.1, seed=seed, num_draws=0)
        short = program.log_prob(x).mean() + effort.marginal.nll
        errors.append((short.item(), effort.bias, effort.monte_carlo_error))
    short, bias, error = torch.tensor(errors).T
    assert short.mean() < bias.mean() + 2 * error.mean() / 4**0.5
    assert short.std() < 2 * error.mean()


@pytest.mark.slow
def test_an_exact_guide_needs_no_more_than_the_first_samples():
    program = LinearGaussian(3, 5, guide="exact")
    x = program.simulate(4)
    effort = within(program, x, 1e-6)
    assert effort.within_target
    assert effort.num_evaluations == 4 * FIRST
    torch.testing.assert_close(effort.marginal.log_prob, program.log_prob(x))


@pytest.mark.slow
def test_samples_depend_on_the_seed_alone(mixed, x):
    """Those of the first round; those of chains in the test of a run that was killed."""
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = within(mixed, x[:3], 10.0)
    assert torch.equal(torch.rand(1), expected)
    assert same(within(mixed, x[:3], 10.0).state, first.state)
    assert not same(within(mixed, x[:3], 10.0, seed=1).state, first.state)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(mixed, x, rounds):
    *states, effort = rounds
    assert len(states) > 1
    state = states[len(states) // 2]
    torch.manual_seed(len(states))  # another state of the global generator, which has no effect
    resumed = within(mixed, x, 0.05, state=state, num_draws=DRAWS)
    assert same(resumed.state, effort.state)
    assert resumed.seconds > float(state["seconds"])


@pytest.mark.slow
def test_a_smaller_target_goes_on_from_a_larger_one(mixed, x, effort):
    finer = within(mixed, x, 0.04, state=effort.state, num_draws=DRAWS)
    assert finer.within_target
    assert finer.num_evaluations > effort.num_evaluations
    assert (finer.marginal.num_evaluations >= effort.marginal.num_evaluations).all()
    assert abs(finer.marginal.nll + mixed.log_prob(x).mean()) < 0.04 + finer.monte_carlo_error
    coarser = within(mixed, x, 0.1, state=effort.state, num_draws=DRAWS)
    assert coarser.within_target
    assert same(coarser.state, effort.state)


@pytest.mark.slow
def test_budgets_end_it_and_are_reported(mixed, x, effort):
    biases = []
    for budget in (1, 30_000):
        short = within(mixed, x, 0.001, max_evaluations=budget)
        biases.append(short.bias)
        assert short.stopped == "max_evaluations"
        assert not short.reached
        assert 40 * FIRST <= short.num_evaluations <= max(budget, 40 * FIRST)
        assert short.missed_by == pytest.approx(short.bias + QUANTILE_95 * short.monte_carlo_error - 0.001)
        assert f"missed by {short.missed_by:.2g}" in short.verdict
    assert short.num_evaluations > 25_000
    assert biases[1] < 0.7 * biases[0]  # the little there is goes far
    at_once = within(mixed, x, 0.001, max_seconds=0)
    assert at_once.stopped == "max_seconds"
    assert at_once.num_evaluations == 40 * FIRST
    assert at_once.num_unreliable > 0
    assert "guess" in at_once.verdict
    on = within(mixed, x, 10.0, state=at_once.state)
    assert on.within_target


@pytest.mark.slow
def test_the_summary_is_plain(effort):
    import json

    summary = effort.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["evaluations"]["100%"] == int(effort.marginal.num_evaluations.max())
    assert summary["reached"]
    whole = effort.marginal.summary()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert whole["share_annealed"] == effort.num_annealed / 40
    assert effort.marginal.to_arviz().sample_stats["num_evaluations"].sum() == effort.num_evaluations
    assert f"{effort.num_evaluations:,} decoder runs" in effort.verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "options", "named"),
    [(39, {}, "x must be"), (40, {"seed": 1}, "seed must be"), (40, {"num_draws": 3}, "num_draws must be")],
)
def test_a_state_of_something_else_is_refused(mixed, x, effort, count, options, named):
    with pytest.raises(InputError, match=f"^{named} that of the state"):
        within(mixed, x[:count], 0.05, state=effort.state, **{"num_draws": DRAWS, **options})


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["rounds", "group_sums"])
def test_a_state_that_lacks_something_is_refused(mixed, x, effort, lost):
    state = {name: value for name, value in effort.state.items() if name != lost}
    with pytest.raises(InputError, match=f"^state must be that of an earlier call, but {lost} is missing"):
        within(mixed, x, 0.05, state=state, num_draws=DRAWS)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"target_error": 0}, "target_error"),
        ({"target_error": math.nan}, "target_error"),
        ({"target_error": 0.1, "max_seconds": -1}, "max_seconds"),
        ({"target_error": 0.1, "max_evaluations": 0}, "max_evaluations"),
        ({"target_error": 0.1, "seed": -1}, "seed"),
        ({"target_error": 0.1, "num_draws": -1}, "num_draws"),
        ({"target_error": 0.1, "chunk_size": 0}, "chunk_size"),
    ],
)
def test_bad_options_are_refused(mixed, x, options, named):
    with pytest.raises(InputError, match=f"^{named} must be"):
        within(mixed, x, **options)


def test_no_data_are_refused(mixed, x):
    with pytest.raises(InputError, match=r"^x must hold at least one datum"):
        within(mixed, x[:0], 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("num_bits", [3, 9])
def test_discrete_latents_are_summed_over_or_get_more_samples(num_bits):
    """Three bits have 8 values; nine have 512, too many for a sum."""
    logits = torch.tensor([0.5, -1.0, 2.0]).repeat(num_bits // 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(num_bits)).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 0.4), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits.expand(len(x), num_bits)).to_event(1))

    x = torch.tensor([1.0, 2.0, 2.9])
    ml = log_marginal(model, guide, x, Adaptive(0.01), progress=False)
    codes = torch.cartesian_prod(*(torch.tensor([0.0, 1.0]) for _ in range(num_bits)))
    exact = dist.Normal(codes.sum(-1), 0.4).log_prob(x[:, None]).exp().mean(-1).log()
    assert (ml.method == "exact") == (num_bits == 3)
    if num_bits == 9:
        assert ml.adaptive.num_annealed == 0
        assert ml.num_samples.max() > 128
    torch.testing.assert_close(ml.log_prob.float(), exact, atol=1e-5 if num_bits == 3 else 0.05, rtol=0)


@pytest.mark.slow
def test_labels_are_passed_on():
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(y.double(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + y) / 2, 0.6))

    y = torch.tensor([0, 3, 1])
    x = torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64)
    effort = adaptive(model, guide, (x, y), 0.02)
    exact = dist.Normal(y.double(), 2**0.5).log_prob(x)
    torch.testing.assert_close(effort.marginal.log_prob, exact, atol=0.1, rtol=0)


@pytest.mark.slow
def test_a_network_whose_guide_is_too_narrow_is_judged_right():
    """A VAE of the digits after training with a small beta; the truth by long chains."""
    torch.manual_seed(0)
    data = Digits()
    shape, network = data.data_shape, partial(MLP, hidden_features=(50,))
    vae = VAE(StandardNormal(5), Bernoulli(shape, 5, network=network), DiagonalNormal(shape, 5, network=network))
    fast = partial(torch.optim.Adam, lr=3e-3)
    fit(vae.model, vae.guide, data, epochs=8, batch_size=64, beta=0.2, optimizer=fast, progress=False)
    x = data.test[:10]
    effort = within(vae, x, 0.1)
    assert effort.within_target
    assert effort.num_annealed > 0
    truth = log_marginal(vae.model, vae.guide, x, Annealed(num_temperatures=100))
    assert abs(effort.marginal.nll - truth.nll) < 0.1 + 2 * math.hypot(
        effort.monte_carlo_error, truth.monte_carlo_error
    )


def statistics_of(log_weights, parts, num_temperatures=0):
    """Take in weights, ``(K, B)``, as a pilot and in so many parts as an estimate."""
    statistics = RunningStatistics.empty(log_weights.shape[1], 0, 2)
    index, exact = torch.arange(log_weights.shape[1]), torch.zeros(log_weights.shape[1])
    statistics.add_pilot(index, log_weights, log_weights[:32] - 1000, exact)
    if num_temperatures:
        statistics.restart(index, num_temperatures)
    for part in log_weights.chunk(parts):
        acceptance = torch.full(index.shape, 0.8) if num_temperatures else None
        statistics.add(index, part, Reservoir(0), exact, exact, acceptance)
    return statistics


def test_running_statistics_are_those_of_all_weights_at_once():
    log_weights = 2 * torch.randn(2048, 3, dtype=torch.float64) - 100
    statistics = statistics_of(log_weights, 4)
    torch.testing.assert_close(statistics.log_sum, log_weights.logsumexp(0))
    torch.testing.assert_close(statistics.log_sum_squares, (2 * log_weights).logsumexp(0))
    torch.testing.assert_close(statistics.elbo, log_weights.mean(0))
    torch.testing.assert_close(statistics.spread, log_weights.var(0))
    torch.testing.assert_close(statistics.pareto_k, pareto_k(log_weights))
    torch.testing.assert_close(statistics.pilot_k, pareto_k(log_weights))
    torch.testing.assert_close(statistics.largest[:50], log_weights.topk(50, 0).values)
    assert len(statistics.largest) < 200
    again = RunningStatistics.from_tensors(statistics.tensors())
    assert same(again.tensors(), statistics.tensors())


def test_draws_are_merged_by_weight():
    """Of two batches, the second of which weighs three times as much, each draw is from the second in three of four."""
    statistics = RunningStatistics.empty(2000, 1, 2)
    index = torch.arange(2000)
    for value, log_weight in ((0.0, 0.0), (1.0, math.log(3.0))):
        log_weights = torch.full((8, 2000), log_weight)
        reservoir = Reservoir(1)
        reservoir.add(log_weights, Chunk(log_weights, log_weights, {"z": torch.full((8, 2000, 1), value)}))
        statistics.add(index, log_weights, reservoir, torch.zeros(2000), torch.zeros(2000))
    assert statistics.draws["z"].mean().item() == pytest.approx(0.75, abs=0.04)
    assert torch.equal(statistics.log_likelihood > 1, statistics.draws["z"][..., 0] > 0)


@pytest.mark.slow
def test_a_low_pareto_k_among_large_ones_is_luck_and_a_large_one_is_not():
    statistics = statistics_of(torch.randn(256, 200, dtype=torch.float64), 1)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()

    def reliable():
        return forecast(statistics, error_estimates(statistics)).reliable

    statistics.pilot_k = 0.9 + 0.25 * noise
    assert (statistics.pilot_k < 0.585).sum() > 5
    assert not reliable().any()
    statistics.pilot_k = 0.3 + 0.15 * noise
    assert (statistics.pilot_k > 0.585).sum() > 2
    assert reliable().all()
    statistics.pilot_k[7] = 2.0
    assert not reliable()[7]
    assert reliable().sum() == 199


def test_the_budget_goes_where_it_gains_most():
    scale = torch.linspace(0.1, 1.2, 50, dtype=torch.float64)
    log_weights = scale * torch.randn(256, 50, dtype=torch.float64)
    statistics = statistics_of(log_weights, 1)
    errors = error_estimates(statistics)
    whole = allocate(statistics, errors, 5e-3)
    drawn = torch.zeros(50, dtype=torch.int64).index_put((whole.data,), whole.num_samples)
    assert len(whole.data) == whole.data.unique().numel() == (drawn > 0).sum()
    assert 4 * drawn[:10].sum() < drawn[-10:].sum()
    part = allocate(statistics, errors, 5e-3, budget=10_000.0)
    assert 5_000 < part.cost.sum() <= 10_000
    assert part.data.min() > 10
    assert part.first(3, 1e9).data.tolist() == part.data[:3].tolist()
    assert len(allocate(statistics, errors, 10.0).data) == 0


def test_no_weight_of_an_estimate_decides_how_many_more_its_datum_gets():
    """Of two data with one pilot, that whose estimate has a huge weight gets what the other gets."""
    pilot = 0.8 * torch.randn(256, 20, dtype=torch.float64)
    statistics = statistics_of(pilot[:, :1].expand(-1, 20), 1)
    statistics.group_sums[0, :3] += 4.0
    statistics.log_sum_squares[:3] += 8.0
    allocation = allocate(statistics, error_estimates(statistics), 0.005)
    assert len(allocation.data) == 20
    assert len(allocation.num_samples.unique()) == 1


def test_disagreeing_chains_get_more_temperatures():
    log_weights = torch.randn(8, 60, dtype=torch.float64) * torch.tensor([3.0] * 30 + [0.1] * 30)
    statistics = statistics_of(log_weights, 1, num_temperatures=100)
    statistics.num_pilot[:] = 128
    statistics.spread = torch.tensor([30.0] * 30 + [0.1] * 30, dtype=torch.float64)
    statistics.chain_variance = torch.tensor([9.0] * 30 + [0.01] * 30, dtype=torch.float64)
    statistics.pilot_k[:] = 1.0
    errors = error_estimates(statistics)
    assert errors.bias[:30].mean() > 0.5
    assert (errors.bias[30:] < 0.05).all()
    allocation = allocate(statistics, errors, 0.1)
    assert set(range(30)) <= set(allocation.data.tolist())
    assert (allocation.num_temperatures[allocation.data < 30] > 100).all()


class TwoKinds(LinearGaussian):
    """Hard data among data whose guide is nearly exact, so that 256 samples of a hard one may look harmless."""

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance / self.scale**2
        hard = (x[:, :1] > self.b[0] + 0.5).to(x)
        with pyro.plate("data", len(x)):
            loc = mean + 1.5 * hard * self.mean_field
            pyro.sample("z", dist.Normal(loc, (1 - 0.4 * hard) * self.mean_field).to_event(1))


@pytest.mark.slow
def test_no_hard_datum_hides_among_easy_ones():
    program = TwoKinds(2, 4, guide="mean-field")
    x = program.simulate(100, seed=5)
    effort = within(program, x, 0.02, num_draws=0)
    hard = x[:, 0] > program.b[0] + 0.5
    assert effort.within_target
    assert effort.marginal.acceptance[hard].isnan().double().mean() < 0.1  # the others were annealed
    short = program.log_prob(x).mean().item() + effort.marginal.nll
    assert short < 0.02 + 2 * effort.monte_carlo_error


class HalfExact(LinearGaussian):
    """The guide is the posterior itself for some data: their weights differ by rounding only."""

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance / self.scale**2
        covariance = torch.where(x[:, 0, None, None] > 0, self.covariance, self.mean_field.square().diag())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, covariance))


@pytest.mark.slow
def test_data_whose_weights_are_equal_do_not_spoil_the_others():
    program = HalfExact(4, 8)
    effort = within(program, program.simulate(40), 0.02, num_draws=0)
    assert effort.within_target
    assert effort.num_annealed <= 2
    assert effort.num_evaluations < 40 * 1000


@pytest.mark.slow
def test_weights_of_zero_are_counted_and_nothing_but_them_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0))
            impossible = torch.where((z < 0) | (x[:, 0] > 50), -math.inf, 0.0)
            pyro.factor("f", impossible)
            pyro.sample("x", dist.Normal(z, 2.0), obs=x[:, 0].clamp(max=9))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))

    x = torch.linspace(-1, 1, 10).double().unsqueeze(-1)
    effort = adaptive(model, guide, x, 0.05, seed=4)  # others end within the errors, but not sure of it
    assert effort.within_target
    assert effort.num_annealed == 0
    with pytest.raises(InputError, match="all samples of 1 data have weight zero"):
        adaptive(model, guide, torch.cat((x, torch.full((1, 1), 99.0).double())), 0.05)


@pytest.mark.slow
def test_one_datum_reaches_its_target():
    program = LinearGaussian(10, 30, guide="mean-field", shift=0.5)
    for seed in range(2):
        effort = within(program, program.simulate(1, seed=seed), 0.2, seed=seed, num_draws=0)
        assert effort.stopped == "target"


def second_root(scale):
    """z ~ N(0, 1), x ~ N(z^2, 0.2): the guide has the positive root alone, half of p(x)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(z**2, 0.2), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            root = x.clamp(min=0.3).sqrt()
            pyro.sample("z", dist.Normal(root, scale * 0.1 / root))

    x = torch.linspace(0.8, 3.0, 30, dtype=torch.float64)
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Normal(grid**2, 0.2).log_prob(x[:, None])
    return model, guide, x, joint.logsumexp(1) + math.log(8 / 20_000)


@pytest.mark.slow
def test_a_mode_that_the_guide_misses_is_not_certified():
    model, guide, x, exact = second_root(1.1)
    fixed = log_marginal(model, guide, x, num_samples=2000)
    assert (fixed.log_prob - exact).mean().item() == pytest.approx(-math.log(2), abs=0.02)
    assert "not looked for" in fixed.verdict
    effort = adaptive(model, guide, x, 0.1, num_checked=10)
    short = (exact - effort.marginal.log_prob).mean().item()
    assert short < 0.6 * math.log(2)  # samples and chains from the prior find a part of it
    assert not effort.reached
    assert effort.missing > 0
    assert effort.error > 0.7 * short
    assert "the guide misses a part of the posterior" in effort.verdict


@pytest.mark.slow
def test_chains_from_the_prior_replace_those_from_the_guide(mixed, x):
    """Even with as many temperatures: they are no part of one estimate."""
    sampler = Sampler(mixed.model, mixed.guide, (x[:6],), 0, 0, Chunks(None))
    sampler.start()
    for from_prior in (False, True):
        rows = torch.arange(6), torch.full((6,), 25), torch.full((6,), from_prior), torch.full((6,), 8)
        assert sampler.run(Allocation(*rows, cost=torch.full((6,), 400.0), bias=torch.zeros(6)), math.inf)
        assert torch.equal(sampler.statistics.from_prior, torch.full((6,), from_prior))
        assert (sampler.statistics.num_samples == 8).all()
