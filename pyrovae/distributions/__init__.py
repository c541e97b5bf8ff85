"""Distributions that Pyro lacks, or has otherwise than a likelihood needs."""

from pyrovae.distributions.bernoulli import UnitBernoulli

__all__ = ["UnitBernoulli"]
