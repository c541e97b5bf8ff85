"""The shape of the weights' tail: against ArviZ, which fits one datum after the other."""

import math

import numpy as np
import pytest
import torch

from pyrovae.arviz_import import import_arviz
from pyrovae.evaluation.likelihood.diagnostics import pareto_k
from pyrovae.evaluation.likelihood.pareto_fit import pareto_shape


def arvizs(log_weights):
    if "InferenceData" in vars(import_arviz()):
        with np.errstate(all="ignore"):
            return import_arviz().psislw(log_weights.T.contiguous().numpy())[1]
    from arviz_stats.base import array_stats  # version 1, which takes log likelihoods, whose weights are inverse

    return np.array([array_stats.psislw(-row.numpy())[1] for row in log_weights.T])


@pytest.mark.parametrize("num_samples", [30, 50, 225, 900])  # either version has as many weights in the tail
def test_the_shape_is_arvizs(num_samples):
    spread = torch.linspace(0.01, 4, 200, dtype=torch.float64)
    normal, exponential = torch.randn(num_samples, 200).double(), torch.empty(num_samples, 200).exponential_().double()
    for log_weights in (spread * normal, spread * exponential - 1e5, -spread * exponential, 100 * normal):
        np.testing.assert_allclose(pareto_shape(log_weights), arvizs(log_weights), rtol=1e-9, atol=1e-9)


@pytest.mark.skipif("InferenceData" not in vars(import_arviz()), reason="ArviZ 1 refuses ties or fits to them")
@pytest.mark.parametrize("num_samples", [4, 24, 26, 100, 1000])
def test_ties_and_infinities_are_treated_as_by_arviz(num_samples):
    log_weights = 2 * torch.randn(num_samples, 200).double()
    masked = torch.rand(num_samples, 200)
    zeros = [log_weights.masked_fill(masked < share, -math.inf) for share in (0.3, 0.9, 1.0)]
    other = [log_weights.masked_fill(masked < 0.02, value) for value in (math.inf, math.nan)]
    for some in (*zeros, *other, log_weights.round(), 0 * log_weights):
        np.testing.assert_allclose(pareto_shape(some), arvizs(some), atol=1e-9)


def test_a_heavy_tail_has_a_known_shape():
    uniform = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for shape in (0.3, 0.9):
        torch.testing.assert_close(
            pareto_k(-shape * uniform.log()), torch.full((3,), shape).double(), atol=0.15, rtol=0
        )
