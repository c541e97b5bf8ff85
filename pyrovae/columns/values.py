"""Values of the columns of data frames: which are missing, numbers, or names of categories."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas

__all__ = ["category_name", "is_frame", "known", "numbers_of", "without_arrow"]

_MISSING_WORDS = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A", "?"]


def is_frame(x: Any) -> bool:
    """Tell whether ``x`` is a data frame, whose columns have names.

    Example:
        >>> import pandas
        >>> is_frame(pandas.DataFrame({"a": [1]})), is_frame(np.zeros((1, 1)))
        (True, False)
    """
    return hasattr(x, "columns") and hasattr(x, "iloc")


def category_name(value: Any) -> str:
    """Return the name of a category: a text as it is, and a whole number without a point.

    Example:
        >>> category_name(4.0), category_name("4"), category_name(True)
        ('4', '4', 'True')
    """
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def without_arrow(values: pandas.Series) -> pandas.Series:
    """Return a column of a type of pyarrow as one of NumPy's or of pandas' own; others as they are.

    Example:
        >>> import pandas
        >>> without_arrow(pandas.Series([True, None], dtype="bool[pyarrow]")).tolist()
        [True, None]
    """
    import pandas

    if not isinstance(values.dtype, pandas.ArrowDtype):
        return values
    array: Any = values.array
    found: pandas.Series = array.__arrow_array__().to_pandas()
    return found.set_axis(values.index)


def numbers_of(values: pandas.Series) -> tuple[NDArray[np.float64] | None, int | None]:
    """Return a column as numbers, NaN if missing; texts that are numbers count as numbers.

    Args:
        values: the column.

    Returns:
        the numbers, or None if a value is none; and the position of the first value that is none.

    Example:
        >>> import pandas
        >>> numbers_of(pandas.Series(["1", None, "2.5"])), numbers_of(pandas.Series(["1", "two"]))
        ((array([1. , nan, 2.5]), None), (None, 1))
    """
    import pandas

    if pandas.api.types.is_numeric_dtype(values.dtype) and values.dtype.kind != "c":  # also of truth values
        return values.to_numpy(np.float64, na_value=np.nan), None
    if not _may_hold_texts(values):
        return None, 0  # dates, complex numbers
    texts = values.astype(object).where(known(values), None)
    converted = pandas.to_numeric(texts, errors="coerce")
    if converted.dtype.kind == "c":
        return None, int(texts.map(np.iscomplexobj).to_numpy(bool).argmax())
    found = converted.to_numpy(np.float64, na_value=np.nan)
    bad = np.isnan(found) & texts.notna().to_numpy()
    return (None, int(bad.argmax())) if bad.any() else (found, None)


def known(values: pandas.Series) -> pandas.Series:
    """Tell of each value whether it is there, rather than missing or a word for that, such as NA."""
    there = values.notna()
    return there & ~values.isin(_MISSING_WORDS) if _may_hold_texts(values) else there


def _may_hold_texts(values: pandas.Series) -> bool:
    import pandas

    dtype = values.dtype
    return isinstance(dtype, pandas.CategoricalDtype | pandas.StringDtype) or dtype.kind in "OU"
