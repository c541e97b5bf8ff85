"""Running programs: traces, the kinds of their sites, and the sites that observe the data."""

from pyrovae.execution.data_sites import DataSites, Unobserved, check_simulation, find_data_sites
from pyrovae.execution.observed_cells import (
    MaskMissing,
    allow_missing,
    check_gaps,
    check_takes_missing,
    missing_of,
    see_zeros,
)
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
from pyrovae.execution.traces import evaluating, frozen_parameters, trace

__all__ = [
    "DataSites",
    "MaskMissing",
    "Unobserved",
    "allow_missing",
    "check_gaps",
    "check_masks",
    "check_simulation",
    "check_sites",
    "check_takes_missing",
    "evaluating",
    "find_data_sites",
    "frozen_parameters",
    "is_factor",
    "is_latent",
    "latents_of",
    "log_prob_of",
    "masks_of",
    "missing_of",
    "observed_of",
    "see_zeros",
    "trace",
    "values_of",
]
