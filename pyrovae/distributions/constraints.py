"""Constraints of discrete data: levels and counts."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints

__all__ = ["Counts", "Levels"]


class Levels(constraints.Constraint):
    """The set of L evenly spaced levels from 0 to 1, up to rounding.

    Args:
        levels: number L of levels, at least 2.

    Example:
        >>> Levels(256)
        the 256 levels 0, 1/255, ..., 1
        >>> Levels(5).check(torch.tensor([0.25, 0.3, 1.25]))
        tensor([ True, False, False])
    """

    is_discrete = True

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def check(self, value: Tensor) -> Tensor:
        """Tell of each value whether it is a level."""
        index = value * (self.levels - 1)
        nearest = index.round()
        return ((index - nearest).abs() < 0.01) & (nearest >= 0) & (nearest < self.levels)

    def __repr__(self) -> str:
        if self.levels == 2:
            return "the 2 levels 0 and 1"
        return f"the {self.levels} levels 0, 1/{self.levels - 1}, ..., 1"


class Counts(constraints.Constraint):
    """The set of the integers from 0 on.

    Example:
        >>> Counts(), Counts().check(torch.tensor([0.0, 7.0, 0.5, -1.0]))
        (the integers from 0 on, tensor([ True,  True, False, False]))
    """

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        """Tell of each value whether it is a count."""
        return (value >= 0) & (value % 1 == 0)

    def __repr__(self) -> str:
        return "the integers from 0 on"
