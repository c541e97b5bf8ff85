"""Thermodynamic integration against exact marginal likelihoods, and what its disagreement with the weights shows."""

import math

import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import Annealed, Importance, log_marginal
from pyrovae.evaluation.likelihood.thermodynamic import thermodynamic_integral


def annealed(program, count, T, **options):
    """Chains from the guide as it is: from a refined one there is nothing to anneal in a linear model."""
    torch.manual_seed(0)
    chains = Annealed(T, refinement_rounds=0, **options)
    return log_marginal(program.model, program.guide, program.simulate(count), chains, num_draws=0)


def test_trapezoids_are_exact_for_lines_and_converge_as_the_square():
    off = {}
    for T in (40, 80, 160):
        beta = torch.linspace(0, 1, T + 1, dtype=torch.float64)
        line = thermodynamic_integral(beta, torch.stack([3 * beta[:-1] + 1, beta[:-1]], 1))
        torch.testing.assert_close(line, torch.tensor([2.5, 0.5], dtype=torch.float64))
        off[T] = (thermodynamic_integral(beta, (2 * beta[:-1]).exp()) - (math.exp(2) - 1) / 2).abs().item()
    assert off[80] < 0.35 * off[40]
    assert off[160] < 0.35 * off[80]
    assert thermodynamic_integral(torch.tensor([0.0, 1.0]), torch.tensor([[-3.0]])).item() == -3


@pytest.mark.slow
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_it_is_exact_within_its_errors_and_better_with_more_temperatures(start):
    program = LinearGaussian(2, 5, guide="mean-field", shift=1.0)
    exact, off = program.log_prob(program.simulate(100)), []
    for T in (3, 10, 60):
        ml = annealed(program, 100, T, start=start)
        error = (ml.integral.log_prob - exact).abs().mean().item()
        off.append(error)
        assert not ml.integral.disagrees
    assert off[0] > off[1] > off[2]
    mean = (ml.integral.log_prob - exact).mean().item()
    noise = ml.integral.standard_error.square().sum().sqrt().item() / 100
    assert abs(mean) < 4 * noise + ml.integral.discretization.mean().abs().item() + 0.01


@pytest.mark.slow
def test_chains_that_lag_behind_are_a_warning():
    program = LinearGaussian(50, 100, guide="mean-field", shift=1.0, widening=0.7)
    ml = annealed(program, 40, 8)
    assert ml.integral.disagrees
    assert ml.integral.mean_difference > 1
    assert ml.integral.sentence in ml.verdict
    assert "more than its errors allow" in ml.integral.sentence
    good = annealed(LinearGaussian(2, 5, guide="mean-field"), 10, 8)
    assert not good.integral.disagrees
    assert "Thermodynamic" not in good.verdict
    assert "within its errors" in good.integral.sentence
    assert "too few to know" in annealed(LinearGaussian(2, 5, guide="mean-field"), 10, 2).integral.sentence


def test_it_is_in_the_summary_and_of_all_data():
    program = LinearGaussian(2, 5, guide="mean-field")
    x = program.simulate(30)
    ml = log_marginal(program.model, program.guide, [x[:10], x[10:]], Annealed(5))
    assert ml.integral.log_prob.shape == ml.integral.difference.shape == (30,)
    torch.testing.assert_close(ml.log_prob - ml.integral.log_prob, ml.integral.difference)
    assert ml.summary()["thermodynamic_integral"]["nll"] == pytest.approx(ml.integral.nll)
    assert ml.to_arviz().sample_stats["integral_log_prob"].shape == (30,)
    assert log_marginal(program.model, program.guide, x, Importance(10)).integral is None
