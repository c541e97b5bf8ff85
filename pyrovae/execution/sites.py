"""Kinds of the sample sites of a trace, and the check of a guide's sites against a model's.

======================  ===================================================================================
kind                    definition
======================  ===================================================================================
latent                  sampled by the guide and by the model: z
datum                   observed by the model; the value comes from x (:func:`pyrovae.execution.find_data_sites`)
given                   observed; the value does not come from x, such as a label
factor                  ``pyro.factor``: a term of the log-density, without a value
deterministic           ``pyro.deterministic``: a value, without a density
======================  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae import checks

__all__ = [
    "check_all_sampled",
    "check_masks",
    "check_sites",
    "is_deterministic",
    "is_factor",
    "is_latent",
    "is_observed",
    "latents_of",
    "log_prob_of",
    "masks_of",
    "observed_of",
    "values_of",
]


def is_latent(site: dict[str, Any]) -> bool:
    """Tell whether a node of a trace is a latent sample site."""
    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)


def is_observed(site: dict[str, Any]) -> bool:
    """Tell whether a node of a trace is an observed sample site: a datum, something given, or a factor."""
    return (
        site["type"] == "sample" and site["is_observed"] and not site_is_subsample(site) and not is_deterministic(site)
    )


def is_factor(site: dict[str, Any]) -> bool:
    """Tell whether a sample site is made by ``pyro.factor``."""
    return site["type"] == "sample" and isinstance(site["fn"], dist.Unit)


def is_deterministic(site: dict[str, Any]) -> bool:
    """Tell whether a sample site is made by ``pyro.deterministic``."""
    return site["type"] == "sample" and bool(site["infer"] and site["infer"].get("_deterministic"))


def latents_of(trace: Trace) -> list[str]:
    """Name the latent sites, in the order in which they were sampled."""
    return [name for name, site in trace.nodes.items() if is_latent(site)]


def observed_of(trace: Trace, latents: Iterable[str] = ()) -> list[str]:
    """Name the observed sites, except those of ``latents``, which were conditioned on."""
    return [name for name, site in trace.nodes.items() if is_observed(site) and name not in latents]


def values_of(trace: Trace) -> dict[str, Tensor]:
    """Return the values of the latent sites by name, each ``(*plates, *event_shape)``."""
    return {name: trace.nodes[name]["value"] for name in latents_of(trace)}


def log_prob_of(trace: Trace, sites: Iterable[str]) -> Tensor:
    """Sum the log-probability of sites, masked but not scaled, in nats: the shape of their plates."""
    nodes = (trace.nodes[name] for name in sites)
    terms = (scale_and_mask(site["unscaled_log_prob"], mask=site["mask"]) for site in nodes)
    return sum(terms, torch.zeros(()))


def masks_of(site: dict[str, Any]) -> Tensor | None:
    """Return which entries of a site's value count, by ``poutine.mask`` and ``dist.mask`` together.

    Args:
        site: a sample site of a trace.

    Returns:
        booleans that broadcast to the value, ``(*batch_shape, *event_shape)``; None if all entries count.

    Example:
        >>> fn = dist.Normal(torch.zeros(2, 3), 1.0).mask(torch.tensor([[True], [False]])).to_event(1)
        >>> masks_of({"fn": fn, "mask": None}).shape
        torch.Size([2, 3])
    """
    fn, masks = site["fn"], [_over_event(site["mask"], len(site["fn"].event_shape))]
    while isinstance(fn, torch.distributions.Independent | dist.ExpandedDistribution | dist.MaskedDistribution):
        if isinstance(fn, dist.MaskedDistribution):
            masks.append(_over_event(fn._mask, len(fn.event_shape)))
        fn = fn.base_dist
    found = [mask for mask in masks if mask is not None]
    if not found:
        return None
    together = found[0]
    for mask in found[1:]:
        together = together & mask
    return None if bool(together.all()) else together


def _over_event(mask: Any, event_dim: int) -> Tensor | None:
    if mask is None:
        return None
    mask = torch.as_tensor(mask, dtype=torch.bool)
    return mask.reshape(*mask.shape, *[1] * event_dim) if mask.dim() else mask


def check_sites(model_trace: Trace, guide_trace: Trace, *, has_latents: bool = True) -> None:
    """Refuse a guide whose latent sites are not those of the model.

    Args:
        model_trace: trace of the model, replayed against the guide.
        guide_trace: trace of the guide.
        has_latents: True if there must be latents.

    Raises:
        ValueError: if the guide samples none, too few or too many sites, a site is latent in one program and observed
            in the other, or the model observes nothing.
    """
    latents = latents_of(guide_trace)
    if has_latents and not latents:
        raise checks.InputError("guide must sample at least one latent site, but samples none")
    for name in sorted(latents):
        if name not in model_trace.nodes:
            raise checks.InputError(f"guide must sample latent sites of the model only, but samples {name!r} too")
        if is_observed(model_trace.nodes[name]):
            raise checks.InputError(
                f"guide must sample latent sites of the model only, but samples {name!r}, which the model observes"
            )
    check_all_sampled(model_trace, guide_trace)
    for name in sorted(latents_of(model_trace)):
        if name not in latents:
            raise checks.InputError(f"guide must sample every latent site of the model, but observes {name!r}")
    if not any(is_observed(site) for site in model_trace.nodes.values()):
        raise checks.InputError("model must observe x, but observes no site")


def check_all_sampled(model_trace: Trace, guide_trace: Trace) -> None:
    """Refuse a guide that lacks a latent site of the model.

    Args:
        model_trace: trace of the model, replayed against the guide.
        guide_trace: trace of the guide.

    Raises:
        ValueError: naming the site.
    """
    for name in latents_of(model_trace):
        if name not in guide_trace.nodes:
            raise checks.InputError(f"guide must sample every latent site of the model, but does not sample {name!r}")


def check_masks(model_trace: Trace, guide_trace: Trace) -> None:
    """Refuse a guide that masks latents differently from the model, because the difference of terms is then no KL.

    Args:
        model_trace: trace of the model, replayed against the guide.
        guide_trace: trace of the guide.

    Raises:
        ValueError: naming the site.
    """
    whole = torch.ones((), dtype=torch.bool)
    for name in latents_of(guide_trace):
        found = (masks_of(trace.nodes[name]) for trace in (model_trace, guide_trace))
        model, guide = (whole if mask is None else mask.cpu() for mask in found)
        if not torch.equal(*torch.broadcast_tensors(model, guide)):
            raise checks.InputError(
                f"model and guide must mask the latent site {name!r} alike, for the difference of their "
                f"log-densities to be that of one latent, but {_masked('the model', model)} and "
                f"{_masked('the guide', guide)}"
            )


def _masked(program: str, mask: Tensor) -> str:
    return f"{program} masks {'none' if bool(mask.all()) else 'all' if not bool(mask.any()) else 'some'} of its values"
