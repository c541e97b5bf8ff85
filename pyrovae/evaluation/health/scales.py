"""Checks of scales: those at their lower bound, and densities that grow without one."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.evaluation.health.examined import Examined
from pyrovae.evaluation.health.terms import observed_terms

__all__ = ["exploding_density", "scale_at_bound"]

_SHARE = 0.01  # of the values at the bound, from which it is told
_EXPLODES = 5.0  # nats per feature, in units of its spread: a normal of 0.0016 of the spread, and no error


def scale_at_bound(examined: Examined) -> str | None:
    """Tell that scales of a prior, likelihood or posterior are at their lower bound, and what that means for it."""
    worst = max(examined.at_bound, key=lambda found: found.share, default=None)
    if worst is None or worst.share < _SHARE:
        return None
    return (
        f"Of the positive parameters of {type(worst.component).__name__} {worst.share:.0%} are at their lower bound, "
        f"{worst.minimum:g}: {worst.component.at_lower_bound}."
    )


def exploding_density(examined: Examined) -> str | None:
    """Tell that a density has all but a point of mass at each value of some features."""
    for terms in observed_terms(examined):
        if terms.discrete or len(terms.value) < 2:
            continue
        value = terms.value.flatten(1).double()  # (N, P)
        spread = _deviation(value)
        whole = _deviation(value.reshape(-1, 1)).clamp(min=torch.finfo(value.dtype).tiny)
        spread = torch.where(spread > 0, spread, whole)
        gain = terms.log_prob.flatten(1).double().nanmean(0) + spread.log()  # (P,), in nats
        over = gain > _EXPLODES
        if bool(over.any()):
            return (
                f"The density explodes for {int(over.sum())} of {len(gain)} features, which are known to about "
                f"{(-gain[over]).exp().median().item():.1g} of their spread and add {gain[over].sum().item():.0f} nats "
                "per datum: a density has no bound where features are constant, or repeat values exactly; leave such "
                "features out, dequantise them, or raise min_scale."
            )
    return None


def _deviation(value: Tensor) -> Tensor:
    """Return the standard deviation of the observed values of each column, ``(P,)``, of ``(N, P)``."""
    degrees = (~value.isnan()).sum(0) - 1
    return ((value - value.nanmean(0)).square().nansum(0) / degrees.clamp(min=1)).sqrt()
