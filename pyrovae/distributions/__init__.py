"""Distributions that Pyro lacks, or that conditionals need in a more accurate or more general form."""

from pyrovae.distributions.bernoulli import UnitBernoulli
from pyrovae.distributions.columnwise import ColumnGroup, ColumnSupport, Columnwise
from pyrovae.distributions.constraints import Counts, Levels
from pyrovae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyrovae.distributions.counts import InflatedCounts, NegativeBinomialCounts, PoissonCounts
from pyrovae.distributions.full_covariance import MultivariateNormal
from pyrovae.distributions.library_size import GivenTotal
from pyrovae.distributions.linear_bernoulli import LinearBernoulli
from pyrovae.distributions.log_normal import LogNormal
from pyrovae.distributions.low_rank import LowRankMultivariateNormal
from pyrovae.distributions.mixture import NormalMixture
from pyrovae.distributions.optimal_normal import OptimalNormal
from pyrovae.distributions.pushforward import Pushforward
from pyrovae.distributions.quantized import QuantizedCategorical, QuantizedLogistic
from pyrovae.distributions.quantized_mixture import QuantizedLogisticMixture
from pyrovae.distributions.student_t import StudentT
from pyrovae.distributions.torch_distributions import FlattenedBatch, to_pyro
from pyrovae.distributions.von_mises_fisher import UniformSphere, VonMisesFisher

__all__ = [
    "ColumnGroup",
    "ColumnSupport",
    "Columnwise",
    "ContinuousBernoulli",
    "Counts",
    "FlattenedBatch",
    "GivenTotal",
    "InflatedCounts",
    "Levels",
    "LinearBernoulli",
    "LogNormal",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "NegativeBinomialCounts",
    "NormalMixture",
    "OptimalNormal",
    "PoissonCounts",
    "Pushforward",
    "QuantizedCategorical",
    "QuantizedLogistic",
    "QuantizedLogisticMixture",
    "StudentT",
    "UniformSphere",
    "UnitBernoulli",
    "VonMisesFisher",
    "to_pyro",
]
