"""Columns of tables: their kinds, their categories, and the conversion of data frames to numbers and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks

if TYPE_CHECKING:
    import pandas

__all__ = [
    "KINDS",
    "Column",
    "Kind",
    "Schema",
    "category_name",
    "is_frame",
    "known",
    "numbers_of",
    "without_arrow",
]

_MISSING_WORDS = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A", "?"]
_LARGEST_COUNT = 2**24  # larger integers have no representation in single precision
_SINGLE = torch.finfo(torch.float32)


@dataclass(frozen=True)
class Kind:
    """A kind of columns.

    Attributes:
        accepted: description of its values.
        inside: function that tells of each number, float64 of shape ``(*)``, whether it is such a value.
        has_categories: True if numbers are codes of categories.
        logarithm: function of x whose mean and scale describe the column, for an encoder; x itself if None.
    """

    accepted: str
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
    has_categories: bool = False
    logarithm: Callable[[Tensor], Tensor] | None = None


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()


def _log1p(x: Tensor) -> Tensor:
    return x.clamp(min=0).log1p()


KINDS = {
    "real": Kind("numbers", np.isfinite),
    "positive": Kind("numbers above 0", lambda x: x > 0, logarithm=_log),
    "count": Kind(
        "integers from 0 up to 16777216", lambda x: (x >= 0) & (x % 1 == 0) & (x <= _LARGEST_COUNT), logarithm=_log1p
    ),
    "binary": Kind("one of two values", np.isfinite, has_categories=True),
    "categorical": Kind("one of some categories", np.isfinite, has_categories=True),
    "ordinal": Kind("one of some ordered categories", np.isfinite, has_categories=True),
}
"""The kinds of columns, by name."""


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
        wrong = count != 2 if self.kind == "binary" else count < 2
        if (KINDS[self.kind].has_categories and wrong) or (count and not KINDS[self.kind].has_categories):
            raise checks.InputError(
                f"categories of column {self.name!r} must fit its kind, {self.kind}, but there are {count}"
            )

    @property
    def levels(self) -> int:
        """Number of categories; 0 for numbers."""
        return len(self.categories)


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order, which say how a data frame is written as numbers: ``(B, C)``, NaN if missing.

    Attributes:
        columns: the columns.
        label: the column whose categories are the labels of rows, which is no part of x; or None.

    Raises:
        ValueError: if there are none, or two have one name.

    Example:
        >>> import pandas
        >>> schema = Schema((Column("age"), Column("sex", "binary", ("female", "male"))))
        >>> schema.to_tensor(pandas.DataFrame({"sex": ["male", "female"], "age": [31, 44]}))
        tensor([[31.,  1.],
                [44.,  0.]])
    """

    columns: tuple[Column, ...]
    label: Column | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns:
            raise checks.InputError("columns must be at least one, but none is left")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise checks.InputError(f"columns must have names of their own, but {twice[0]!r} is that of several")

    @classmethod
    def of_reals(cls, count: int) -> Schema:
        """Return the schema of real columns x0, x1, ... whose spread is not known."""
        return cls(tuple(Column(f"x{i}") for i in range(count)))

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Schema:
        """Return the schema that :meth:`to_dict` has written as numbers and strings."""
        label = written.get("label")
        return cls(tuple(Column(**column) for column in written["columns"]), None if label is None else Column(**label))

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as numbers and strings, for JSON."""
        return asdict(self)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def __len__(self) -> int:
        return len(self.columns)

    def ordered(self, frame: pandas.DataFrame) -> pandas.DataFrame:
        """Return a frame's columns in the order of the schema, without others.

        Raises:
            ValueError: if the frame lacks a column, or has two of one name.
        """
        given = [str(name) for name in frame.columns]
        lacking = [name for name in self.names if name not in given]
        if lacking:
            unknown = [name for name in given if name not in self.names]
            beside = f" and has {unknown[0]!r}" if unknown else ""
            raise checks.InputError(
                f"the table must have the columns that the program was made for, but lacks {lacking[0]!r}{beside}"
            )
        for name in self.names:
            if given.count(name) > 1:
                raise checks.InputError(f"the table must have one column {name!r}, but has {given.count(name)}")
        return frame.iloc[:, [given.index(name) for name in self.names]]

    def encode(self, frame: pandas.DataFrame, first_row: int = 0) -> NDArray[np.float64]:
        """Write a frame as numbers, ``(N, C)``, NaN if missing; its columns may be in any order.

        Args:
            frame: the frame.
            first_row: number of its first row, for messages.

        Raises:
            ValueError: if a column is missing, or a value is none of its kind or categories.
        """
        ordered = self.ordered(frame)
        parts = [_encode(column, ordered.iloc[:, i], first_row) for i, column in enumerate(self.columns)]
        return np.stack(parts, 1)

    def labels(self, frame: pandas.DataFrame, first_row: int = 0) -> NDArray[np.int64] | None:
        """Return the label of each row, -1 if missing; None if the schema or the frame has no label.

        Args:
            frame: the frame.
            first_row: number of its first row, for messages.

        Raises:
            ValueError: if a label is not one of the categories.
        """
        if self.label is None or self.label.name not in map(str, frame.columns):
            return None
        position = [str(name) for name in frame.columns].index(self.label.name)
        codes = _encode(self.label, frame.iloc[:, position], first_row)
        return np.where(np.isnan(codes), -1, codes).astype(np.int64)

    def to_tensor(self, frame: pandas.DataFrame) -> Tensor:
        """Return a frame as floats of torch's default type, ``(N, C)``; see :meth:`encode`."""
        return torch.from_numpy(self.encode(frame)).to(torch.get_default_dtype())

    def to_frame(self, x: Tensor | NDArray[Any]) -> pandas.DataFrame:
        """Return numbers ``(N, C)`` as a data frame, with the names of categories; missing values stay missing.

        Codes between two categories, such as means, get the nearer one.

        Args:
            x: the numbers.
        """
        import pandas

        values = x.detach().cpu().double().numpy() if isinstance(x, Tensor) else np.asarray(x, np.float64)
        columns = {column.name: _decode(column, values[:, i]) for i, column in enumerate(self.columns)}
        return pandas.DataFrame(columns)

    def squared_errors(self, x: Tensor, means: Tensor) -> Tensor:
        """Return the squared error of each cell, in units that columns share: float64 ``(B, C)``, 0 if missing.

        It is that of numbers and ordered categories divided by the column's standard deviation, that of a probability
        of two values, and 1 for another category than the most probable one.

        Args:
            x: rows, ``(B, C)``.
            means: means of p(x|z), ``(B, C)``.
        """
        x, means = x.double(), means.double()
        scales = [1.0 if column.kind in ("binary", "categorical") else column.std for column in self.columns]
        errors = ((x - means) / torch.tensor(scales, dtype=torch.float64, device=x.device)).square()
        nominal = torch.tensor([column.kind == "categorical" for column in self.columns], device=x.device)
        return torch.where(nominal, (x != means).double(), errors).masked_fill(x.isnan(), 0.0)

    def with_spread(self, x: Iterable[NDArray[Any]]) -> Schema:
        """Return the schema with mean, scale and gaps of training rows.

        Args:
            x: the rows, in parts ``(n, C)``; missing values are left out.
        """
        plain, logs = _Moments(len(self)), _Moments(len(self))
        gaps = np.zeros(len(self), bool)
        for part in x:
            values = np.asarray(part, np.float64)
            gaps |= np.isnan(values).any(0)
            plain.add(values)
            logs.add(np.stack([_logarithm(column, values[:, i]) for i, column in enumerate(self.columns)], 1))
        spread = zip(self.columns, plain.mean, plain.std, logs.mean, logs.std, gaps, strict=True)
        return Schema(
            tuple(
                replace(column, mean=float(a), std=float(b), log_mean=float(c), log_std=float(d), gaps=bool(e))
                for column, a, b, c, d, e in spread
            ),
            self.label,
        )


class _Moments:
    """Mean and standard deviation of columns, from parts, by the update of Chan et al. (1979).

    A part may have no value of a column. scikit-learn's ``StandardScaler`` has a NaN then, which stays.
    """

    def __init__(self, count: int) -> None:
        self.n, self.mean, self.square = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, x: NDArray[np.float64]) -> None:
        there = ~np.isnan(x)
        n = there.sum(0)
        mean = np.where(there, x, 0).sum(0) / np.maximum(n, 1)
        square = np.square(np.where(there, x - mean, 0.0)).sum(0)
        total, shift = np.maximum(self.n + n, 1), mean - self.mean
        self.square += square + shift**2 * self.n * n / total
        self.mean = self.mean + shift * n / total
        self.n = self.n + n

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation; 1 for a column of one value."""
        std = np.sqrt(self.square / np.maximum(self.n, 1))
        return np.where(std > 1e-12 * np.abs(self.mean), std, 1.0)


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


def _encode(column: Column, values: pandas.Series, first_row: int) -> NDArray[np.float64]:
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


def _decode(column: Column, values: NDArray[np.float64]) -> Any:
    import pandas

    if KINDS[column.kind].has_categories:
        codes = np.where(np.isnan(values), -1, values.round().clip(0, column.levels - 1)).astype(int)
        return pandas.Categorical.from_codes(codes, list(column.categories), ordered=column.kind == "ordinal")
    if column.kind == "count" and bool(np.all(np.isnan(values) | (values % 1 == 0))):
        return pandas.array(values, "Float64").astype("Int64")
    return values


def _logarithm(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithm = KINDS[column.kind].logarithm
    return values if logarithm is None else logarithm(torch.from_numpy(values.copy())).numpy()
