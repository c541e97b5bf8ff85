"""The curve of bounds over the number of samples: against exact answers, its error, and the jackknife."""

import math

import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import InputError, log_weights
from pyrovae.evaluation.likelihood.convergence import convergence
from pyrovae.evaluation.likelihood.diagnostics import monte_carlo_error


def exponential_weights(num_samples, count):
    """Weights of mean one whose bounds have a known expectation, digamma(k) - log k."""
    return torch.empty(num_samples, count, dtype=torch.float64).exponential_().log()


@pytest.mark.parametrize(
    ("num_samples", "levels"),
    [(1, [1]), (2, [1, 2]), (7, [1, 2, 5, 7]), (10, [1, 2, 5, 10]), (64, [1, 2, 5, 10, 20, 50, 64])],
)
def test_levels_are_round_numbers_and_all_of_the_samples(num_samples, levels):
    curve = convergence(torch.randn(num_samples, 3))
    assert curve.num_samples.tolist() == levels
    for values in (curve.bound, curve.standard_error, curve.jackknife):
        assert (values.shape, values.dtype) == ((len(levels), 3), torch.float64)
    assert bool(curve.jackknife[0].isnan().all())
    assert bool(curve.jackknife[1:].isfinite().all())
    assert bool(curve.standard_error.isfinite().all()) == (num_samples > 1)


@pytest.mark.parametrize("scale", [3, 2000])  # most of the latter's weights are zero beside the largest, if rounded
@pytest.mark.parametrize("num_samples", [7, 20, 33])
def test_every_level_is_the_formula(num_samples, scale):
    weights = scale * torch.randn(num_samples, 4, dtype=torch.float64)
    curve = convergence(weights)
    for k, bound, error, jackknife in zip(
        curve.num_samples.tolist(), curve.bound, curve.standard_error, curve.jackknife, strict=True
    ):
        blocks = weights[: num_samples // k * k].split(k)
        bounds = torch.stack([block.logsumexp(0) for block in blocks]) - math.log(k)
        torch.testing.assert_close(bound, bounds.mean(0))
        if len(blocks) >= 10:
            torch.testing.assert_close(error, bounds.std(0) / math.sqrt(len(blocks)))
        if k > 1:
            left_out = [torch.cat((block[:j], block[j + 1 :])).logsumexp(0) for block in blocks for j in range(k)]
            without = torch.stack(left_out).mean(0) - math.log(k - 1)
            torch.testing.assert_close(jackknife, k * bounds.mean(0) - (k - 1) * without)
    torch.testing.assert_close(curve.bound[-1], weights.logsumexp(0) - math.log(num_samples))
    torch.testing.assert_close(curve.standard_error[-1], monte_carlo_error(weights))


def test_expectations_are_exact():
    curve = convergence(exponential_weights(100, 4000))
    k = curve.num_samples.double()
    expected = k.digamma() - k.log()
    error = curve.bound.std(1) / math.sqrt(4000)
    assert bool(((curve.bound.mean(1) - expected).abs() < 4 * error).all())
    before = (k - 1).digamma() - (k - 1).log()
    jackknife = (k * expected - (k - 1) * before)[1:]
    error = curve.jackknife[1:].std(1) / math.sqrt(4000)
    assert bool(((curve.jackknife[1:].mean(1) - jackknife).abs() < 4 * error).all())


def test_bounds_rise_to_the_exact_value_and_the_jackknife_is_closer():
    program = LinearGaussian(2, 4, guide="mean-field", shift=0.5, coupling=0.8)
    x = program.simulate(200)
    curve = convergence(log_weights(program.model, program.guide, x, num_samples=400))
    gap = (program.log_prob(x) - curve.bound).mean(1)
    corrected = (program.log_prob(x) - curve.jackknife).mean(1)
    error = curve.standard_error.square().sum(1).sqrt() / len(x)
    assert bool((gap[:-1] - gap[1:] > -2 * (error[:-1] + error[1:])).all())
    assert gap[0] > 10 * error[0]
    assert abs(gap[-1]) < 4 * error[-1]
    small = torch.isin(curve.num_samples, torch.tensor([2, 5, 10]))
    assert bool((corrected.abs() < 0.7 * gap)[small].all())


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_errors_are_as_large_as_the_spread_over_repetitions(sigma):
    curve = convergence(sigma * torch.randn(200, 3000, dtype=torch.float64))
    ratio = curve.standard_error.square().mean(1).sqrt() / curve.bound.std(1)
    many_blocks = curve.num_samples <= 20
    assert bool(((ratio[many_blocks] - 1).abs() < 0.1).all())
    few_blocks = ~many_blocks & (curve.num_samples < 200)
    assert bool(((ratio[few_blocks] > 0.95) & (ratio[few_blocks] < 1.3)).all())
    covered = ((curve.bound - curve.bound.mean(1, keepdim=True)).abs() < 1.96 * curve.standard_error).double().mean(1)
    assert bool((covered[many_blocks | few_blocks] > 0.88).all())


@pytest.mark.slow
def test_error_of_the_set_is_calibrated():
    tables = [convergence(torch.randn(50, 20, dtype=torch.float64)).table() for _ in range(300)]
    for rows in zip(*tables, strict=True):
        bounds = torch.tensor([row["bound"] for row in rows])
        errors = torch.tensor([row["standard_error"] for row in rows])
        covered = ((bounds - bounds.mean()).abs() < 1.96 * errors).double().mean().item()
        assert 0.9 <= covered <= 0.995


def test_one_weight_is_everything():
    weights = torch.full((10, 1), -2000.0)
    weights[3] = 500.0
    curve = convergence(weights)
    torch.testing.assert_close(curve.bound[-1], torch.tensor([500 - math.log(10)], dtype=torch.float64))
    # Nine of the ten leave-one-out bounds have it, one is that of the others.
    expected = 10 * (500 - math.log(10)) - 9 * (9 * (500 - math.log(9)) - 2000.0) / 10
    torch.testing.assert_close(curve.jackknife[-1], torch.tensor([expected], dtype=torch.float64))
    assert bool(curve.standard_error.isfinite().all())


def test_weights_of_zero():
    curve = convergence(torch.tensor([[0.0, 0.0, -math.inf], [-math.inf, 1.0, -math.inf]]))
    assert curve.bound[1].tolist() == pytest.approx([-math.log(2), math.log((1 + math.e) / 2), -math.inf])
    assert curve.jackknife[1].isnan().tolist() == [True, False, True]
    assert curve.table()[1] == {"num_samples": 2, "bound": None, "standard_error": None, "jackknife": None}


def test_equal_weights_are_exact_from_the_first():
    curve = convergence(torch.full((20, 2), -7.0))
    torch.testing.assert_close(curve.bound, torch.full_like(curve.bound, -7.0))
    torch.testing.assert_close(curve.jackknife[1:], torch.full_like(curve.jackknife[1:], -7.0))
    assert float(curve.standard_error.max()) < 1e-6


def test_table_has_plain_numbers_of_the_set():
    curve = convergence(torch.randn(5, 3))
    rows = curve.table()
    assert [list(row) for row in rows] == [["num_samples", "bound", "standard_error", "jackknife"]] * 3
    assert rows[0]["jackknife"] is None
    assert rows[2]["num_samples"] == 5
    assert rows[2]["bound"] == pytest.approx(curve.bound[2].mean().item())
    assert rows[2]["standard_error"] == pytest.approx(curve.standard_error[2].square().sum().sqrt().item() / 3)
    assert all(type(value) in (int, float) for row in rows[1:] for value in row.values())


@pytest.mark.parametrize("shape", [(5,), (0, 3), (3, 0), (2, 3, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"^log_weights must have shape \(K, B\)"):
        convergence(torch.zeros(shape))
