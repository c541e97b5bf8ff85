"""Checks of the latents: posterior collapse, and single latents without information about the data."""

from __future__ import annotations

from pyrovae.evaluation.health.examined import Examined

__all__ = ["COLLAPSED", "collapse", "unused_latents"]

COLLAPSED = 0.1
"""KL in nats per datum below which a posterior counts as collapsed; a code of two equal classes has 0.69."""

_FEW = 20  # number of data below which the variance of the codes over data tells nothing of single latents
_REMEDY = "a weight of the KL that grows over more epochs (kl_warmup), or a smaller learning rate, may help"


def collapse(examined: Examined) -> str | None:
    """Tell that the posterior is the prior for all data."""
    found = examined.rate_distortion
    if found is None or (rate := found.rate.mean().item()) >= COLLAPSED:
        return None
    return (
        f"The posterior has collapsed: the codes carry {max(rate, 0.0):.2f} nats per datum, so that the model uses no "
        f"latent; {_REMEDY}."
    )


def unused_latents(examined: Examined) -> str | None:
    """Tell which latents carry no information, where the whole posterior has not collapsed."""
    found = examined.rate_distortion
    if found is None or len(found.rate) < _FEW or found.rate.mean().item() < COLLAPSED:
        return None
    units = {name: active for name, active in found.active.items() if active.numel() > 0}
    total = sum(each.numel() for each in units.values())
    dead = [
        f"{name}[{', '.join(map(str, index))}]" if index else name
        for name, each in units.items()
        for index in (~each).nonzero().tolist()
    ]
    if not dead:
        return None
    which = f" ({', '.join(dead)})" if len(dead) <= 8 else ""
    return f"{len(dead)} of {total} latents carry no information{which}: the model would be the same without them" + (
        f"; {_REMEDY}." if total <= 8 else "."
    )
