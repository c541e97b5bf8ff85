"""Posteriors q(z|x), the guide's conditionals: an image in, a distribution over ``(D,)`` out.

Subclass :class:`Posterior` to add one.
"""

from pyrovae.posteriors.base import Posterior, PosteriorFactory
from pyrovae.posteriors.normal import DiagonalNormal

__all__ = ["DiagonalNormal", "Posterior", "PosteriorFactory"]
