"""Tables, their splits and gaps, for ``tables.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import sklearn.datasets as bundled
from numpy.typing import NDArray

from pyrovae import Column, Schema
from pyrovae.data.table_kinds import Seen, column_of

__all__ = ["OF_STATSMODELS", "PATTERNS", "TABLES", "Rows", "Task", "task"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """A complete table.

    Numbers that were rounded to a step are given uniform noise of one step, so that every density of them is bounded.
    Positive numbers that a log-normal distribution fits better are given as logarithms.

    Attributes:
        x: ``(n, C)``; codes 0, 1, ... of categories plus uniform noise.
        kinds: kind of each column: ``real``, ``log``, ``binary``, ``categorical`` or ``ordinal``.
        levels: number of categories of each column, 0 for numbers.
        grey_levels: number of levels if all columns are integers from 0 up with this common number of levels, else 0.
    """

    x: Floats = field(repr=False)
    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    grey_levels: int = 0

    @property
    def coded(self) -> NDArray[np.bool_]:
        """Mask of the columns of categories, ``(C,)``."""
        return np.array([count > 0 for count in self.levels])

    @property
    def nominal(self) -> NDArray[np.bool_]:
        """Mask of the columns of categories without an order, or of two, ``(C,)``."""
        return np.array([kind in ("binary", "categorical") for kind in self.kinds])


def _rows(values: Floats, codes: dict[int, str] | None = None, grey_levels: int = 0) -> Rows:
    """Add noise, take logarithms, and number the categories of the columns ``codes``, position to kind."""
    noise = np.random.default_rng(0).random(values.shape)
    x, kinds, levels = np.empty(values.shape), [], []
    for i, column in enumerate(values.T):
        kind = (codes or {}).get(i)
        if kind is not None:
            found, code = np.unique(column, return_inverse=True)
            x[:, i] = code + noise[:, i]
            kinds.append("binary" if len(found) == 2 else kind)
            levels.append(len(found))
            continue
        x[:, i] = column + _step(column) * noise[:, i]
        seen = Seen(str(i))
        seen.add(_series(column))
        log = grey_levels == 0 and column.min() > 0 and column_of(seen, None).kind == "positive"
        if log:
            x[:, i] = np.log(x[:, i])
        kinds.append("log" if log else "real")
        levels.append(0)
    return Rows(x, tuple(kinds), tuple(levels), grey_levels)


def _series(column: Floats) -> object:
    import pandas

    return pandas.Series(column + 0.5e-9)  # positive integers too are judged as real numbers


def _step(column: Floats) -> float:
    """Return the power of ten, at most 1, that a column is rounded to."""
    for digits in range(12):
        if np.allclose(column * 10**digits, np.round(column * 10**digits), rtol=0, atol=1e-6):
            return float(10.0**-digits)
    return 0.0


def _some(values: Floats, count: int = 1000) -> Floats:
    """Return at most ``count`` rows, chosen at random."""
    return values[np.sort(np.random.default_rng(0).permutation(len(values))[:count])]


def _with_class(loader: Callable[..., tuple[Floats, Floats]]) -> Rows:
    x, y = loader(return_X_y=True)
    return _rows(np.column_stack((x, y)), {x.shape[1]: "categorical"})


def _diabetes() -> Rows:
    return _rows(bundled.load_diabetes(scaled=False).data, {1: "binary"})


def _digits() -> Rows:
    return _rows(_some(bundled.load_digits().data), grey_levels=17)


def _elections() -> Rows:
    from statsmodels.datasets import anes96

    frame = anes96.load_pandas().data
    names = ["logpopul", "age", "TVnews", "selfLR", "ClinLR", "DoleLR", "PID", "educ", "income", "vote"]
    return _rows(frame[names].to_numpy(float), dict.fromkeys(range(2, 10), "ordinal"))


def _marriages() -> Rows:
    from statsmodels.datasets import fair

    frame = fair.load_pandas().data
    frame["affairs"] = (frame["affairs"] > 0).astype(float)
    codes = {i: "categorical" if name.startswith("occupation") else "ordinal" for i, name in enumerate(frame.columns)}
    return _rows(_some(frame.to_numpy(float)), codes)


TABLES: dict[str, Callable[[], Rows]] = {
    "breast cancer": lambda: _rows(bundled.load_breast_cancer().data),
    "wine": lambda: _rows(bundled.load_wine().data),
    "wine and cultivar": lambda: _with_class(bundled.load_wine),
    "diabetes": _diabetes,
    "iris": lambda: _rows(bundled.load_iris().data),
    "iris and species": lambda: _with_class(bundled.load_iris),
    "digits": _digits,
    "elections (anes96)": _elections,
    "marriages (fair)": _marriages,
}
"""Makers of the tables, by name."""
OF_STATSMODELS = "elections (anes96)", "marriages (fair)"
"""Names of the tables that statsmodels brings."""


def _at_random(share: float) -> Callable[[Floats, np.random.Generator], NDArray[np.bool_]]:
    return lambda x, rng: rng.random(x.shape) < share


def _by_value(x: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Remove a value with half its rank in its column, from 0 to 1: large ones more often, a quarter of all."""
    rank = x.argsort(0).argsort(0) / (len(x) - 1)
    return rng.random(x.shape) < 0.5 * rank


PATTERNS: dict[str, Callable[[Floats, np.random.Generator], NDArray[np.bool_]]] = {
    "20 % at random": _at_random(0.2),
    "50 % at random": _at_random(0.5),
    "25 %, large values more often": _by_value,
}
"""Functions that tell which cells of complete rows are missing, by name."""


@dataclass(frozen=True)
class Task:
    """A table with gaps, split and standardised by the observed values of the training rows.

    Attributes:
        table: the complete table.
        parts: positions of the training, validation and test rows.
        missing: mask of the missing cells, ``(n, C)``.
        mean: of each column.
        std: of each column, never 0.
    """

    table: Rows
    parts: dict[str, NDArray[np.int64]]
    missing: NDArray[np.bool_] = field(repr=False)
    mean: Floats = field(repr=False)
    std: Floats = field(repr=False)

    def complete(self, part: str) -> Floats:
        """Return the standardised complete rows of a part, the truth, ``(n, C)``."""
        return (self.table.x[self.parts[part]] - self.mean) / self.std

    def observed(self, part: str) -> Floats:
        """Return the standardised rows of a part, NaN where a value is missing, ``(n, C)``."""
        return np.where(self.gaps(part), np.nan, self.complete(part))

    def gaps(self, part: str) -> NDArray[np.bool_]:
        """Return the missing cells of a part, ``(n, C)``."""
        return self.missing[self.parts[part]]

    def codes(self, part: str) -> Floats:
        """Return the rows as a VAE takes them: codes of categories, and standardised numbers, ``(n, C)``."""
        raw = np.floor(self.table.x[self.parts[part]])
        x = np.where(self.table.coded, raw, self.complete(part))
        return np.where(self.gaps(part), np.nan, x)

    def grey(self, part: str) -> Floats:
        """Return rows of grey levels from 0 to 1, ``(n, C)``."""
        x = np.floor(self.table.x[self.parts[part]]) / (self.table.grey_levels - 1)
        return np.where(self.gaps(part), np.nan, x)

    def log_units(self, part: str, scaled: NDArray[np.bool_] | None = None) -> Floats:
        """Return what is added to log p of standardised rows for that in the table's units, ``(n,)``, in nats.

        Args:
            part: name of the part.
            scaled: columns that are standardised; all by default.
        """
        log = np.array([kind == "log" for kind in self.table.kinds])
        scale = np.log(self.std) * (1.0 if scaled is None else scaled)
        jacobian = np.where(log, self.table.x[self.parts[part]], 0.0) + scale
        return -np.where(self.gaps(part), 0.0, jacobian).sum(1)

    @property
    def schema(self) -> Schema:
        """The columns of :meth:`codes`."""
        columns = []
        x = self.codes("train")
        for i, (kind, count) in enumerate(zip(self.table.kinds, self.table.levels, strict=True)):
            names = tuple(str(code) for code in range(count))
            mean, std = (np.nanmean(x[:, i]), max(np.nanstd(x[:, i]), 1e-3)) if count else (0.0, 1.0)
            columns.append(
                Column(f"x{i}", "real" if kind == "log" else kind, names, float(mean), float(std), gaps=True)
            )
        return Schema(tuple(columns))


def task(table: Rows, pattern: str, seed: int) -> Task:
    """Remove values and split: 60 % of the rows for training, 20 % for validation, 20 % for the test."""
    rng = np.random.default_rng(seed)
    count = len(table.x)
    order, fifth = rng.permutation(count), count // 5
    parts = {"test": order[:fifth], "validation": order[fifth : 2 * fifth], "train": order[2 * fifth :]}
    missing = PATTERNS[pattern](table.x, rng)
    kept = rng.integers(table.x.shape[1], size=count)
    missing[np.arange(count), kept] &= ~missing.all(1)  # each row has a value
    train = np.where(missing, np.nan, table.x)[parts["train"]]
    return Task(table, parts, missing, np.nanmean(train, 0), np.nanstd(train, 0))
