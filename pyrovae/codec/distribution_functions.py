"""Cumulative distributions of distributions: the integers that a discrete one is coded as, and real coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from scipy import special
from torch import Tensor

from pyrovae.codec.decisions import Below, Decide, Visit, bisect
from pyrovae.distributions import NormalMixture, QuantizedCategorical, QuantizedLogistic, QuantizedLogisticMixture
from pyrovae.distributions.support_bounds import unwrap

__all__ = ["Bins", "Integers", "bins_of", "integers_of", "normal_bins", "visit_bins"]


@dataclass(frozen=True)
class Integers:
    """A discrete distribution of each component, as one of integers from 0 on.

    Attributes:
        below: the cumulative distribution, of integers of the distribution's shape ``(B, *event_shape)``.
        levels: number of integers; None for counts, which have no largest.
        scaled: True if integer i stands for the value i / (levels - 1), False if it is the value.
    """

    below: Below
    levels: int | None
    scaled: bool = False

    def visit(self, shape: tuple[int, ...], num_bits: int) -> Visit:
        """Return what asks for the decisions of ``num_bits`` bits, of integers of ``shape``, ``(B, *event_shape)``."""
        return _visit(self.below, shape, num_bits)


def _visit(below: Below, shape: tuple[int, ...], num_bits: int) -> Visit:
    flat = shape[0], int(np.prod(shape[1:]))

    def flat_below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = below(i.reshape(shape))
        return np.broadcast_to(lower, shape).reshape(flat), np.broadcast_to(upper, shape).reshape(flat)

    return lambda decide: bisect(flat_below, num_bits, flat, decide, slice(None))


def integers_of(fn: Any) -> Integers | None:
    """Return a discrete distribution as one of integers; None if its components have no cumulative distribution.

    Args:
        fn: distribution of batch shape ``(B,)`` or ``(1,)``.
    """
    whole = fn.base_dist if isinstance(fn, torch.distributions.Independent) else fn
    return _integers(unwrap(whole))


@singledispatch
def _integers(fn: Any) -> Integers | None:
    return None


@_integers.register
def _(fn: torch.distributions.Bernoulli) -> Integers:
    logits = _array(fn.logits)
    return Integers(_within(2, lambda i: (special.expit(-logits), special.expit(logits))), 2)


@_integers.register
def _(fn: QuantizedLogistic) -> Integers:
    steps = fn.levels - 1
    loc, scale = _array(fn.loc) * steps, _array(fn.scale) * steps

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = (i - 0.5 - loc) / scale
        return special.expit(at), special.expit(-at)

    return Integers(_within(fn.levels, below), fn.levels, scaled=True)


@_integers.register
def _(fn: QuantizedLogisticMixture) -> Integers | None:
    *_, channels, pixels = fn.loc.shape
    if channels > 1:  # the probability of a channel depends on those before
        return None
    steps = fn.levels - 1
    share = special.softmax(_array(fn.logits), -2)  # (*, K, P)
    loc, scale = (_array(part.squeeze(-2)) * steps for part in (fn.loc, fn.scale))

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = (i.reshape(len(i), 1, pixels) - 0.5 - loc) / scale
        lower, upper = ((share * special.expit(part)).sum(-2).reshape(i.shape) for part in (at, -at))
        return lower, upper

    return Integers(_within(fn.levels, below), fn.levels, scaled=True)


@_integers.register
def _(fn: torch.distributions.Categorical) -> Integers:
    probs = special.softmax(_array(fn.logits), -1)  # (*, L)
    zero = np.zeros((*probs.shape[:-1], 1))
    lower = np.concatenate([zero, probs.cumsum(-1)], -1)
    upper = np.concatenate([probs[..., ::-1].cumsum(-1)[..., ::-1], zero], -1)
    levels = probs.shape[-1]

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = i.astype(np.int64)[..., None]
        found = (np.take_along_axis(np.broadcast_to(part, (*i.shape, levels + 1)), at, -1) for part in (lower, upper))
        below_i, from_i = (part[..., 0] for part in found)
        return below_i, from_i

    return Integers(_within(levels, below), levels, scaled=isinstance(fn, QuantizedCategorical))


@_integers.register
def _(fn: torch.distributions.Binomial) -> Integers:
    count, logits = _array(fn.total_count), _array(fn.logits)
    success, failure = special.expit(logits), special.expit(-logits)

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rest = np.maximum(count - i + 1, 0.5)  # i beyond the count is handled below
        lower, upper = special.betainc(rest, i, failure), special.betainc(i, rest, success)
        return np.where(i > count, 1.0, lower), np.where(i > count, 0.0, upper)

    levels = int(count.max()) + 1
    return Integers(_within(levels, below), levels)


@_integers.register
def _(fn: torch.distributions.Poisson) -> Integers:
    rate = _array(fn.rate)
    return Integers(_within(None, lambda i: (special.gammaincc(i, rate), special.gammainc(i, rate))), None)


@_integers.register
def _(fn: torch.distributions.NegativeBinomial) -> Integers:
    total, logits = _array(fn.total_count), _array(fn.logits)
    success, failure = special.expit(logits), special.expit(-logits)
    return Integers(
        _within(None, lambda i: (special.betainc(total, i, failure), special.betainc(i, total, success))), None
    )


@_integers.register
def _(fn: dist.ZeroInflatedDistribution) -> Integers | None:
    counts = _integers(unwrap(fn.base_dist))
    if counts is None:
        return None
    gate = _array(fn.gate_logits)

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = counts.below(i)
        zero, other = special.expit(gate), special.expit(-gate)
        return zero + other * lower, other * upper

    return Integers(_within(counts.levels, below), counts.levels, counts.scaled)


def _within(levels: int | None, below: Below) -> Below:
    """Return the cumulative distribution of integers in a range, also at its ends and outside."""
    last = np.inf if levels is None else levels

    def everywhere(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.clip(i, 1, last if levels is None else max(levels - 1, 1))
        lower, upper = below(inside)
        first, beyond = i <= 0, i >= last
        return (
            np.where(first, 0.0, np.where(beyond, 1.0, lower)),
            np.where(first, 1.0, np.where(beyond, 0.0, upper)),
        )

    return everywhere


@dataclass(frozen=True)
class Bins:
    """Bins of real coordinates, of equal probability under a reference distribution.

    Attributes:
        num_bits: binary logarithm of the number of bins.
        quantile: the reference's quantiles: maps probabilities ``(B, *event_shape)`` to values.
    """

    num_bits: int
    quantile: Callable[[np.ndarray], np.ndarray]

    def edge(self, i: np.ndarray) -> np.ndarray:
        """Return the lower ends of bins, which must not be the first."""
        return self.quantile(i / 2.0**self.num_bits)

    def center(self, i: np.ndarray) -> np.ndarray:
        """Return the medians of bins ``i``, ``(B, *event_shape)``."""
        return self.quantile((i + 0.5) / 2.0**self.num_bits)


def normal_bins(num_bits: int, loc: np.ndarray, scale: np.ndarray) -> Bins:
    """Return bins of equal probability under normals."""
    return Bins(num_bits, lambda u: loc + scale * special.ndtri(u))


def bins_of(fn: Any, num_bits: int) -> Bins | None:
    """Return bins of equal probability under a distribution; None if it has no quantiles.

    Under a mixture of normals they are those of normals with its means and variances.

    Args:
        fn: distribution of batch shape ``(1,)``.
        num_bits: binary logarithm of the number of bins.
    """
    inner = unwrap(fn)
    if isinstance(inner, NormalMixture):
        return normal_bins(num_bits, _array(inner.mean), np.sqrt(_array(inner.variance)))
    if isinstance(inner, torch.distributions.Normal):
        return normal_bins(num_bits, _array(inner.loc), _array(inner.scale))
    if isinstance(inner, torch.distributions.Gamma):
        shape, rate = _array(inner.concentration), _array(inner.rate)
        return Bins(num_bits, lambda u: special.gammaincinv(shape, u) / rate)
    try:
        _cumulative(inner)(np.zeros(1) + _array(inner.icdf(torch.full((), 0.5, dtype=torch.float64))))
    except NotImplementedError:
        return None
    return Bins(num_bits, lambda u: _array(inner.icdf(torch.from_numpy(np.ascontiguousarray(u)))))


def visit_bins(bins: Bins, fn: Any, shape: tuple[int, ...]) -> Visit | None:
    """Return what asks for the decisions of bins under a distribution; None if it has no cumulative distribution.

    Args:
        bins: the bins.
        fn: distribution of batch shape ``(B,)`` or ``(1,)``.
        shape: shape of its values, ``(B, *event_shape)``.
    """
    inner = unwrap(fn)
    if isinstance(inner, NormalMixture):
        return _visit_mixture(inner, bins, shape)
    if inner.event_shape:
        return None
    try:
        cumulative = _cumulative(inner)
        cumulative(bins.center(np.zeros((1, *shape[1:]))))
    except NotImplementedError:
        return None
    return _visit(_within(2**bins.num_bits, lambda i: cumulative(bins.edge(i))), shape, bins.num_bits)


def _cumulative(fn: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the function of P(z < v) and P(z >= v) of each coordinate."""
    if isinstance(fn, torch.distributions.Normal):
        loc, scale = _array(fn.loc), _array(fn.scale)

        def normal(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return special.ndtr((v - loc) / scale), special.ndtr((loc - v) / scale)

        return normal
    if fn.event_shape or fn.support.is_discrete:
        raise NotImplementedError

    def general(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower = _array(fn.cdf(torch.from_numpy(np.ascontiguousarray(v))))
        return lower, 1.0 - lower

    return general


def _visit_mixture(fn: NormalMixture, bins: Bins, shape: tuple[int, ...]) -> Visit:
    """Ask for coordinate after coordinate: the components' weights depend on those before."""
    logits, loc, scale = (_array(part) for part in (fn.logits, fn.loc, fn.scale))  # (*, K), (*, K, D) twice

    def visit(decide: Decide) -> np.ndarray:
        index = np.zeros(shape, np.int64)
        log_share = np.broadcast_to(logits, (shape[0], logits.shape[-1])).copy()  # (B, K)
        for d in range(shape[1]):
            share = special.softmax(log_share, -1)

            def edge(i: np.ndarray, share: np.ndarray = share, d: int = d) -> tuple[np.ndarray, np.ndarray]:
                at = (_column(bins.edge, i, d, shape)[:, None] - loc[..., d]) / scale[..., d]  # (B, K)
                lower, upper = ((share * special.ndtr(part)).sum(-1) for part in (at, -at))
                return lower[:, None], upper[:, None]

            below = _within(2**bins.num_bits, edge)
            index[:, d : d + 1] = bisect(below, bins.num_bits, (shape[0], 1), decide, slice(d, d + 1))
            at = (_column(bins.center, index[:, d : d + 1], d, shape)[:, None] - loc[..., d]) / scale[..., d]
            log_share -= 0.5 * at**2 + np.log(scale[..., d])
        return index

    return visit


def _column(of: Callable[[np.ndarray], np.ndarray], index: np.ndarray, d: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return edges or centers of one coordinate, ``(B,)``, of bins ``index``, ``(B, 1)``."""
    return np.broadcast_to(of(np.broadcast_to(index, shape)), shape)[:, d]


def _array(tensor: Tensor | float) -> np.ndarray:
    return torch.as_tensor(tensor).detach().double().cpu().numpy()
