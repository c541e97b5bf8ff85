"""Samples and log-densities that are accurate near bounds, and zero densities outside of the support."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import transforms

from pyrovae.distributions.log_coordinates import Simplex, log_space_of, logs_of
from pyrovae.distributions.support_bounds import bounds_of, in_support, unwrap

__all__ = ["apply_last_transform", "draw", "invert_last_transform", "log_density"]


def log_density(fn: Any, z: Tensor) -> Tensor:
    """Return the log-density of a value: minus infinity outside of the support, or if rounding made it infinite.

    Args:
        fn: a distribution.
        z: values, ``(*batch_shape, *event_shape)``, with any further dimensions on the left.

    Returns:
        log-densities in nats, ``(*batch_shape)``.

    Example:
        >>> fn = dist.Exponential(torch.ones(3), validate_args=False)
        >>> log_density(fn, torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-inf, 0., -1.])
    """
    bounds = bounds_of(fn)
    if bounds is not None and bounds.is_unbounded:
        return fn.log_prob(z)
    if isinstance(fn, dist.MaskedDistribution):
        return scale_and_mask(log_density(fn.base_dist, z), mask=fn._mask)
    if isinstance(fn, torch.distributions.Independent):
        return _sum_last(log_density(fn.base_dist, z), fn.reinterpreted_batch_ndims)
    space = log_space_of(fn)
    logs = logs_of(z, space)
    found = None if logs is None else _density(fn, logs)
    if found is None:
        is_class = isinstance(fn, torch.distributions.Bernoulli) and not z.is_floating_point()
        found = fn.log_prob(z.to(fn._param.dtype) if is_class else z)  # integer classes, sampled by a Categorical
    impossible = ~in_support(fn, z) | (found == math.inf)
    return torch.where(impossible, -math.inf, found)


def draw(fn: Any) -> Tensor:
    """Sample a value for each element of the batch; next to a bound, the value keeps its logarithm.

    Example:
        >>> z = draw(dist.Gamma(torch.full((1000,), 0.01), 1.0))
        >>> bool(logs_of(z, log_space_of(dist.Gamma(0.01, 1.0))).min() < -200)
        True
    """
    if isinstance(fn, dist.MaskedDistribution | torch.distributions.Independent):
        return draw(fn.base_dist)
    if isinstance(fn, torch.distributions.LKJCholesky):
        return _correlations(fn)
    if isinstance(fn, dist.LKJ):
        return fn.transforms[0](_correlations(fn.base_dist))
    space = log_space_of(fn)
    logs = None if space is None else _logs(fn)
    return fn.sample() if space is None or logs is None else space.value(logs)


def apply_last_transform(fn: Any, before: Tensor) -> Tensor | None:
    """Apply a distribution's last transform, keeping the logarithms of the result; None if it has none.

    Args:
        fn: a transformed distribution.
        before: input of the last transform.
    """
    last, space = fn.transforms[-1], log_space_of(fn)
    if space is None or not _has_real_input(fn):
        return None
    if isinstance(last, transforms.ExpTransform | transforms.SigmoidTransform):
        return space.value(before)
    if isinstance(last, transforms.StickBreakingTransform) and isinstance(space, Simplex):
        return space.value(space.logs_at(before - _offset(before)))
    return None


def invert_last_transform(fn: Any, z: Tensor) -> Tensor | None:
    """Invert a distribution's last transform by the logarithms that a value keeps; None if it has none."""
    last, space = fn.transforms[-1], log_space_of(fn)
    logs = logs_of(z, space)
    if space is None or logs is None or not _has_real_input(fn):
        return None
    if isinstance(last, transforms.ExpTransform | transforms.SigmoidTransform):
        return logs
    if isinstance(last, transforms.StickBreakingTransform):
        coordinates = space.coordinates(logs)
        return coordinates + _offset(coordinates)
    return None


def _has_real_input(fn: Any) -> bool:
    """Tell whether the input of the last transform may be any real number."""
    bounds = bounds_of(_before(fn))
    return bounds is not None and bounds.is_unbounded


def _density(fn: Any, logs: Tensor) -> Tensor | None:
    """Return the log-density of a value, computed from its logarithms; None if there is no formula."""
    if isinstance(fn, dist.ExpandedDistribution):
        return _density(fn.base_dist, logs)
    if isinstance(fn, torch.distributions.Independent):
        each = _density(fn.base_dist, logs)
        return None if each is None else _sum_last(each, fn.reinterpreted_batch_ndims)
    if isinstance(fn, torch.distributions.Gamma):
        a, rate = fn.concentration, fn.rate
        return a * rate.log() + (a - 1) * logs - rate * logs.exp() - a.lgamma()
    if isinstance(fn, torch.distributions.Exponential):
        return fn.rate.log() - fn.rate * logs.exp()
    if isinstance(fn, torch.distributions.Kumaraswamy):
        a, b = fn.concentration1, fn.concentration0
        rest_of_power = _log_one_minus_exp_exp(_log_minus_log(logs) + a.log())  # log(1 - z^a)
        return a.log() + b.log() + (a - 1) * F.logsigmoid(logs) + (b - 1) * rest_of_power
    if isinstance(fn, torch.distributions.Beta):
        a, b = fn.concentration1, fn.concentration0
        normalizer = a.lgamma() + b.lgamma() - (a + b).lgamma()
        return (a - 1) * F.logsigmoid(logs) + (b - 1) * F.logsigmoid(-logs) - normalizer
    if isinstance(fn, torch.distributions.Dirichlet):
        a = fn.concentration
        return ((a - 1) * logs).sum(-1) - a.lgamma().sum(-1) + a.sum(-1).lgamma()
    if not isinstance(fn, torch.distributions.TransformedDistribution) or not fn.transforms:
        return None
    last, rest = fn.transforms[-1], _before(fn)
    if isinstance(last, transforms.AffineTransform):
        scale = torch.as_tensor(last.scale, dtype=logs.dtype, device=logs.device)
        inner = _scaled(fn, logs, scale, -1)
        below = None if inner is None else _density(rest, inner)
        return None if below is None else below - _sum_last(scale.abs().log().expand_as(logs), len(fn.event_shape))
    if isinstance(last, transforms.PowerTransform) and _is_positive(rest):
        power = torch.as_tensor(last.exponent, dtype=logs.dtype, device=logs.device)
        below = _density(rest, logs / power)
        volume = power.abs().log() + logs - logs / power
        return None if below is None else below - _sum_last(volume, len(fn.event_shape))
    if not _has_real_input(fn):
        return None
    if isinstance(last, transforms.ExpTransform):
        return rest.log_prob(logs) - _sum_last(logs, len(fn.event_shape))
    if isinstance(last, transforms.SigmoidTransform):
        return rest.log_prob(logs) - _sum_last(F.logsigmoid(logs) + F.logsigmoid(-logs), len(fn.event_shape))
    if isinstance(last, transforms.StickBreakingTransform):
        u = Simplex().coordinates(logs)
        return rest.log_prob(u + _offset(u)) - Simplex().volume(u)
    return None


def _sum_last(values: Tensor, count: int) -> Tensor:
    """Sum over the last ``count`` dimensions."""
    return values.flatten(values.dim() - count).sum(-1) if count else values


def _log_minus_log(v: Tensor) -> Tensor:
    """Return log(-log(sigmoid(v))), also if the sigmoid rounds to one."""
    return torch.where(v > 15, -v, F.softplus(-v.clamp(max=15)).log())


def _log_one_minus_exp_exp(t: Tensor) -> Tensor:
    """Return log(1 - exp(-exp(t))), also if the difference rounds to zero."""
    return torch.where(t < -15, t, (-torch.expm1(-t.clamp(min=-15).exp())).log())


def _logs(fn: Any) -> Tensor | None:
    """Sample the logarithms of a value; None if there is no method."""
    if isinstance(fn, torch.distributions.Gamma):
        return _log_gamma(fn.concentration) - fn.rate.log()
    if isinstance(fn, torch.distributions.Exponential):
        return torch.empty_like(fn.rate).exponential_().log() - fn.rate.log()
    if isinstance(fn, torch.distributions.Kumaraswamy):
        share = _log_gamma(torch.ones_like(fn.concentration0)) - _log_gamma(fn.concentration0)  # a logit of z^a
        return F.logsigmoid(share) / fn.concentration1 - _log_one_minus_exp_exp(
            _log_minus_log(share) - fn.concentration1.log()
        )
    if isinstance(fn, torch.distributions.Beta):
        return _log_gamma(fn.concentration1) - _log_gamma(fn.concentration0)
    if isinstance(fn, torch.distributions.Dirichlet):
        return _log_gamma(fn.concentration).log_softmax(-1)
    if not isinstance(fn, torch.distributions.TransformedDistribution) or not fn.transforms:
        return None
    last, rest = fn.transforms[-1], _before(fn)
    if isinstance(last, transforms.AffineTransform):
        below = _logs(unwrap(rest))
        return None if below is None else _scaled(fn, below, torch.as_tensor(last.scale, device=below.device), 1)
    if isinstance(last, transforms.PowerTransform) and _is_positive(rest):
        below = _logs(unwrap(rest))
        return None if below is None else last.exponent * below
    if not _has_real_input(fn):
        return None
    if isinstance(last, transforms.ExpTransform | transforms.SigmoidTransform):
        return rest.sample()
    if isinstance(last, transforms.StickBreakingTransform):
        u = rest.sample()
        return Simplex().logs_at(u - _offset(u))
    return None


def _correlations(fn: Any) -> Tensor:
    """Sample Cholesky factors row by row (Lewandowski et al., 2009); torch's have another law if D > 2."""
    a = fn.concentration  # (*batch_shape)
    rows = torch.zeros(*a.shape, fn.dim, fn.dim, dtype=a.dtype, device=a.device)
    rows[..., 0, 0] = 1
    for i in range(1, fn.dim):
        square = dist.Beta(torch.full_like(a, 0.5 * i), a + 0.5 * (fn.dim - 1 - i)).sample()
        direction = F.normalize(torch.randn(*a.shape, i, dtype=a.dtype, device=a.device), dim=-1)
        rows[..., i, :i] = square.sqrt().unsqueeze(-1) * direction
        rows[..., i, i] = (1 - square).clamp(min=torch.finfo(a.dtype).tiny).sqrt()
    return rows


def _log_gamma(a: Tensor) -> Tensor:
    """Sample the logarithm of a standard gamma; for a < 1, by a gamma of a + 1 and a uniform number to the 1/a."""
    boost = torch.where(a < 1, -torch.empty_like(a).exponential_() / a, 0.0)
    return torch._standard_gamma(torch.where(a < 1, a + 1, a)).log() + boost


def _scaled(fn: Any, logs: Tensor, scale: Tensor, sign: int) -> Tensor | None:
    """Return the logarithms after multiplication by ``scale`` (``sign`` is 1), or before it (``sign`` is -1)."""
    space = log_space_of(fn)
    if space is None or isinstance(space, Simplex) or not bool((scale > 0).all() | (scale < 0).all()):
        return None
    if space.form == "both":
        return logs if bool((scale > 0).all()) else -logs
    return logs + sign * scale.abs().log()


def _is_positive(fn: Any) -> bool:
    bounds = bounds_of(fn)
    return bounds is not None and not isinstance(bounds.lower, Tensor) and bounds[:2] == (0, math.inf)


def _before(fn: Any) -> Any:
    rest = fn.transforms[:-1]
    return dist.TransformedDistribution(fn.base_dist, rest, validate_args=False) if rest else fn.base_dist


def _offset(u: Tensor) -> Tensor:
    """Return the difference of torch's coordinates of a simplex from those of :class:`Simplex`."""
    return torch.arange(u.shape[-1], 0, -1, dtype=u.dtype, device=u.device).log()
