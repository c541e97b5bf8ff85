"""Coordinates of a latent site: the Gaussian noise of its samples, or its value mapped to all reals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import biject_to

from pyrovae import checks
from pyrovae.distributions.exact_density import apply_last_transform, draw, invert_last_transform
from pyrovae.distributions.log_coordinates import log_space_of, logs_of
from pyrovae.distributions.support_bounds import bounds_of, is_angle, support_kind

__all__ = ["SiteTransform", "site_transform"]


class SiteTransform(ABC):
    """A transform between the coordinates ``(*, n)`` and the values ``(*, *event_shape)`` of a latent site.

    Attributes:
        size: number n of coordinates.
        is_noise: True if the coordinates of the site's samples are standard normal.
        one_to_one: True if different coordinates have different values, so that a density of coordinates determines
            one of values.
        has_density: True if the density of the coordinates integrates to one, so that they can be mapped affinely.
    """

    size: int
    is_noise = False
    one_to_one = True
    has_density = True

    @abstractmethod
    def forward(self, fn: Any, u: Tensor) -> Tensor:
        """Return the site's value at coordinates ``(*, n)``."""

    @abstractmethod
    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        """Return coordinates of a value, ``(*, n)``."""

    @abstractmethod
    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        """Return the log-density of coordinates of samples, given that of the value, ``(*)`` both."""

    def draw(self, fn: Any, sample_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Draw values and their coordinates, with the leading dimensions ``sample_shape``."""
        z = draw(fn.expand(torch.Size(sample_shape)))
        return z, self.inverse(fn, z)


def site_transform(
    name: str,
    fn: Any,
    value: Tensor,
    unflatten: Callable[[Tensor], Tensor] = lambda v: v,
    *,
    by_value: bool = False,
) -> SiteTransform:
    """Make the transform of a site for its distribution.

    Args:
        name: name of the site.
        fn: distribution of the site.
        value: samples of the site, ``(S, B, *event_shape)``, or with another shape of samples and data.
        unflatten: function that restores the leading shape ``(S, B)``.
        by_value: True for coordinates that determine the value without the distribution's parameters.

    Raises:
        ValueError: if the site is discrete, or its support has no transform to all reals.
    """
    if _is_made_of_noise(fn) and not by_value:
        return _Noise(fn, value)
    if fn.support is constraints.sphere:
        return _Direction(value)
    try:
        if support_kind(fn) in ("discrete", "one_hot", "multinomial"):
            raise checks.InputError(
                f"latents must be continuous to be refined or widened, but {name!r} is discrete: only Annealed, "
                "Adaptive and Importance with sum_discrete can sum over it"
            )
        return _Whitened(unflatten(_unconstrain(fn, value)), one_to_one=not is_angle(fn))
    except NotImplementedError as error:
        raise checks.InputError(
            f"latent site {name!r} must have a support with a transform to all reals to be annealed, but "
            f"{type(fn.support).__name__.strip('_')} has none"
        ) from error


class _Noise(SiteTransform):
    """Coordinates that are the standard normal noise of the samples."""

    is_noise = True

    def __init__(self, fn: Any, samples: Tensor) -> None:
        self.shape = _noise_shape(fn)
        self.size = math.prod(self.shape)
        self.like = samples.new_empty(0)  # its type and device

    def forward(self, fn: Any, u: Tensor) -> Tensor:
        return _from_noise(fn, u.reshape(*u.shape[:-1], *self.shape))

    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        u = _to_noise(fn, z)
        return u.reshape(*u.shape[: u.dim() - len(self.shape)], self.size)

    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        return -0.5 * (u.square().sum(-1) + self.size * math.log(2 * math.pi))

    def draw(self, fn: Any, sample_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        u = torch.randn(*sample_shape, self.size, dtype=self.like.dtype, device=self.like.device)
        return self.forward(fn, u), u


class _Whitened(SiteTransform):
    """Coordinates that are the value, mapped to all reals and whitened by the median and spread of samples."""

    def __init__(self, v: Tensor, one_to_one: bool) -> None:
        self.one_to_one = self.has_density = one_to_one
        self.shape = v.shape[2:]  # of (S, B, *)
        self.size = math.prod(self.shape)
        v = v.flatten(2) if self.shape else v.unsqueeze(-1)
        low, self.loc, high = v.quantile(torch.tensor((0.16, 0.5, 0.84), dtype=v.dtype, device=v.device), 0)  # (B, n)
        self.scale = (0.5 * (high - low)).clamp(min=torch.finfo(v.dtype).eps)

    # The bijection is made in each call, because a support can depend on the data or on another site.
    def forward(self, fn: Any, u: Tensor) -> Tensor:
        return _constrain(fn, self._unwhitened(u))

    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        v = _unconstrain(fn, z)
        v = v.reshape(*v.shape[: v.dim() - len(self.shape)], self.size)
        return (v - _repeat_for(self.loc, v)) / _repeat_for(self.scale, v)

    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        volume = _log_abs_det_jacobian(fn, self._unwhitened(u))
        extra = volume.dim() - log_prob.dim()
        volume = volume.flatten(volume.dim() - extra).sum(-1) if extra else volume
        return log_prob + volume + _repeat_for(self.scale, u).log().sum(-1)

    def _unwhitened(self, u: Tensor) -> Tensor:
        return (_repeat_for(self.loc, u) + _repeat_for(self.scale, u) * u).reshape(*u.shape[:-1], *self.shape)


class _Direction(SiteTransform):
    """Coordinates that are a vector in the direction of the value, with the length of a standard normal vector."""

    one_to_one = False

    def __init__(self, samples: Tensor) -> None:
        self.size = samples.shape[-1]

    def forward(self, fn: Any, u: Tensor) -> Tensor:
        return u / u.norm(dim=-1, keepdim=True)

    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        return z * torch.randn_like(z).norm(dim=-1, keepdim=True)

    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        half = 0.5 * self.size
        log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
        return log_prob + log_area - 0.5 * u.square().sum(-1) - half * math.log(2 * math.pi)


def _repeat_for(tensor: Tensor, u: Tensor) -> Tensor:
    """Repeat ``(B, n)`` for coordinates ``(k * B, n)``; no repetition is needed for ``(k, B, n)``."""
    return tensor if u.dim() > 2 else tensor.repeat(len(u) // len(tensor), 1)


_WRAPPERS = dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution


def _is_made_of_noise(fn: Any) -> bool:
    if isinstance(fn, torch.distributions.TransformedDistribution):
        return all(transform.bijective for transform in fn.transforms) and _is_made_of_noise(fn.base_dist)
    if isinstance(fn, _WRAPPERS):
        return _is_made_of_noise(fn.base_dist)
    kinds = torch.distributions.Normal, torch.distributions.MultivariateNormal
    return isinstance(fn, (*kinds, torch.distributions.LowRankMultivariateNormal))


def _is_unconstrained(fn: Any) -> bool:
    bounds = bounds_of(fn)
    return is_angle(fn) or (bounds is not None and bounds.is_unbounded)


def _unconstrain(fn: Any, z: Tensor) -> Tensor:
    """Map a value to all reals: by its logarithms if available, else by Pyro's transform of the support."""
    space = log_space_of(fn)
    if _is_unconstrained(fn) or space is None:
        return z if _is_unconstrained(fn) else biject_to(fn.support).inv(z)
    logs = logs_of(z, space)
    return space.coordinates(space.logs(z) if logs is None else logs)


def _constrain(fn: Any, v: Tensor) -> Tensor:
    """Map real numbers to a value; an angle is wrapped to (-pi, pi)."""
    if is_angle(fn):
        return (v + math.pi).remainder(2 * math.pi) - math.pi
    space = log_space_of(fn)
    if _is_unconstrained(fn) or space is None:
        return v if _is_unconstrained(fn) else biject_to(fn.support)(v)
    return space.value(space.logs_at(v))


def _log_abs_det_jacobian(fn: Any, v: Tensor) -> Tensor:
    """Return log |dz / dv| of each element, or of the last dimensions that the map transforms jointly."""
    space = log_space_of(fn)
    if _is_unconstrained(fn) or space is None:
        transform = biject_to(constraints.real if _is_unconstrained(fn) else fn.support)
        return transform.log_abs_det_jacobian(v, transform(v))
    return space.volume(v)


def _noise_shape(fn: Any) -> tuple[int, ...]:
    if isinstance(fn, torch.distributions.Independent):
        count = fn.reinterpreted_batch_ndims
        lead = fn.base_dist.batch_shape[len(fn.base_dist.batch_shape) - count :]
        return (*lead, *_noise_shape(fn.base_dist))
    if isinstance(fn, (*_WRAPPERS, torch.distributions.TransformedDistribution)):
        return _noise_shape(fn.base_dist)
    return tuple(fn.event_shape)


def _from_noise(fn: Any, u: Tensor) -> Tensor:
    """Return the sample of a distribution for given noise."""
    if isinstance(fn, _WRAPPERS):
        return _from_noise(fn.base_dist, u)
    if isinstance(fn, torch.distributions.TransformedDistribution):
        z = _from_noise(fn.base_dist, u)
        if not fn.transforms:
            return z
        for transform in fn.transforms[:-1]:
            z = transform(z)
        value = apply_last_transform(fn, z)
        return fn.transforms[-1](z) if value is None else value
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * u
    return (fn.loc + _apply_by_matrix(torch.matmul, _covariance_factor(fn), u.to(fn.loc))).to(u)


def _to_noise(fn: Any, z: Tensor) -> Tensor:
    """Return the noise of a given sample of a distribution."""
    if isinstance(fn, _WRAPPERS):
        return _to_noise(fn.base_dist, z)
    if isinstance(fn, torch.distributions.TransformedDistribution):
        before = invert_last_transform(fn, z) if fn.transforms else None
        rest = fn.transforms if before is None else fn.transforms[:-1]
        return _to_noise(fn.base_dist, _invert(rest, z if before is None else before))
    if isinstance(fn, torch.distributions.Normal):
        return (z - fn.loc) / fn.scale
    return _apply_by_matrix(
        partial(torch.linalg.solve_triangular, upper=False), _covariance_factor(fn), z.to(fn.loc) - fn.loc
    ).to(z)


def _invert(transforms: list[Any], z: Tensor) -> Tensor:
    try:
        for transform in reversed(transforms):
            z = transform.inv(z)
    except (NotImplementedError, KeyError) as error:
        raise checks.InputError(
            "start must be prior where the guide's flow has no inverse, as that of "
            f"{type(transform).__name__.replace('Conditioned', '')}"
        ) from error
    return z


def _apply_by_matrix(function: Callable[[Tensor, Tensor], Tensor], factor: Tensor, u: Tensor) -> Tensor:
    """Apply a function of matrices ``(*, D, D)`` and columns to vectors ``(k, *, D)`` without repeating matrices."""
    if u.dim() < factor.dim():
        return function(factor, u.unsqueeze(-1)).squeeze(-1)
    return function(factor, u.movedim(0, -1)).movedim(-1, 0)


def _covariance_factor(fn: Any) -> Tensor:
    """Return the lower triangular covariance factor, NaN if there is none, without expanding it to the samples."""
    if isinstance(fn, torch.distributions.MultivariateNormal):
        return fn._unbroadcasted_scale_tril
    W, scale = fn._unbroadcasted_cov_factor, fn._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
    W = W / scale
    factor, failed = torch.linalg.cholesky_ex(W @ W.mT + torch.eye(W.shape[-2], dtype=W.dtype, device=W.device))
    return scale * torch.where(failed[..., None, None] > 0, math.nan, factor)
