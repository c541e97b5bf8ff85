"""Evaluation of any model and guide: marginal likelihoods, their diagnostics, comparisons, representations."""

from pyrovae.evaluation.adaptive.adaptive import Adaptive
from pyrovae.evaluation.adaptive.result import AdaptiveResult
from pyrovae.evaluation.anomaly import Separation, anomaly_scores, separation
from pyrovae.evaluation.baseline import Baseline, independent_baseline, table_baseline
from pyrovae.evaluation.calibration import Calibration, calibration
from pyrovae.evaluation.columns import ColumnReport, report_columns
from pyrovae.evaluation.comparison import compare
from pyrovae.evaluation.comparison_table import Comparison, ComparisonRow
from pyrovae.evaluation.disentanglement import DCI, dci, mig, sap
from pyrovae.evaluation.elbo.aggregate_posterior import Estimate
from pyrovae.evaluation.elbo.breakdown import Diagnosis, diagnose
from pyrovae.evaluation.elbo.inference_gap import Refinement, refine
from pyrovae.evaluation.elbo.rate_distortion import RateDistortion, rate_distortion
from pyrovae.evaluation.health import check_health
from pyrovae.evaluation.imputation import Imputation, impute
from pyrovae.evaluation.likelihood.annealed import Annealed
from pyrovae.evaluation.likelihood.certificate import Certificate
from pyrovae.evaluation.likelihood.convergence import Convergence, convergence
from pyrovae.evaluation.likelihood.cross_check import cross_check
from pyrovae.evaluation.likelihood.diagnostics import (
    effective_sample_size,
    monte_carlo_error,
    pareto_k,
    pareto_threshold,
)
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.importance import Importance, log_weights
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.evaluation.likelihood.prior_comparison import CrossCheck
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.evaluation.likelihood.sandwich import Sandwich, sandwich
from pyrovae.evaluation.representation import cluster_purity, coverage, linear_probe, neighbour_probe
from pyrovae.evaluation.scores import score

__all__ = [
    "DCI",
    "Adaptive",
    "AdaptiveResult",
    "Annealed",
    "Baseline",
    "Calibration",
    "Certificate",
    "ColumnReport",
    "Comparison",
    "ComparisonRow",
    "Convergence",
    "CrossCheck",
    "Diagnosis",
    "Estimate",
    "Estimator",
    "Importance",
    "Imputation",
    "LogMarginal",
    "RateDistortion",
    "Refinement",
    "Sandwich",
    "Separation",
    "anomaly_scores",
    "calibration",
    "check_health",
    "cluster_purity",
    "compare",
    "convergence",
    "coverage",
    "cross_check",
    "dci",
    "diagnose",
    "effective_sample_size",
    "impute",
    "independent_baseline",
    "linear_probe",
    "log_marginal",
    "log_weights",
    "mig",
    "monte_carlo_error",
    "neighbour_probe",
    "pareto_k",
    "pareto_threshold",
    "rate_distortion",
    "refine",
    "report_columns",
    "sandwich",
    "sap",
    "score",
    "separation",
    "table_baseline",
]
