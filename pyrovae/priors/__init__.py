"""Priors p(z): nothing in, a distribution over ``(D,)`` out. Subclass :class:`Prior` to add one."""

from pyrovae.priors.base import Prior, PriorFactory
from pyrovae.priors.normal import StandardNormal

__all__ = ["Prior", "PriorFactory", "StandardNormal"]
