"""Normalizing flows: invertible maps of vectors, optionally given a context, as transforms of Pyro.

To add one, subclass :class:`Flow`. A flow is a module with networks and parameters; each call makes a new transform,
because transforms cache the tensors that they have mapped.
"""

from pyrovae.flows.affine import AffineAutoregressive, AffineCoupling
from pyrovae.flows.base import Flow, FlowChain, FlowFactory
from pyrovae.flows.planar import Planar, Radial
from pyrovae.flows.spline import Spline, SplineAutoregressive, SplineCoupling

__all__ = [
    "AffineAutoregressive",
    "AffineCoupling",
    "Flow",
    "FlowChain",
    "FlowFactory",
    "Planar",
    "Radial",
    "Spline",
    "SplineAutoregressive",
    "SplineCoupling",
]
