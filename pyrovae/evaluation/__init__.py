"""Evaluation of any model and guide: weights, marginal likelihoods, their diagnostics, predictions."""

from pyrovae.evaluation.adaptive import log_marginal_within
from pyrovae.evaluation.aggregate import Estimate
from pyrovae.evaluation.annealed import Annealing
from pyrovae.evaluation.anomaly import Separation, anomaly_scores, separation
from pyrovae.evaluation.bidirectional import Sandwich, sandwich
from pyrovae.evaluation.comparison import compare
from pyrovae.evaluation.convergence import Convergence, convergence
from pyrovae.evaluation.cross_check import CrossCheck, cross_check
from pyrovae.evaluation.diagnosis import Diagnosis, diagnose
from pyrovae.evaluation.diagnostics import effective_sample_size, monte_carlo_error, pareto_k, pareto_threshold
from pyrovae.evaluation.effort import Effort
from pyrovae.evaluation.embedding import cluster_purity, coverage, linear_probe, neighbour_probe
from pyrovae.evaluation.gaps import Refinement, refine
from pyrovae.evaluation.importance import log_weights
from pyrovae.evaluation.information import RateDistortion, rate_distortion
from pyrovae.evaluation.marginal import log_marginal
from pyrovae.evaluation.paths import class_direction, linear_path, spherical_path
from pyrovae.evaluation.predictive import decode, encode, generate, is_discrete, prior_grid, reconstruct
from pyrovae.evaluation.result import LogMarginal
from pyrovae.evaluation.simulation import simulate
from pyrovae.evaluation.table import Compared, Comparison

__all__ = [
    "Annealing",
    "Compared",
    "Comparison",
    "Convergence",
    "CrossCheck",
    "Diagnosis",
    "Effort",
    "Estimate",
    "LogMarginal",
    "RateDistortion",
    "Refinement",
    "Sandwich",
    "Separation",
    "anomaly_scores",
    "class_direction",
    "cluster_purity",
    "compare",
    "convergence",
    "coverage",
    "cross_check",
    "decode",
    "diagnose",
    "effective_sample_size",
    "encode",
    "generate",
    "is_discrete",
    "linear_path",
    "linear_probe",
    "log_marginal",
    "log_marginal_within",
    "log_weights",
    "monte_carlo_error",
    "neighbour_probe",
    "pareto_k",
    "pareto_threshold",
    "prior_grid",
    "rate_distortion",
    "reconstruct",
    "refine",
    "sandwich",
    "separation",
    "simulate",
    "spherical_path",
]
