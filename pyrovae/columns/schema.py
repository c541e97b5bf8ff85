"""The columns of a table, by which its rows are written as numbers and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.columns import encoding
from pyrovae.columns.column import Column
from pyrovae.columns.kinds import KINDS
from pyrovae.columns.moments import Moments

if TYPE_CHECKING:
    import pandas

__all__ = ["Schema"]


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
        parts = [encoding.encode(column, ordered.iloc[:, i], first_row) for i, column in enumerate(self.columns)]
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
        codes = encoding.encode(self.label, frame.iloc[:, position], first_row)
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
        columns = {column.name: encoding.decode(column, values[:, i]) for i, column in enumerate(self.columns)}
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
        plain, logs = Moments(len(self)), Moments(len(self))
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


def _logarithm(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithm = KINDS[column.kind].logarithm
    return values if logarithm is None else logarithm(torch.from_numpy(values.copy())).numpy()
