"""Priors p(z): modules that return a distribution over ``(D,)``. Subclass :class:`Prior` to add one."""

from pyrovae.priors.base import Prior, PriorFactory
from pyrovae.priors.flow import FlowPrior
from pyrovae.priors.mixture import GaussianMixture
from pyrovae.priors.normal import LearnedNormal, StandardNormal
from pyrovae.priors.spherical import SphericalUniform
from pyrovae.priors.vamp import VampPrior

__all__ = [
    "FlowPrior",
    "GaussianMixture",
    "LearnedNormal",
    "Prior",
    "PriorFactory",
    "SphericalUniform",
    "StandardNormal",
    "VampPrior",
]
