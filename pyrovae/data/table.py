"""Tables: columns of several kinds, from CSV, Parquet and Feather files or a data frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.columns import Schema
from pyrovae.data.dataset import DataSet
from pyrovae.data.row_buffer import RowBuffer
from pyrovae.data.table_files import Frames, frames_of
from pyrovae.data.table_kinds import Seen, column_of

__all__ = ["Table"]

_ROWS = 2**16  # rows whose mean and scale are computed at a time


class Table(DataSet):
    """The rows of a table, whose columns are numbers or categories: a CSV, Parquet or Feather file, or a data frame.

    x has a column for each of the table's, in the table's units: numbers as they are, categories as codes 0, 1, ...
    and NaN where a value is missing. The kind of a column is inferred: ``real`` numbers, ``positive`` ones that a
    log-normal distribution fits better than a normal one, ``count`` for integers from 0 up, ``binary`` for two
    values, ``categorical`` for texts and a data frame's type of categories, ``ordinal`` if that has an order. Mean
    and standard deviation of the training rows are known to :class:`~pyrovae.TableLikelihood` and
    :class:`~pyrovae.TableEncoder`, which standardise; all results are in the table's units.

    Rows are read in parts. A table of more than 128 MiB is kept in a temporary file, in the folder that ``TMPDIR``
    says, so that the file may be larger than memory.

    Args:
        path: a ``.csv``, ``.parquet`` or ``.feather`` file, a folder of Parquet files, or a data frame.
        types: kinds of columns by name, instead of those inferred; a list of names for ordered categories.
        label: column whose categories are the labels of rows, and no part of x.
        drop: columns to leave out.
        test: another file or data frame with the test rows; by default, ``test_size`` of the rows.
        validation_size: number or fraction of rows held out for validation.
        test_size: number or fraction of rows held out for the test; ignored if ``test`` is given.
        seed: seed of the split.
        schema: the columns of an earlier table, which this one must have, in any order; others are left out.

    Attributes:
        schema: the columns.

    Raises:
        ValueError: if the table cannot be read, or a column cannot be used, in one sentence that says why.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"age": [31.5, 44.2, 23.0, 70.1] * 5, "animal": ["cat", "dog", "cow", "dog"] * 5})
        >>> table = Table(frame)
        >>> table, table.schema.columns[1].categories
        (Table(train=16, validation=2, test=2, data_shape=(2,), kind='table'), ('cat', 'cow', 'dog'))
    """

    schema: Schema

    def __init__(
        self,
        path: str | os.PathLike[str] | Any = "data.csv",
        types: dict[str, str | list[str]] | None = None,
        label: str | None = None,
        drop: Sequence[str] = (),
        test: str | os.PathLike[str] | Any | None = None,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
        schema: Schema | None = None,
    ) -> None:
        frames = frames_of("path", path)
        types = checks.instance("types", {} if types is None else types, dict)
        if not isinstance(drop, Sequence):
            raise checks.InputError(f"drop must be a list of names of columns, but {drop!r} was given")
        given = None if schema is None else checks.instance("schema", schema, Schema)
        if given is not None and (types or drop or label not in (None, given.label and given.label.name)):
            raise checks.InputError("schema must be given without types, label and drop, which it says already")
        if schema is None:
            schema = _schema(_seen(frames), types, label, [drop] if isinstance(drop, str) else list(drop))
        x, labels = _encoded("path", frames, schema)
        test_x = test_labels = None
        if test is not None:
            test_x, test_labels = _encoded("test", frames_of("test", test), schema)
        super().__init__(
            x,
            labels,
            test_x,
            test_labels,
            validation_size=validation_size,
            test_size=test_size,
            seed=seed,
        )
        self.schema = schema if given is not None else schema.with_spread(self._training_rows())
        if given is None:
            _check_training_rows(self.schema, self._training_rows())

    @property
    def kind(self) -> Literal["table"]:
        """Kind of the values: that of each column."""
        return "table"

    def to_frame(self, x: Tensor) -> Any:
        """Return rows ``(B, C)`` as a data frame with the names of columns and categories."""
        return self.schema.to_frame(x)

    def _training_rows(self) -> Iterator[NDArray[np.float64]]:
        """Yield training rows, in parts; all rows where there are too few to be split."""
        split = self.train if len(self.train) else self.test
        for x in split.astype(torch.float64).batches(_ROWS):
            yield x.cpu().numpy()


def _seen(frames: Frames) -> dict[str, Seen]:
    """Read a table once, and return what is known of each column."""
    seen: dict[str, Seen] = {}
    for frame in frames():
        for i, name in enumerate(map(str, frame.columns)):
            seen.setdefault(name, Seen(name)).add(frame.iloc[:, i])
    if not any(column.count for column in seen.values()):
        raise checks.InputError("path must be a table with rows and columns, but has none")
    return seen


def _schema(
    seen: dict[str, Seen], types: Mapping[str, str | list[str]], label: str | None, drop: Sequence[str]
) -> Schema:
    """Return the columns with their kinds, without the label and those left out."""
    for option, names in (("types", list(types)), ("label", [] if label is None else [label]), ("drop", drop)):
        for name in names:
            if name not in seen:
                raise checks.InputError(f"{option} must name columns of the table, {_some(list(seen))}, not {name!r}")
    kept = [column for name, column in seen.items() if name not in drop and name != label]
    columns = tuple(column_of(column, types.get(column.name)) for column in kept)
    return Schema(columns, None if label is None else column_of(seen[label], types.get(label, "categorical")))


def _some(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 10 else [*names[:9], "..."])


def _encoded(name: str, frames: Frames, schema: Schema) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Read a table once, and return its rows as numbers ``(N, C)``, on disk if they are many, and their labels."""
    x, labels = RowBuffer(len(schema)), list[NDArray[np.int64]]()
    for frame in frames():
        values = schema.encode(frame, x.count)
        empty = np.isnan(values).all(1)
        if empty.any():
            at = x.count + int(empty.argmax())
            raise checks.InputError(f"each row must have a value, but row {at} (counted from 0) has none: leave it out")
        of_part = schema.labels(frame, x.count)
        labels += [] if of_part is None else [of_part]
        x.add(values)
    if x.count == 0:
        raise checks.InputError(f"{name} must be a table with rows, but has none")
    return x.array(), np.concatenate(labels) if labels else None


def _check_training_rows(schema: Schema, rows: Iterator[NDArray[np.float64]]) -> None:
    """Refuse columns without a value, and numbers too large for their spread; warn of categories without a row."""
    largest = np.full(len(schema), np.nan)
    found: list[set[float]] = [set() for _ in schema.columns]
    for x in rows:
        largest = np.fmax(largest, np.fmax.reduce(np.abs(x), 0))  # of parts that have no value, NaN is left out
        for i, column in enumerate(schema.columns):
            if column.levels:
                found[i] |= set(np.unique(x[:, i]).tolist())
    for column, high, codes in zip(schema.columns, largest, found, strict=True):
        if np.isnan(high):
            raise checks.InputError(
                f"column {column.name!r} must hold values in training rows, but those it has are all held out: leave "
                "it out, by drop, or split by another seed"
            )
        absent = [name for code, name in enumerate(column.categories) if code not in codes]
        if absent:
            warnings.warn(
                f"no training row has column {column.name!r} as {_some(absent)}: its probability is a guess",
                stacklevel=3,
            )
        if not column.levels and column.kind != "count" and column.std < 100 * float(high) * 2**-24:
            raise checks.InputError(
                f"column {column.name!r} must vary by more than rounding errors of single precision, but varies by "
                f"{column.std:g} (standard deviation) at {high:g}: subtract a constant"
            )
