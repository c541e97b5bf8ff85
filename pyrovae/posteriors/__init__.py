"""Posteriors q(z|x), the guide's conditionals: an image in, a distribution over ``(D,)`` out.

Subclass :class:`Posterior` to add one.
"""

from pyrovae.posteriors.base import Posterior, PosteriorFactory
from pyrovae.posteriors.flow import FlowPosterior
from pyrovae.posteriors.mixture import MixturePosterior
from pyrovae.posteriors.normal import DiagonalNormal, FullCovarianceNormal, LowRankNormal
from pyrovae.posteriors.point import PointPosterior
from pyrovae.posteriors.spherical import VonMisesFisher

__all__ = [
    "DiagonalNormal",
    "FlowPosterior",
    "FullCovarianceNormal",
    "LowRankNormal",
    "MixturePosterior",
    "PointPosterior",
    "Posterior",
    "PosteriorFactory",
    "VonMisesFisher",
]
