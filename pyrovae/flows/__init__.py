"""Normalizing flows: invertible maps of vectors, with a context or without, each one of Pyro's transforms.

To add one, subclass :class:`Flow`. What it registers are networks and parameters; each call makes its transform of
them anew, because a transform remembers the tensors that it has seen.
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
