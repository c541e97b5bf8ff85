"""Posteriors q(z|x), the conditionals of guides: maps from data to distributions over ``(D,)``.

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
