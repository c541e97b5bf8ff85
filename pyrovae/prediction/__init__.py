"""Predictions of a program: codes, reconstructions, new data, and paths between codes."""

from pyrovae.prediction.interpolation import class_direction, linear_path, spherical_path
from pyrovae.prediction.posterior import posterior_scales, sample_posterior
from pyrovae.prediction.predictive import decode, encode, generate, is_discrete, prior_grid, reconstruct
from pyrovae.prediction.simulation import simulate

__all__ = [
    "class_direction",
    "decode",
    "encode",
    "generate",
    "is_discrete",
    "linear_path",
    "posterior_scales",
    "prior_grid",
    "reconstruct",
    "sample_posterior",
    "simulate",
    "spherical_path",
]
