"""Traces of programs, what their sites are, and which of them observe the data."""

from pyrovae.execution.datum import Datum, Unobserved, check_simulation, datum_of
from pyrovae.execution.sites import (
    check_masks,
    check_sites,
    is_factor,
    is_latent,
    latents_of,
    log_prob_of,
    masks_of,
    observed_of,
    values_of,
)
from pyrovae.execution.traces import evaluating, frozen, trace

__all__ = [
    "Datum",
    "Unobserved",
    "check_masks",
    "check_simulation",
    "check_sites",
    "datum_of",
    "evaluating",
    "frozen",
    "is_factor",
    "is_latent",
    "latents_of",
    "log_prob_of",
    "masks_of",
    "observed_of",
    "trace",
    "values_of",
]
