"""Check that the guide's support covers the prior's; otherwise importance sampling underestimates log p(x)."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.support_bounds import (
    BOUND_TOLERANCE,
    LOWER_DIMENSIONAL,
    Bounds,
    bounds_of,
    in_support,
    is_truncated,
    support_kind,
    unwrap,
)

__all__ = ["check_coverage", "check_kind"]


def check_kind(name: str, model: Any, guide: Any) -> None:
    """Refuse two distributions of one site whose densities refer to different measures.

    Args:
        name: name of the latent site.
        model: the prior's distribution at the site.
        guide: the guide's distribution.

    Raises:
        ValueError: if one is discrete or on a surface, such as a simplex, and the other is not.

    Example:
        >>> check_kind("z", dist.Exponential(1.0), dist.Normal(0.0, 1.0))
    """
    if support_kind(model) != support_kind(guide):
        raise checks.InputError(
            f"guide and model must have densities of one kind at each latent site, but at {name!r} the guide's support "
            f"is {_describe_support(guide)} and the model's is {_describe_support(model)}"
        )


def check_coverage(name: str, model: Any, guide: Any, z: Tensor | None = None, *, definite: bool = True) -> bool:
    """Refuse a guide whose support does not cover the prior's: log p(x) would lack the rest.

    Args:
        name: name of the latent site.
        model: the prior's distribution at the site.
        guide: the guide's distribution.
        z: samples of the prior, used if the supports are no intervals.
        definite: True if both distributions depend on the same other latents, so that bounds can be compared.

    Returns:
        True if coverage is certain; without samples it may be undecided.

    Raises:
        ValueError: if the guide does not cover the prior, naming the site and both supports.

    Example:
        >>> check_coverage("z", dist.Exponential(1.0), dist.Normal(0.0, 1.0))
        True
    """
    check_kind(name, model, guide)
    inner, outer = bounds_of(model), bounds_of(guide)
    if outer is not None and outer.is_unbounded:
        return True
    constant = inner is not None and inner.is_constant and outer is not None and outer.is_constant
    if inner is not None and outer is not None and (constant or z is not None):
        if constant or definite:
            _compare(name, model, guide, inner, outer)
            return _compare_points(name, model, guide)
    elif (
        support_kind(model) in LOWER_DIMENSIONAL
        and type(model.support) is type(guide.support)
        and not is_truncated(guide)
    ):
        return _compare_points(name, model, guide)
    if z is None:
        return False
    outside = in_support(model, z) & ~in_support(guide, z, BOUND_TOLERANCE)
    if bool(outside.any()):
        first = z[outside][0]
        drawn = f"draws {first.item():.4g}" if first.numel() == 1 else "draws a value"
        raise _refusal(
            name, f"the model {drawn}, which the guide, of the support {_describe_support(guide)}, never does"
        )
    return _compare_points(name, model, guide)


def _compare(name: str, model: Any, guide: Any, inner: Bounds, outer: Bounds) -> None:
    given = [torch.as_tensor(end, dtype=torch.float64, device="cpu") for end in (*inner[:2], *outer[:2])]
    low, high, least, most = torch.broadcast_tensors(*given)
    outside = (least > low + _tolerance(low, least)) | (most < high - _tolerance(high, most))
    for fn in (model, guide):
        if isinstance(fn, dist.MaskedDistribution) and isinstance(fn._mask, bool):
            outside = outside & fn._mask
    if bool(outside.any()):
        a, b, c, d = (end[outside][0].item() for end in (low, high, least, most))
        raise _refusal(name, f"it covers {_interval(c, d)} and the model's is {_interval(a, b)}")


def _compare_points(name: str, model: Any, guide: Any) -> bool:
    """Compare the classes with positive probability."""
    able = [_possible(unwrap(fn)) for fn in (model, guide)]
    if able[0] is not None and able[1] is not None and able[0].shape[-1:] == able[1].shape[-1:]:
        lost = able[0] & ~able[1]
        if bool(lost.any()):
            category = int(lost.nonzero()[0, -1])
            raise _refusal(name, f"it never draws the class {category}, which the model does")
    return True


def _possible(fn: Any) -> Tensor | None:
    """Tell which classes have positive probability, by the parameter as given: ``(*, C)``."""
    if isinstance(fn, torch.distributions.OneHotCategorical):
        fn = fn._categorical
    if not isinstance(fn, torch.distributions.Categorical | torch.distributions.Bernoulli):
        return None
    is_logits = fn._param is fn.__dict__.get("logits")
    given = fn._param.detach()
    if isinstance(fn, torch.distributions.Categorical):
        return given > (-math.inf if is_logits else 0)
    ends = (math.inf, -math.inf) if is_logits else (1, 0)
    return torch.stack([given != end for end in ends], -1)


def _refusal(name: str, what: str) -> checks.InputError:
    return checks.InputError(
        "guide must cover the support of the model's latents, or log p(x) lacks what it never draws, but at "
        f"{name!r} {what}"
    )


def _describe_support(fn: Any) -> str:
    bounds = bounds_of(fn)
    if bounds is not None and not bounds.is_unbounded:
        lower, upper = (torch.as_tensor(end).flatten()[0].item() for end in bounds[:2])
        return ("the whole numbers in " if bounds.discrete else "") + _interval(lower, upper)
    return checks.constraint_name(unwrap(fn).support)


def _interval(lower: float, upper: float) -> str:
    return f"[{lower:.4g}, {upper:.4g}]"


def _tolerance(*ends: Tensor) -> Tensor:
    return BOUND_TOLERANCE * torch.stack([torch.where(end.isfinite(), end.abs(), 0.0) for end in ends]).amax(0)
