"""Objectives of training: bounds of log p(x) and gradient estimators, as subclasses of Pyro's ELBO."""

from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO

from pyrovae.objectives.base import Objective, Weights
from pyrovae.objectives.bounds import CIWAE, IWAE, MIWAE, Renyi
from pyrovae.objectives.gradient_estimators import PIWAE, RWS, STL, DReG
from pyrovae.objectives.regularized import MMD, BetaTCVAE, FreeBits
from pyrovae.objectives.terms import NonFiniteLoss, estimate_elbo_terms

__all__ = [
    "CIWAE",
    "IWAE",
    "MIWAE",
    "MMD",
    "PIWAE",
    "RWS",
    "STL",
    "BetaTCVAE",
    "DReG",
    "FreeBits",
    "NonFiniteLoss",
    "Objective",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "Weights",
    "estimate_elbo_terms",
]
