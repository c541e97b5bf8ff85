"""Sums that certify adaptive draws, under rules that choose the next draws as harmfully as they can."""

import math

import torch

from pyrovae.evaluation.adaptive.certified_sums import NUM_ALTERNATIVES, add_draw
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics

SETS, N, ROUNDS = 4000, 3, 6


def draw(generator, spread, k):
    """Draw the log of the mean of k log-normal weights of mean 1, ``(SETS, N)``."""
    weights = spread * torch.randn(k, SETS, N, generator=generator, dtype=torch.float64) - spread**2 / 2
    return weights.logsumexp(0) - math.log(k)


def run():
    """Stop when the sum over the data is high; draw again where a datum is low, and call lucky data finished."""
    generator = torch.Generator().manual_seed(0)
    log_sum = torch.full((NUM_ALTERNATIVES, SETS * N), -math.inf, dtype=torch.float64)
    unspent = torch.ones_like(log_sum)
    best = torch.full((SETS, N), -math.inf, dtype=torch.float64)
    certified = torch.full((SETS,), -math.inf, dtype=torch.float64)
    for r in range(ROUNDS):
        again = best < 0.5  # where a large weight has come up, no more are drawn
        bias = torch.where(best < -1, 1.0, 0.02 / (1 + r)).double()
        new = draw(generator, 2.0, 4 * (r + 1))
        both = add_draw(log_sum, unspent, new.flatten(), bias.flatten())
        drawn = again.flatten()
        log_sum, unspent = (torch.where(drawn, part, old) for part, old in zip(both, (log_sum, unspent), strict=True))
        best = torch.where(again, torch.maximum(best, new), best)
        products = log_sum.unflatten(1, (SETS, N)).sum(2).logsumexp(0) - math.log(NUM_ALTERNATIVES)
        certified = torch.maximum(certified, products)  # the highest of all rounds
    return certified, best.sum(1)


def test_the_highest_of_all_rounds_is_too_high_no_more_often_than_it_says():
    certified, naive = run()
    for share in (0.01, 0.05, 0.2, 0.5):
        most = share * SETS + 4 * math.sqrt(share * (1 - share) * SETS)
        assert (certified > math.log(1 / share)).sum() <= most
        assert (naive > math.log(1 / share)).sum() > most or share > 0.2  # lucky draws that are kept are no estimate


def test_no_more_than_all_is_spent():
    log_sum = torch.full((NUM_ALTERNATIVES, 4), -math.inf).double()
    unspent = torch.ones_like(log_sum)
    for bias in (math.inf, 0.5, 0.05, 0.0, 0.0):
        log_sum, unspent = add_draw(log_sum, unspent, torch.zeros(4).double(), torch.full((4,), bias).double())
        assert (log_sum.exp() + unspent <= 1 + 1e-12).all()
    assert (unspent == 0).all()
    assert torch.allclose(log_sum.exp(), torch.ones_like(log_sum))


def test_states_of_before_there_were_certificates_have_none():
    state = RunningStatistics.empty(3, 0, 2).tensors()
    older = {name: tensor for name, tensor in state.items() if name not in ("certified", "unspent")}
    statistics = RunningStatistics.from_tensors(older)
    assert (statistics.certified == -math.inf).all()
    assert (statistics.unspent == 0).all()
