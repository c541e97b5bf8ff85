"""Kinds of the columns of a table, inferred from their values."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrovae import checks
from pyrovae.columns import KINDS, Column, category_name, known, numbers_of, without_arrow

if TYPE_CHECKING:
    import pandas

__all__ = ["MAX_CATEGORIES", "Seen", "column_of"]

MAX_CATEGORIES = 1000
"""Largest number of categories of a column."""

_FEW = 20  # number of rows below which values that all differ are no identifiers
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}/\d{1,2}/\d{4}")


class Seen:
    """The values of a column that were seen so far, from which its kind is inferred.

    Args:
        name: name of the column.

    Attributes:
        count: number of rows.
        known: number of values that are not missing.
        names: names of distinct values, in the order of their appearance; at most ``MAX_CATEGORIES + 1``.
        ordered: categories of a data frame's ordered type; None for other columns.
        coded: True if the values are of a data frame's type of categories, ordered or not.
        other: True if values are complex numbers, lists or the like.
        dates: True if values are dates.
        bad: the first text that is no number, and its row; None if all are numbers.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.known = self.numbers = 0
        self.names: dict[str, None] = {}
        self.ordered: tuple[str, ...] | None = None
        self.coded = self.other = self.dates = False
        self.bad: tuple[int, str] | None = None
        self.infinite: int | None = None
        self.low, self.high = math.inf, -math.inf
        self.integral = self.consecutive = True
        self._last: float | None = None
        self._sums = np.zeros(4)  # of x, x^2, log x, (log x)^2

    def add(self, values: pandas.Series) -> None:
        """Add the next rows."""
        import pandas

        values = without_arrow(values)
        there = known(values)
        present = values[there]
        if isinstance(values.dtype, pandas.CategoricalDtype):
            self.coded = True
            self.ordered = tuple(map(category_name, values.cat.categories)) if values.cat.ordered else None
        self.dates |= values.dtype.kind in "Mm" or (len(present) > 0 and isinstance(present.iloc[0], datetime.date))
        self.other |= values.dtype.kind == "c"
        if len(self.names) <= MAX_CATEGORIES:
            for value in self._distinct(present):
                self.other |= isinstance(value, complex | np.complexfloating)
                self.names[category_name(value)] = None
                if len(self.names) > MAX_CATEGORIES:
                    break
        numbers, bad = numbers_of(values)
        if numbers is None:
            assert bad is not None
            self.bad = self.bad or (self.count + bad, str(values.iloc[bad]))
            self.numbers += int(pandas.to_numeric(present.astype(object), errors="coerce").notna().sum())
        else:
            self.numbers += len(present)
            self._add_numbers(numbers)
        self.count += len(values)
        self.known += len(present)

    def _distinct(self, present: pandas.Series) -> Any:
        try:
            return present.unique()
        except TypeError:  # they have no hash
            self.other = True
            return present.map(str).unique()

    def _add_numbers(self, values: NDArray[np.float64]) -> None:
        x = values[~np.isnan(values)]
        if self.infinite is None and np.isinf(x).any():
            self.infinite = self.count + int(np.isinf(values).argmax())
        x = x[np.isfinite(x)]
        if len(x) == 0:
            return
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.integral &= bool((x % 1 == 0).all())
        before = x[:1] - 1 if self._last is None else np.array([self._last])
        self.consecutive &= len(x) == len(values) and bool((np.diff(np.concatenate((before, x))) == 1).all())
        self._last = float(x[-1])
        logs = np.log(x) if self.low > 0 else np.zeros(1)
        self._sums += [x.sum(), np.square(x).sum(), logs.sum(), np.square(logs).sum()]

    @property
    def are_numbers(self) -> bool:
        """True if all values are numbers."""
        return self.bad is None and not self.dates and self.known > 0

    @property
    def is_log_normal(self) -> bool:
        """True if a log-normal distribution fits better than a normal one."""
        if self.low <= 0:
            return False
        mean, square, log_mean, log_square = self._sums / max(self.known, 1)
        variance, log_variance = square - mean**2, log_square - log_mean**2
        if variance <= 1e-9 * square or log_variance <= 0:  # too little spread to tell
            return False
        return bool(math.log(variance) / 2 > math.log(log_variance) / 2 + log_mean)


def column_of(seen: Seen, given: str | Sequence[str] | None) -> Column:
    """Return a column with its kind, as given or inferred.

    Args:
        seen: what is known of its values.
        given: its kind, or its categories in ascending order; inferred if None.

    Raises:
        ValueError: if the values do not fit the kind, or tell nothing.
    """
    name = f"column {seen.name!r}"
    if seen.known == 0:
        raise checks.InputError(f"{name} must hold values, but all are missing: leave it out, by drop")
    if seen.other:
        raise checks.InputError(
            f"{name} must hold real numbers or texts, but holds complex numbers, lists or the like: leave it out, by "
            "drop"
        )
    if not isinstance(given, str | list | tuple | None):
        raise checks.InputError(f"types of {name} must be a kind or a list of categories, but {given!r} was given")
    if given is not None and not isinstance(given, str):
        return Column(seen.name, "ordinal", tuple(map(str, given)))
    kind = _inferred(name, seen) if given is None else checks.choice(f"types of {name}", given, KINDS)
    if len(seen.names) == 1:
        raise checks.InputError(
            f"{name} must hold different values, but all are {next(iter(seen.names))}: leave it out, by drop"
        )
    if not KINDS[kind].has_categories:
        _check_numbers(name, seen, kind)
        return Column(seen.name, kind)
    return Column(seen.name, kind, _categories(name, seen, kind))


def _inferred(name: str, seen: Seen) -> str:
    if seen.dates or all(_DATE.fullmatch(text) for text in seen.names):
        raise checks.InputError(
            f"{name} must hold numbers or categories, but holds dates: leave it out, by drop, or give numbers, such as "
            "days since the first"
        )
    if seen.ordered is not None:
        return "ordinal"
    if seen.coded:
        return "binary" if len(seen.names) == 2 else "categorical"
    if not seen.are_numbers:
        _check_texts(name, seen)
        return "binary" if len(seen.names) == 2 else "categorical"
    if len(seen.names) == 2 and seen.integral and {seen.low, seen.high} == {0.0, 1.0}:
        return "binary"
    if seen.integral and seen.consecutive and seen.count >= _FEW:
        raise checks.InputError(f"{name} must hold data, but holds the numbers of rows: leave it out, by drop")
    if seen.integral and seen.low >= 0 and seen.high <= 2**24:
        return "count"
    return "positive" if seen.is_log_normal else "real"


def _check_texts(name: str, seen: Seen) -> None:
    assert seen.bad is not None
    row, text = seen.bad
    if seen.numbers > seen.known / 2:
        raise checks.InputError(
            f"{name} must hold numbers, as most of its values are, but row {row} (counted from 0) holds {text!r}; "
            "if they are categories, say so, by types"
        )
    if len(seen.names) == seen.known and seen.known >= _FEW:
        raise checks.InputError(
            f"{name} must hold categories, but holds another text in each row, as identifiers do: leave it out, by drop"
        )


def _check_numbers(name: str, seen: Seen, kind: str) -> None:
    if seen.bad is not None or seen.dates:
        row, text = seen.bad or (0, "a date")
        raise checks.InputError(f"{name} must hold {KINDS[kind].accepted}, but row {row} (counted from 0) holds {text}")
    if seen.infinite is not None:
        raise checks.InputError(
            f"{name} must be finite, but row {seen.infinite} (counted from 0) holds an infinite value"
        )
    bounds = np.array([seen.low, seen.high])
    if not KINDS[kind].inside(bounds).all():
        bad = bounds[~KINDS[kind].inside(bounds)][0]
        raise checks.InputError(f"{name} must hold {KINDS[kind].accepted}, but holds {bad:g}")


def _categories(name: str, seen: Seen, kind: str) -> tuple[str, ...]:
    if seen.ordered is not None:
        return seen.ordered
    count = len(seen.names)
    if count > MAX_CATEGORIES:
        raise checks.InputError(
            f"{name} must have at most {MAX_CATEGORIES} categories, but has more, as names and identifiers have: leave "
            "it out, by drop"
        )
    if kind == "binary" and count != 2:
        raise checks.InputError(f"{name} must hold two values to be binary, but holds {count}")
    if seen.are_numbers:
        return tuple(sorted(seen.names, key=_number))
    if kind == "ordinal":
        raise checks.InputError(
            f"{name} must have its categories in order to be ordinal: give types a list of them, instead of {kind!r}"
        )
    return tuple(sorted(seen.names))


def _number(name: str) -> float:
    return {"False": 0.0, "True": 1.0}[name] if name in ("False", "True") else float(name)
