"""Coordinates of one latent site: the Gaussian noise that it is made of, or its value on all reals."""

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
    """Map coordinates ``(*, n)`` of a site to its values ``(*, *event_shape)``, and back.

    Attributes:
        size: the number n of coordinates.
        is_noise: whether the coordinates of the site's own samples are standard normal.
        one_to_one: whether two coordinates are never one value, so that a density of changed ones is one of the value.
        has_density: whether the density of all coordinates has the integral one, so that they may be changed at all.
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

    def draw(self, fn: Any, lead: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Draw a value and its coordinates, with the leading dimensions ``lead``."""
        z = draw(fn.expand(torch.Size(lead)))
        return z, self.inverse(fn, z)


def site_transform(name: str, fn: Any, value: Tensor, told: Callable[[Tensor], Tensor] = lambda v: v) -> SiteTransform:
    """Return the coordinates of a site, by its distribution.

    Args:
        name: the site's.
        fn: its distribution.
        value: some samples of it, ``(S, B, *event_shape)``.
        told: gives values that shape, if they have another one.

    Raises:
        ValueError: if it is discrete, or its support has no transform to all reals.
    """
    if _is_of_noise(fn):
        return _Noise(fn, value)
    if fn.support is constraints.sphere:
        return _Direction(value)
    try:
        if support_kind(fn) in ("discrete", "one_hot", "multinomial"):
            raise checks.InputError(
                f"latents must be continuous to be annealed, refined or widened, but {name!r} is discrete: only "
                "importance sampling from the guide as it is can be used"
            )
        return _Whitened(told(_unbounded(fn, value)), one_to_one=not is_angle(fn))
    except NotImplementedError as error:
        raise checks.InputError(
            f"latent site {name!r} must have a support with a transform to all reals to be annealed, but "
            f"{type(fn.support).__name__.strip('_')} has none"
        ) from error


class _Noise(SiteTransform):
    """Take the standard normal noise that a site's samples are made of."""

    is_noise = True

    def __init__(self, fn: Any, samples: Tensor) -> None:
        self.shape = _noise_shape(fn)
        self.size = math.prod(self.shape)
        self.like = samples.new_empty(0)  # its type and device

    def forward(self, fn: Any, u: Tensor) -> Tensor:
        return _push(fn, u.reshape(*u.shape[:-1], *self.shape))

    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        u = _pull(fn, z)
        return u.reshape(*u.shape[: u.dim() - len(self.shape)], self.size)

    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        return -0.5 * (u.square().sum(-1) + self.size * math.log(2 * math.pi))

    def draw(self, fn: Any, lead: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        u = torch.randn(*lead, self.size, dtype=self.like.dtype, device=self.like.device)
        return self.forward(fn, u), u


class _Whitened(SiteTransform):
    """Take the value, mapped to all reals, in units of its samples' spread around their median."""

    def __init__(self, v: Tensor, one_to_one: bool) -> None:
        self.one_to_one = self.has_density = one_to_one
        self.shape = v.shape[2:]  # of (S, B, *)
        self.size = math.prod(self.shape)
        v = v.flatten(2) if self.shape else v.unsqueeze(-1)
        low, self.loc, high = v.quantile(torch.tensor((0.16, 0.5, 0.84), dtype=v.dtype, device=v.device), 0)  # (B, n)
        self.scale = (0.5 * (high - low)).clamp(min=torch.finfo(v.dtype).eps)

    # The transform is made anew each time, for a support may depend on the data or on another site.
    def forward(self, fn: Any, u: Tensor) -> Tensor:
        return _bounded(fn, self._unwhitened(u))

    def inverse(self, fn: Any, z: Tensor) -> Tensor:
        v = _unbounded(fn, z)
        v = v.reshape(*v.shape[: v.dim() - len(self.shape)], self.size)
        return (v - _like(self.loc, v)) / _like(self.scale, v)

    def log_density(self, fn: Any, u: Tensor, log_prob: Tensor) -> Tensor:
        volume = _volume(fn, self._unwhitened(u))
        extra = volume.dim() - log_prob.dim()
        volume = volume.flatten(volume.dim() - extra).sum(-1) if extra else volume
        return log_prob + volume + _like(self.scale, u).log().sum(-1)

    def _unwhitened(self, u: Tensor) -> Tensor:
        return (_like(self.loc, u) + _like(self.scale, u) * u).reshape(*u.shape[:-1], *self.shape)


class _Direction(SiteTransform):
    """Take a vector that points to a direction, its length being that of a standard normal one."""

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


def _like(tensor: Tensor, u: Tensor) -> Tensor:
    """Repeat ``(B, n)`` for coordinates ``(k * B, n)``; those of ``(k, B, n)`` broadcast."""
    return tensor if u.dim() > 2 else tensor.repeat(len(u) // len(tensor), 1)


_WRAPPERS = dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution


def _is_of_noise(fn: Any) -> bool:
    if isinstance(fn, torch.distributions.TransformedDistribution):
        return all(transform.bijective for transform in fn.transforms) and _is_of_noise(fn.base_dist)
    if isinstance(fn, _WRAPPERS):
        return _is_of_noise(fn.base_dist)
    kinds = torch.distributions.Normal, torch.distributions.MultivariateNormal
    return isinstance(fn, (*kinds, torch.distributions.LowRankMultivariateNormal))


def _is_whole(fn: Any) -> bool:
    bounds = bounds_of(fn)
    return is_angle(fn) or (bounds is not None and bounds.is_unbounded)


def _unbounded(fn: Any, z: Tensor) -> Tensor:
    """Map a value to all reals: by its logarithms where it has some, else by Pyro's transform of its support."""
    space = log_space_of(fn)
    if _is_whole(fn) or space is None:
        return z if _is_whole(fn) else biject_to(fn.support).inv(z)
    logs = logs_of(z, space)
    return space.coordinates(space.logs(z) if logs is None else logs)


def _bounded(fn: Any, v: Tensor) -> Tensor:
    """Map real numbers to a value, an angle to its one turn."""
    if is_angle(fn):
        return (v + math.pi).remainder(2 * math.pi) - math.pi
    space = log_space_of(fn)
    if _is_whole(fn) or space is None:
        return v if _is_whole(fn) else biject_to(fn.support)(v)
    return space.value(space.logs_at(v))


def _volume(fn: Any, v: Tensor) -> Tensor:
    """Return log |dz / dv|, elementwise or of as many last dimensions as the map takes together."""
    space = log_space_of(fn)
    if _is_whole(fn) or space is None:
        transform = biject_to(constraints.real if _is_whole(fn) else fn.support)
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


def _push(fn: Any, u: Tensor) -> Tensor:
    """Return the sample that a distribution makes of noise."""
    if isinstance(fn, _WRAPPERS):
        return _push(fn.base_dist, u)
    if isinstance(fn, torch.distributions.TransformedDistribution):
        z = _push(fn.base_dist, u)
        if not fn.transforms:
            return z
        for transform in fn.transforms[:-1]:
            z = transform(z)
        remembering = apply_last_transform(fn, z)
        return fn.transforms[-1](z) if remembering is None else remembering
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * u
    return (fn.loc + _each(torch.matmul, _factor(fn), u.to(fn.loc))).to(u)


def _pull(fn: Any, z: Tensor) -> Tensor:
    """Return the noise that a distribution makes a sample of."""
    if isinstance(fn, _WRAPPERS):
        return _pull(fn.base_dist, z)
    if isinstance(fn, torch.distributions.TransformedDistribution):
        before = invert_last_transform(fn, z) if fn.transforms else None
        rest = fn.transforms if before is None else fn.transforms[:-1]
        return _pull(fn.base_dist, _undone(rest, z if before is None else before))
    if isinstance(fn, torch.distributions.Normal):
        return (z - fn.loc) / fn.scale
    return _each(partial(torch.linalg.solve_triangular, upper=False), _factor(fn), z.to(fn.loc) - fn.loc).to(z)


def _undone(transforms: list[Any], z: Tensor) -> Tensor:
    try:
        for transform in reversed(transforms):
            z = transform.inv(z)
    except (NotImplementedError, KeyError) as error:
        raise checks.InputError(
            "start must be prior where the guide's flow has no inverse, as that of "
            f"{type(transform).__name__.replace('Conditioned', '')}"
        ) from error
    return z


def _each(function: Callable[[Tensor, Tensor], Tensor], factor: Tensor, u: Tensor) -> Tensor:
    """Apply a function of matrices ``(*, D, D)`` and columns to vectors ``(k, *, D)``, repeating no matrix."""
    if u.dim() < factor.dim():
        return function(factor, u.unsqueeze(-1)).squeeze(-1)
    return function(factor, u.movedim(0, -1)).movedim(-1, 0)


def _factor(fn: Any) -> Tensor:
    """Return a factor of the covariance, lower triangular, NaN where there is none; not expanded to the samples."""
    if isinstance(fn, torch.distributions.MultivariateNormal):
        return fn._unbroadcasted_scale_tril
    W, scale = fn._unbroadcasted_cov_factor, fn._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
    W = W / scale
    factor, failed = torch.linalg.cholesky_ex(W @ W.mT + torch.eye(W.shape[-2], dtype=W.dtype, device=W.device))
    return scale * torch.where(failed[..., None, None] > 0, math.nan, factor)
