"""Check of mixtures as priors: components that no code uses, or that are the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import NormalMixture
from pyrovae.evaluation.health.examined import Examined

__all__ = ["dead_components"]

_USED = 0.01  # of the share of a component, were all equal, below which it counts as unused
_WASTED = 0.1  # share of components, from which it is told
_DATA = 10  # number of data a component from which its use is known
_SAME = 0.01  # largest difference of means in units of the scale, and of the logarithms of scales


class _Mixture(NamedTuple):
    """K components of a mixture over ``(D,)``.

    Attributes:
        logits: logarithms of their weights and any constant, ``(K,)``.
        mean: ``(K, D)``.
        stddev: ``(K, D)``.
        share: share of each component in the density at the codes, ``(N, K)``.
    """

    logits: Tensor
    mean: Tensor
    stddev: Tensor
    share: Tensor


def dead_components(examined: Examined) -> str | None:
    """Tell how many components of a mixture prior hold no codes, and how many repeat others."""
    for site in examined.latents:
        found = _mixture_of(site)
        if found is None or (K := len(found.logits)) < 2:
            continue
        use = found.share.mean(0) if len(found.share) >= _DATA * K else found.logits.softmax(0)
        used = use >= _USED / K
        repeated = int(_repeats(found.mean[used], found.stddev[used]).sum())
        dead = K - int(used.sum())
        if dead + repeated >= _WASTED * K:
            told = [f"{dead} hold less than {_USED / K:.2g} of the codes each"] if dead else []
            told += [f"{repeated} are the same as another"] if repeated else []
            return (
                f"Of the {K} components of the prior, {' and '.join(told)}: {K - dead - repeated} would do as well "
                "(num_components), or pyrovae refit_prior sets them anew."
            )
    return None


def _mixture_of(site: dict[str, Any]) -> _Mixture | None:
    """Return the components of a site's distribution with one mixture for all data, and its codes' shares."""
    fn: Any = site["fn"]
    while isinstance(fn, dist.ExpandedDistribution | torch.distributions.Independent):
        fn = fn.base_dist
    z: Tensor = site["value"]
    parts: Any
    if isinstance(fn, NormalMixture):
        logits, parts = fn.logits, dist.Normal(fn.loc, fn.scale).to_event(1)
    elif isinstance(fn, torch.distributions.MixtureSameFamily):
        logits, parts = fn.mixture_distribution.logits, fn.component_distribution
    else:
        return None
    first, K = (0,) * (logits.dim() - 1), logits.shape[-1]
    if bool((logits != logits[first]).any()):
        return None  # each datum has weights of its own
    try:
        mean, stddev = (part[first].reshape(K, -1) for part in (parts.mean, parts.stddev))
    except NotImplementedError:
        return None
    log_prob = parts.log_prob(z.unsqueeze(-1 - len(parts.event_shape)))  # (N, K)
    return _Mixture(logits[first], mean, stddev, (log_prob + logits.log_softmax(-1)).softmax(-1))


def _repeats(mean: Tensor, stddev: Tensor) -> Tensor:
    """Tell for each component whether an earlier one is the same, ``(K,)``."""
    apart = torch.cdist(mean / stddev, mean / stddev, p=torch.inf)
    apart = apart.maximum(torch.cdist(stddev.log(), stddev.log(), p=torch.inf))
    return (apart < _SAME).tril(-1).any(1)
