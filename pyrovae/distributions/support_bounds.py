"""Supports of distributions: bounds of their elements, and whether values lie within."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import transforms

__all__ = [
    "BOUND_TOLERANCE",
    "LOWER_DIMENSIONAL",
    "Bounds",
    "bounds_of",
    "in_support",
    "is_angle",
    "is_point",
    "is_truncated",
    "support_kind",
    "unwrap",
]


class Bounds(NamedTuple):
    """Ends of an interval for each element: numbers, or tensors that broadcast with values.

    Attributes:
        lower: smallest value, possibly minus infinity.
        upper: largest value, possibly infinity.
        discrete: True if the set is that of the integers in the interval.
    """

    lower: float | Tensor
    upper: float | Tensor
    discrete: bool = False

    @property
    def is_constant(self) -> bool:
        """True if the ends are numbers, the same for all data and samples."""
        return not isinstance(self.lower, Tensor) and not isinstance(self.upper, Tensor)

    @property
    def is_unbounded(self) -> bool:
        """True if the set is that of all real numbers."""
        return not self.discrete and self.is_constant and bool(self.lower == -math.inf and self.upper == math.inf)


_ALL = Bounds(-math.inf, math.inf)
_WRAPPERS = dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution
_ORDERED = type(constraints.ordered_vector), type(constraints.positive_ordered_vector)
_MIXTURE = torch.distributions.MixtureSameFamily
BOUND_TOLERANCE = 1e-5  # relative tolerance at which bounds count as equal


def unwrap(fn: Any) -> Any:
    """Return the distribution inside wrappers that only reshape, expand or mask it.

    Example:
        >>> type(unwrap(dist.Gamma(torch.ones(3, 2), 1.0).to_event(1))).__name__
        'Gamma'
    """
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    return fn


def is_point(fn: Any) -> bool:
    """Tell whether a distribution is a point, which has no density.

    Example:
        >>> is_point(dist.Delta(torch.zeros(3)).to_event(1))
        True
    """
    return isinstance(unwrap(fn), dist.Delta)


def is_angle(fn: Any) -> bool:
    """Tell whether values are angles, although torch calls the support real.

    Example:
        >>> is_angle(dist.VonMises(torch.zeros(3), 1.0))
        True
    """
    return isinstance(unwrap(fn), torch.distributions.VonMises | dist.SineBivariateVonMises | dist.SineSkewed)


def is_truncated(fn: Any) -> bool:
    """Tell whether the support may be smaller than what torch calls its support.

    Example:
        >>> half = torch.distributions.AffineTransform(0.0, 0.5)
        >>> is_truncated(dist.TransformedDistribution(dist.Beta(1.0, 2.0), [half]))
        True
    """
    fn = unwrap(fn)
    return _is_transformed(fn) and not _is_unbounded(fn.base_dist)


def bounds_of(fn: Any) -> Bounds | None:
    """Return the interval in which each element of a value has a density; None if the support is no interval.

    Monotone transforms of a bounded distribution have the transformed bounds, although torch calls the support of any
    affine transform real.

    Args:
        fn: a distribution.

    Example:
        >>> bounds_of(dist.Exponential(torch.ones(3)))
        Bounds(lower=0.0, upper=inf, discrete=False)
        >>> half = torch.distributions.AffineTransform(0.0, 0.5)
        >>> bounds_of(dist.TransformedDistribution(dist.Beta(1.0, 2.0), [half]))
        Bounds(lower=0.0, upper=0.5, discrete=False)
    """
    fn = unwrap(fn)
    if is_angle(fn):
        return Bounds(-math.pi, math.pi)
    if not _is_transformed(fn):
        if isinstance(fn, _MIXTURE):
            bounds = bounds_of(fn.component_distribution)
            return bounds if bounds is not None and bounds.is_constant else None
        return _bounds_of_constraint(fn.support)
    if _is_unbounded(fn.base_dist):
        return _bounds_of_constraint(fn.support)
    bounds = bounds_of(fn.base_dist)
    if bounds is None or not all(transform.bijective for transform in fn.transforms):
        return None
    like = torch.zeros((), dtype=_dtype(fn))
    ends = [torch.as_tensor(end, dtype=like.dtype) for end in (bounds.lower, bounds.upper)]
    for transform in _elementary(fn.transforms):
        if not isinstance(transform, transforms.AffineTransform) and transform.codomain.event_dim > 0:
            return None
        ends = [transform(end) for end in ends]
    if any(bool(end.isnan().any()) for end in ends):
        return None
    return Bounds(_as_number(torch.minimum(*ends)), _as_number(torch.maximum(*ends)))


def in_support(fn: Any, z: Tensor, slack: float = 0.0) -> Tensor:
    """Tell which values lie in the support; outside, torch's formula may give a finite density by mistake.

    Args:
        fn: a distribution.
        z: values, ``(*batch_shape, *event_shape)``, with any further dimensions on the left.
        slack: relative tolerance at the bounds.

    Returns:
        booleans, ``(*batch_shape)``.

    Example:
        >>> in_support(dist.Exponential(torch.ones(3)), torch.tensor([-1.0, 0.0, 1.0]))
        tensor([False,  True,  True])
    """
    if isinstance(fn, dist.MaskedDistribution):
        return in_support(fn.base_dist, z, slack) | ~torch.as_tensor(fn._mask, dtype=torch.bool, device=z.device)
    if isinstance(fn, torch.distributions.Independent):
        inside = in_support(fn.base_dist, z, slack)
        return inside.flatten(inside.dim() - fn.reinterpreted_batch_ndims).all(-1)
    if isinstance(fn, dist.ExpandedDistribution):
        return in_support(fn.base_dist, z, slack)
    bounds = bounds_of(fn)
    if bounds is not None:
        inside = torch.ones_like(z, dtype=torch.bool) if bounds.is_unbounded else _is_within(bounds, z, slack)
        return inside.flatten(inside.dim() - len(fn.event_shape)).all(-1) if fn.event_shape else inside
    if isinstance(fn, _MIXTURE):
        parts = fn.component_distribution
        return in_support(parts, z.unsqueeze(-1 - len(fn.event_shape)), slack).any(-1)
    if is_truncated(fn):
        for transform in reversed(fn.transforms):
            z = transform.inv(z)
        inside = in_support(fn.base_dist, z, max(slack, BOUND_TOLERANCE))
        return (
            inside.flatten(inside.dim() - _num_event_dims_of_base(fn)).all(-1)
            if _num_event_dims_of_base(fn) > 0
            else inside
        )
    if support_kind(fn) in LOWER_DIMENSIONAL and not isinstance(fn.support, type(constraints.multinomial)):
        return z.new_ones(
            z.shape[: z.dim() - len(fn.event_shape)], dtype=torch.bool
        )  # values are in the set up to rounding
    inside = fn.support.check(z)
    extra = inside.dim() - z.dim() + len(fn.event_shape)  # constraints.cat and stack check each element
    return inside.flatten(inside.dim() - extra).all(-1) if extra > 0 else inside


LOWER_DIMENSIONAL = {
    "simplex": type(constraints.simplex),
    "sphere": type(constraints.sphere),
    "corr_cholesky": type(constraints.corr_cholesky),
    "corr_matrix": type(constraints.corr_matrix),
    "lower_cholesky": type(constraints.lower_cholesky),
    "unit_lower_cholesky": type(constraints.unit_lower_cholesky),
    "positive_semidefinite": type(constraints.positive_semidefinite),
    "symmetric": type(constraints.symmetric),
    "lower_triangular": type(constraints.lower_triangular),
    "one_hot": type(constraints.one_hot),
    "multinomial": constraints.multinomial,
}
"""Constraints of sets that have no volume as real vectors, or another one, by name."""


def support_kind(fn: Any) -> str:
    """Name the kind of set on which a distribution has its density: ``discrete``, ``real``, or a lower-dimensional set.

    Example:
        >>> support_kind(dist.Gamma(1.0, 1.0)), support_kind(dist.Dirichlet(torch.ones(3)))
        ('real', 'simplex')
    """
    fn = unwrap(fn)
    if isinstance(fn, _MIXTURE):
        return support_kind(fn.component_distribution)
    support = _unwrap_constraint(fn.support)
    for kind, constraint in LOWER_DIMENSIONAL.items():
        if isinstance(support, constraint):
            return kind
    return "discrete" if support.is_discrete else "real"


def _is_within(bounds: Bounds, z: Tensor, slack: float) -> Tensor:
    low, high = (torch.as_tensor(end, dtype=z.dtype, device=z.device) for end in bounds[:2])
    if slack:
        low, high = low - slack * (1 + low.abs()), high + slack * (1 + high.abs())
    inside = (z >= low) & (z <= high)
    return inside & (z == z.floor()) if bounds.discrete and z.is_floating_point() else inside


def _unwrap_constraint(support: constraints.Constraint) -> constraints.Constraint:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _bounds_of_constraint(support: constraints.Constraint) -> Bounds | None:
    """Return the bounds that a constraint describes; None if it is no interval."""
    support = _unwrap_constraint(support)
    if isinstance(support, type(constraints.real)):
        return _ALL
    if support is constraints.boolean:
        return Bounds(0.0, 1.0, True)
    if support is constraints.integer:
        return Bounds(-math.inf, math.inf, True)
    if isinstance(support, _INTERVALS):
        ends = (getattr(support, "lower_bound", -math.inf), getattr(support, "upper_bound", math.inf))
        lower, upper = (_as_number(end) if isinstance(end, Tensor) else float(end) for end in ends)
        return Bounds(lower, upper, bool(support.is_discrete))
    return None


_INTERVALS = (
    constraints.interval,
    constraints.half_open_interval,
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.integer_interval,
    type(constraints.nonnegative_integer),
    type(constraints.positive_integer),
)


def _as_number(end: Tensor) -> float | Tensor:
    """Return a number if all entries of a tensor are one expanded number."""
    if end.numel() and all(stride == 0 or size == 1 for size, stride in zip(end.shape, end.stride(), strict=True)):
        return float(end[(0,) * end.dim()])
    return end


def _is_transformed(fn: Any) -> bool:
    """Tell whether a distribution is a transformed one without a support of its own."""
    made = torch.distributions.TransformedDistribution
    return isinstance(fn, made) and type(fn).support is made.support


def _is_unbounded(fn: Any) -> bool:
    bounds = bounds_of(fn)
    return bounds is not None and bounds.is_unbounded


def _elementary(parts: list[Any]) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        if isinstance(part, transforms.ComposeTransform):
            found += _elementary(part.parts)
        elif isinstance(part, transforms.IndependentTransform):
            found += _elementary([part.base_transform])
        else:
            found.append(part)
    return found


def _num_event_dims_of_base(fn: Any) -> int:
    return len(fn.base_dist.batch_shape) - len(fn.batch_shape)


def _dtype(fn: Any) -> torch.dtype:
    given = [part for part in vars(unwrap(fn.base_dist)).values() if isinstance(part, Tensor)]
    return given[0].dtype if given and given[0].is_floating_point() else torch.get_default_dtype()
