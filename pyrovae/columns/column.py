"""A column of a table."""

from __future__ import annotations

from dataclasses import dataclass

from pyrovae import checks
from pyrovae.columns.kinds import KINDS

__all__ = ["Column"]


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its kind, and how its values are written and spread.

    Attributes:
        name: its name.
        kind: its kind, a key of ``KINDS``.
        categories: names of its categories, in the order of their codes 0, 1, ...; empty for numbers.
        mean: mean of the training rows, in the column's units; of codes if it has categories.
        std: their standard deviation.
        log_mean: mean of the logarithm, of 1 + x for counts, where the kind has one.
        log_std: standard deviation of that.
        gaps: True if training rows have missing values.

    Raises:
        ValueError: if the kind is unknown, or the categories do not fit it.

    Example:
        >>> Column("sex", "binary", ("female", "male")).levels
        2
    """

    name: str
    kind: str = "real"
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    log_mean: float = 0.0
    log_std: float = 1.0
    gaps: bool = False

    def __post_init__(self) -> None:
        checks.choice(f"kind of column {self.name!r}", self.kind, KINDS)
        object.__setattr__(self, "categories", tuple(self.categories))
        count = len(self.categories)
        twice = [name for i, name in enumerate(self.categories) if name in self.categories[:i]]
        if twice:
            raise checks.InputError(f"categories of column {self.name!r} must differ, but {twice[0]!r} is given twice")
        wrong = count != 2 if self.kind == "binary" else count < 2
        if (KINDS[self.kind].has_categories and wrong) or (count and not KINDS[self.kind].has_categories):
            raise checks.InputError(
                f"categories of column {self.name!r} must fit its kind, {self.kind}, but there are {count}"
            )

    @property
    def levels(self) -> int:
        """Number of categories; 0 for numbers."""
        return len(self.categories)
