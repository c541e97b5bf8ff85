"""Likelihoods p(x|z): a code in, a distribution over ``data_shape`` out. Subclass :class:`Likelihood` to add one."""

from pyrovae.likelihoods.base import Likelihood, LikelihoodFactory
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.gaussian import Gaussian

__all__ = ["Bernoulli", "Gaussian", "Likelihood", "LikelihoodFactory"]
