"""Evaluation of any model and guide: weights, marginal likelihoods, their diagnostics, predictions."""

from pyrovae.evaluation.diagnostics import effective_sample_size, monte_carlo_error, pareto_k, pareto_threshold
from pyrovae.evaluation.importance import log_weights
from pyrovae.evaluation.marginal import LogMarginal, log_marginal
from pyrovae.evaluation.predictive import decode, encode, generate, is_discrete, prior_grid, reconstruct

__all__ = [
    "LogMarginal",
    "decode",
    "effective_sample_size",
    "encode",
    "generate",
    "is_discrete",
    "log_marginal",
    "log_weights",
    "monte_carlo_error",
    "pareto_k",
    "pareto_threshold",
    "prior_grid",
    "reconstruct",
]
