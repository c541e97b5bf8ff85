"""Values that keep their logarithms, so that rounding near a bound does not change their density.

Most samples of a gamma, beta or Dirichlet distribution with concentration far below one are closer to a bound than any
float. The density can then not be computed from the rounded value. The logarithm can be sampled, and its density
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from torch import Tensor

from pyrovae.distributions.support_bounds import bounds_of, unwrap

__all__ = [
    "Interval",
    "LogSpace",
    "Simplex",
    "log_space_of",
    "logs_of",
    "map_with_logs",
    "stack_with_logs",
    "with_logs",
]


class Interval(NamedTuple):
    """An interval with one or two finite ends; coordinates are log-distances from an end, or logits.

    Attributes:
        lower: lower end, minus infinity if only ``upper`` is finite.
        upper: upper end, infinity if only ``lower`` is finite.
        form: the finite ends: ``lower``, ``upper`` or ``both``.
    """

    lower: float | Tensor
    upper: float | Tensor
    form: str

    def value(self, v: Tensor) -> Tensor:
        """Return the values at log-distances (logits, for two ends); they keep these logarithms."""
        limits = torch.finfo(v.dtype)
        if self.form == "both":
            share = v.sigmoid().clamp(limits.tiny, 1 - limits.eps / 2)
            z = share if self.is_unit else self._clamped(self.lower + (self.upper - self.lower) * share)
        else:
            distance = v.exp().clamp(limits.tiny, limits.max)
            z = self.lower + distance if self.form == "lower" else self.upper - distance
        return with_logs(z, self, v)

    def logs(self, z: Tensor) -> Tensor:
        """Return the log-distances (logits, for two ends) of values."""
        limits = torch.finfo(z.dtype)
        if self.form == "both":
            share = ((z - self.lower) / (self.upper - self.lower)).clamp(limits.tiny, 1 - limits.eps / 2)
            return share.log() - (-share).log1p()
        return (z - self.lower if self.form == "lower" else self.upper - z).clamp(limits.tiny, limits.max).log()

    def volume(self, v: Tensor) -> Tensor:
        """Return log ``|dz / dv|``, elementwise."""
        if self.form != "both":
            return v
        width = torch.as_tensor(self.upper - self.lower, dtype=v.dtype, device=v.device)
        return F.logsigmoid(v) + F.logsigmoid(-v) + width.log()

    def coordinates(self, v: Tensor) -> Tensor:
        """Return ``v``, which is an unconstrained coordinate itself."""
        return v

    def logs_at(self, u: Tensor) -> Tensor:
        """Return the logarithms at unconstrained coordinates, which are equal."""
        return u

    @property
    def is_unit(self) -> bool:
        """True if the interval is [0, 1]."""
        return not isinstance(self.lower, Tensor) and not isinstance(self.upper, Tensor) and self[:2] == (0, 1)

    def is_same(self, other: Any) -> bool:
        """Tell whether another interval has the same ends."""
        return (
            isinstance(other, Interval)
            and self.form == other.form
            and all(_equal(a, b) for a, b in zip(self[:2], other[:2], strict=True))
        )

    def _clamped(self, z: Tensor) -> Tensor:
        low, high = (torch.as_tensor(end, dtype=z.dtype, device=z.device) for end in self[:2])
        return torch.minimum(torch.maximum(z, low.nextafter(high)), high.nextafter(low))


class Simplex:
    """The simplex: positive numbers with sum one, kept as logarithms; coordinates are the logits of stick-breaking."""

    def value(self, logs: Tensor) -> Tensor:
        """Return the values with given logarithms, ``(*, K)``; they keep these logarithms."""
        z = logs.exp().clamp(min=torch.finfo(logs.dtype).tiny)
        return with_logs(z, self, logs)

    def logs(self, z: Tensor) -> Tensor:
        """Return the logarithms of values, ``(*, K)``."""
        logs = z.clamp(min=torch.finfo(z.dtype).tiny).log()
        return logs - logs.logsumexp(-1, keepdim=True)

    def volume(self, u: Tensor) -> Tensor:
        """Return log ``|dz / du|``, ``(*)``, of K - 1 of the values with respect to coordinates ``(*, K - 1)``."""
        left = F.logsigmoid(-u).cumsum(-1)
        return (F.logsigmoid(u) + left).sum(-1)

    def coordinates(self, logs: Tensor) -> Tensor:
        """Return the logit of each value as a share of it and those after it, ``(*, K - 1)``."""
        left = logs.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
        return logs[..., :-1] - left

    def logs_at(self, u: Tensor) -> Tensor:
        """Return the logarithms of the values at coordinates, ``(*, K)``."""
        left = F.pad(F.logsigmoid(-u).cumsum(-1), (1, 0))
        return left + F.pad(F.logsigmoid(u), (0, 1))

    def is_same(self, other: Any) -> bool:
        """Tell whether the other is a simplex too."""
        return isinstance(other, Simplex)


LogSpace: TypeAlias = Interval | Simplex
_ATTRIBUTE = "_pyrovae_exact"  # of a tensor: its space and logarithms


def with_logs(z: Tensor, space: LogSpace, logs: Tensor) -> Tensor:
    """Attach to a value the logarithms that it was rounded from."""
    if z is logs:
        z = z.view_as(z)
    setattr(z, _ATTRIBUTE, (space, logs))
    return z


def logs_of(z: Tensor, space: LogSpace | None) -> Tensor | None:
    """Return the logarithms attached to a value in a space; None if there are none."""
    known = getattr(z, _ATTRIBUTE, None)
    return known[1] if known is not None and space is not None and space.is_same(known[0]) else None


def map_with_logs(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Apply a function of leading dimensions to a value and to its attached logarithms.

    Example:
        >>> z = Interval(0.0, torch.inf, "lower").value(torch.tensor([-200.0]))
        >>> logs_of(map_with_logs(lambda v: v.expand(3, 1), z), Interval(0.0, torch.inf, "lower")).shape
        torch.Size([3, 1])
    """
    known = getattr(z, _ATTRIBUTE, None)
    found = function(z)
    if known is None or (isinstance(known[0], Interval) and any(isinstance(end, Tensor) for end in known[0][:2])):
        return found  # bounds that are tensors would have to be mapped as well
    return with_logs(found, known[0], function(known[1]))


def stack_with_logs(values: list[Tensor]) -> Tensor:
    """Stack values along a new first dimension, with their logarithms if all have some.

    Example:
        >>> stack_with_logs([torch.zeros(3), torch.ones(3)]).shape
        torch.Size([2, 3])
    """
    found = torch.stack(values)
    known = [getattr(z, _ATTRIBUTE, None) for z in values]
    first = known[0]
    if first is None or any(other is None or not first[0].is_same(other[0]) for other in known):
        return found
    return with_logs(found, first[0], torch.stack([other[1] for other in known if other is not None]))


def log_space_of(fn: Any) -> LogSpace | None:
    """Return the space of a distribution whose values should keep their logarithms; None for others.

    Example:
        >>> import pyro.distributions as dist
        >>> log_space_of(dist.Gamma(1.0, 1.0))
        Interval(lower=0.0, upper=inf, form='lower')
    """
    fn = unwrap(fn)
    if fn.support is constraints.simplex:
        return Simplex()
    bounds = bounds_of(fn)
    if bounds is None or bounds.discrete or bounds.is_unbounded:
        return None
    ends = [bool(torch.as_tensor(end).isfinite().all()) for end in bounds[:2]]
    none = [bool(torch.as_tensor(end).isinf().all()) for end in bounds[:2]]
    if not all(a or b for a, b in zip(ends, none, strict=True)):
        return None
    return Interval(bounds.lower, bounds.upper, "both" if all(ends) else "lower" if ends[0] else "upper")


def _equal(a: float | Tensor, b: float | Tensor) -> bool:
    if a is b:
        return True
    first, second = torch.as_tensor(a), torch.as_tensor(b)
    return bool((first == second).all())
