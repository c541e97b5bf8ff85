"""Likelihoods p(x|z): maps from codes to distributions over data. Subclass :class:`Likelihood` to add one."""

from pyrovae.likelihoods.base import Likelihood, LikelihoodFactory, caveat_of
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyrovae.likelihoods.counts import CountLikelihood, NegativeBinomial, Poisson
from pyrovae.likelihoods.discretized import Categorical, DiscretizedLogistic
from pyrovae.likelihoods.discretized_mixture import DiscretizedLogisticMixture
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.likelihoods.heavy_tailed import Laplace, StudentT
from pyrovae.likelihoods.location_scale import LocationScale
from pyrovae.likelihoods.log_normal import LogNormal
from pyrovae.likelihoods.ordinal import Ordinal
from pyrovae.likelihoods.table import TableLikelihood

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "CountLikelihood",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LikelihoodFactory",
    "LocationScale",
    "LogNormal",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
    "TableLikelihood",
    "caveat_of",
]
