"""Independent distributions of the columns of a table, of several families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pyro.distributions import MaskedDistribution, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ColumnGroup", "ColumnSupport", "Columnwise"]


@dataclass(frozen=True)
class ColumnGroup:
    r"""The distribution of some columns: :math:`x = a + s u`, where u has a given distribution.

    Attributes:
        columns: positions of the columns, ``(n,)``.
        fn: distribution of u, of batch shape ``(*, n)`` and scalar events.
        loc: a, ``(n,)``.
        scale: s, ``(n,)``, positive.
        is_density: True if u has a density, so that that of x is divided by s; False for a probability.
        nominal: True if the mean of u has no meaning, so that its most probable value stands for it.
    """

    columns: Tensor
    fn: Any
    loc: Tensor
    scale: Tensor
    is_density: bool
    nominal: bool = False

    def standardized(self, x: Tensor) -> Tensor:
        """Return u, ``(*, n)``, of all columns ``(*, C)``."""
        return (x.index_select(-1, self.columns) - self.loc) / self.scale

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of the group's columns in the units of x, ``(*, n)``."""
        log_prob = self.fn.log_prob(self.standardized(x))
        return log_prob - self.scale.log() if self.is_density else log_prob

    def own_units(self, u: Tensor) -> Tensor:
        """Return x of u, ``(*, n)``; exact integers for codes, which are u times a whole number."""
        x = self.loc + self.scale * u
        return x if self.is_density else torch.where(self.scale > 1, x.round(), x)

    @property
    def mean(self) -> Tensor:
        """Mean, or the most probable value."""
        if self.nominal:
            return self.fn.mode.to(self.scale.dtype)  # the code itself
        return self.loc + self.scale * self.fn.mean

    def deviation(self, means: Tensor) -> Tensor:
        """Return the standard deviation of equal mixtures, float64 ``(B, n)``, whose means are ``(B, S, n)``.

        It is that of a sample of each part where the family has no variance in closed form.
        """
        try:
            within = (self.scale**2 * self.fn.variance).double().expand(means.flatten(0, 1).shape)
        except NotImplementedError:
            return self.own_units(self.fn.sample()).double().unflatten(0, means.shape[:2]).std(1)
        return (within.unflatten(0, means.shape[:2]).mean(1) + means.var(1, correction=0)).sqrt()


class ColumnSupport(constraints.Constraint):
    """The product of the supports of columns, as a constraint of each column.

    Args:
        groups: the groups of columns; of their distributions only the supports are used.

    Example:
        >>> ColumnSupport([]).is_discrete
        True
    """

    def __init__(self, groups: Sequence[ColumnGroup]) -> None:
        super().__init__()
        self._groups = groups

    @property
    def is_discrete(self) -> bool:  # type: ignore[override] # torch declares an attribute
        """True if all columns are."""
        return not any(group.is_density for group in self._groups)

    def check(self, value: Tensor) -> Tensor:
        """Tell of each value, ``(*, C)``, whether it lies in its column's support."""
        inside = torch.ones_like(value, dtype=torch.bool)
        for group in self._groups:
            inside[..., group.columns] = group.fn.support.check(group.standardized(value))
        return inside

    def __repr__(self) -> str:
        return "the values of each column's kind"


class Columnwise(TorchDistribution):
    r"""Independent distributions of C columns, of which groups have families of their own.

    Its batch has the columns as last dimension, so that ``to_event(1)`` makes it a distribution of rows, and a mask
    leaves out cells.

    Args:
        groups: the groups, whose columns are 0, ..., C - 1 together.
        shape: batch shape without the columns.
        observed: which cells count, booleans that broadcast to the batch shape; all if None.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> height = ColumnGroup(torch.tensor([1]), dist.Normal(zero, one), one, 2 * one, is_density=True)
        >>> count = ColumnGroup(torch.tensor([0]), dist.Poisson(one), zero, one, is_density=False)
        >>> Columnwise([height, count], ()).log_prob(torch.tensor([3.0, 1.0])).exp()
        tensor([0.0613, 0.1995])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        groups: Sequence[ColumnGroup],
        shape: tuple[int, ...],
        observed: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.groups = list(groups)
        self.observed = observed
        self._order = torch.cat([group.columns for group in self.groups]).argsort()
        super().__init__(torch.Size((*shape, len(self._order))), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> ColumnSupport:
        """Support of each column."""
        return ColumnSupport(self.groups)

    @property
    def has_rsample(self) -> bool:
        """True if all families have."""
        return all(group.fn.has_rsample for group in self.groups)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> Columnwise:
        """Return the distribution with its groups expanded to ``batch_shape``, which ends with C."""
        shape = tuple(batch_shape)[:-1]
        groups = [replace(group, fn=group.fn.expand((*shape, len(group.columns)))) for group in self.groups]
        return Columnwise(groups, shape, self.observed, self._validate_args)

    def mask(self, mask: Tensor) -> MaskedDistribution:
        """Return the distribution of the cells that a mask keeps; the values of others have no effect."""
        return MaskedDistribution(Columnwise(self.groups, self.batch_shape[:-1], mask, self._validate_args), mask)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density or log-probability of each column in its own units, ``(*, C)``, in nats."""
        if self.observed is not None:  # others are set to a value of their support, so that gradients are finite
            inside = [group.own_units(group.scale.new_tensor(0.5 * group.is_density)) for group in self.groups]
            value = torch.where(self.observed, value, self._joined(inside))
        return self._joined([group.log_prob(value) for group in self.groups])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample all columns."""
        with torch.no_grad():
            return self._joined([group.own_units(group.fn.sample(sample_shape)) for group in self.groups])

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample all columns, differentiably."""
        return self._joined([group.own_units(group.fn.rsample(sample_shape)) for group in self.groups])

    @property
    def mean(self) -> Tensor:
        """Mean of each column; of categories without an order the most probable one."""
        return self._joined([group.mean.expand(*self.batch_shape[:-1], -1) for group in self.groups])

    @property
    def variance(self) -> Tensor:
        """Variance of each column; of categories without an order that of their codes."""
        parts = [group.scale**2 * group.fn.variance for group in self.groups]
        return self._joined([part.expand(*self.batch_shape[:-1], -1) for part in parts])

    def mixture_moments(self, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of equal mixtures of S distributions: float64 ``(B, C)`` each.

        Of categories without an order they are the category of the largest probability, and NaN.

        Args:
            shape: B and S, whose product is the batch without the columns.
        """
        means, deviations = [], []
        for group in self.groups:
            mean = group.mean.double().unflatten(0, shape)  # (B, S, n)
            deviation = group.deviation(mean)
            mean = mean.mean(1)
            if group.nominal:
                mean = group.fn.probs.unflatten(0, shape).mean(1).argmax(-1).double()
                deviation = torch.full_like(mean, torch.nan)
            means.append(mean)
            deviations.append(deviation)
        return self._joined(means), self._joined(deviations)

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, -1).index_select(-1, self._order)
