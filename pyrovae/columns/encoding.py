"""Conversion of a column of a data frame to numbers and back; values that do not fit the column are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae import checks
from pyrovae.columns.column import Column
from pyrovae.columns.kinds import KINDS
from pyrovae.columns.values import category_name, known, numbers_of, without_arrow

if TYPE_CHECKING:
    import pandas

__all__ = ["decode", "encode"]

_SINGLE = torch.finfo(torch.float32)


def encode(column: Column, values: pandas.Series, first_row: int) -> NDArray[np.float64]:
    """Return the values of a column as numbers, ``(N,)``: codes of categories, NaN if missing.

    Args:
        column: the column.
        values: its values.
        first_row: number of the first row, for messages.

    Raises:
        ValueError: if a value is none of the column's kind or categories, or has no representation in single precision.
    """
    kind, values = KINDS[column.kind], without_arrow(values)
    if kind.has_categories:
        return _codes(column, values, first_row)
    found, bad = numbers_of(values)
    if found is None:
        assert bad is not None
        raise _refused(column, values, bad, first_row, kind.accepted)
    outside = ~np.isnan(found) & ~(np.isfinite(found) & kind.inside(np.where(np.isnan(found), 1.0, found)))
    if outside.any():
        raise _refused(column, values, int(outside.argmax()), first_row, kind.accepted)
    size = np.abs(found)
    outside = (size > _SINGLE.max) | ((size < _SINGLE.tiny) & (size > 0))
    if outside.any():
        accepted = f"numbers of {_SINGLE.tiny:.2g} to {_SINGLE.max:.2g} in size, as single precision has them, or 0"
        raise _refused(column, values, int(outside.argmax()), first_row, accepted)
    return found


def _codes(column: Column, values: pandas.Series, first_row: int) -> NDArray[np.float64]:
    code = {name: float(i) for i, name in enumerate(column.categories)}
    names = column.categories if column.levels <= 6 else (*column.categories[:5], "...")
    of = f"one of its {column.levels} categories, {', '.join(names)}"
    there = known(values).to_numpy()
    found = np.full(len(values), np.nan)
    present = values[there]
    try:
        distinct = present.unique()
    except TypeError as error:
        position = int((~values.map(_has_hash).to_numpy(bool)).argmax())
        raise _refused(column, values, position, first_row, of) from error
    found[there] = present.map({value: code.get(category_name(value), -1.0) for value in distinct}).to_numpy(np.float64)
    if (found == -1).any():
        raise _refused(column, values, int((found == -1).argmax()), first_row, of)
    return found


def _has_hash(value: object) -> bool:
    try:
        hash(value)
    except TypeError:  # of a list, or of a tuple with a list
        return False
    return True


def _refused(column: Column, values: pandas.Series, position: int, first_row: int, of: str) -> checks.InputError:
    value = " ".join(str(values.iloc[position]).split())[:60]
    return checks.InputError(
        f"column {column.name!r} must hold {of}, but row {first_row + position} (counted from 0) holds {value}"
    )


def decode(column: Column, values: NDArray[np.float64]) -> Any:
    """Return numbers ``(N,)`` as values of a column, which a data frame takes; codes get the nearest category."""
    import pandas

    if KINDS[column.kind].has_categories:
        codes = np.where(np.isnan(values), -1, values.round().clip(0, column.levels - 1)).astype(int)
        return pandas.Categorical.from_codes(codes, list(column.categories), ordered=column.kind == "ordinal")
    if column.kind == "count" and bool(np.all(np.isnan(values) | (values % 1 == 0))):
        return pandas.array(values, "Float64").astype("Int64")
    return values
