"""Tables in files and data frames, read in parts, so that they may be larger than memory."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pyrovae import checks
from pyrovae.columns import is_frame
from pyrovae.files import describe_path, path_of

if TYPE_CHECKING:
    import pandas

__all__ = ["Frames", "frames_of"]

Frames: TypeAlias = "Callable[[], Iterator[pandas.DataFrame]]"
"""A function that reads a table from its beginning, in parts of successive rows."""

_ROWS = 100_000  # rows of a part


def frames_of(name: str, table: Any) -> Frames:
    """Return a function that reads a table in parts.

    Args:
        name: name of the argument, for messages.
        table: a data frame; or the path of a ``.csv``, ``.parquet`` or ``.feather`` file, or of a folder of Parquet
            files, which are read in the order of their names.

    Raises:
        ValueError: if it is none of these, or two columns have one name; when read, if it cannot be.
    """
    if is_frame(table):
        _check_names(f"{name}'s columns", [str(column) for column in table.columns])
        return lambda: (table.iloc[i : i + _ROWS] for i in range(0, max(len(table), 1), _ROWS))
    if not isinstance(table, str | os.PathLike):
        raise checks.InputError(f"{name} must be a path or a data frame, but a {type(table).__name__} was given")
    path = path_of(name, table)
    if not path.exists():
        raise checks.InputError(f"{name} must be an existing file or folder, but there is no {describe_path(path)}")
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        if not files:
            raise checks.InputError(f"{name} must be a file or a folder with .parquet files, but {path} has none")
        return lambda: (frame for file in files for frame in _parquet(file))
    checks.choice(f"{name}'s ending", path.suffix, _READERS)
    return lambda: _READERS[path.suffix](path)


def _csv(path: Path) -> Iterator[pandas.DataFrame]:
    """Read a CSV file as texts; Python's reader, unlike that of pandas, tells an empty cell from a missing one."""
    import pandas

    with _reading(path, "CSV"), path.open(encoding="utf-8-sig", newline="") as file:
        lines = (line for line in csv.reader(file) if line)
        names = next(lines, None)
        if names is None:
            raise checks.InputError(f"{path} must be a table, but is empty")
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise checks.InputError(
                f"{path} must have commas between its cells, but its first row is {names[0][:60]!r}"
            )
        names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
        _check_names(str(path), names)
        if all(_is_number(name) for name in names):
            raise checks.InputError(f"{path} must have the names of columns in its first row, but that has numbers")
        first = 0
        while part := list(itertools.islice(lines, _ROWS)):
            for i, line in enumerate(part):
                if len(line) != len(names):
                    raise checks.InputError(
                        f"{path} must have {len(names)} cells in each row, but row {first + i} (counted from 0) has "
                        f"{len(line)}"
                    )
            yield pandas.DataFrame(part, columns=names, dtype=object)
            first += len(part)
        if first == 0:
            raise checks.InputError(f"{path} must be a table with rows, but has none")


def _parquet(path: Path) -> Iterator[pandas.DataFrame]:
    with _reading(path, "Parquet"):
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            _check_names(str(path), file.schema_arrow.names)
            for i in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS, row_groups=[i]):
                    yield _frame(batch)


def _feather(path: Path) -> Iterator[pandas.DataFrame]:
    with _reading(path, "Feather"):
        from pyarrow import feather

        table = feather.read_table(path)
        _check_names(str(path), table.column_names)
        for batch in table.to_batches(_ROWS):
            yield _frame(batch)


def _frame(batch: Any) -> pandas.DataFrame:
    """Return a batch of pyarrow by its own types; those that pandas noted in the file may be unknown to it later."""
    index = (batch.schema.pandas_metadata or {}).get("index_columns", [])
    frame: pandas.DataFrame = batch.to_pandas(ignore_metadata=True)
    return frame.drop(columns=[name for name in index if isinstance(name, str) and name in frame])


_READERS = {".csv": _csv, ".parquet": _parquet, ".feather": _feather}


@contextmanager
def _reading(path: Path, form: str) -> Iterator[None]:
    try:
        yield
    except (checks.InputError, GeneratorExit):
        raise
    except ModuleNotFoundError as error:
        raise checks.InputError(f"{path} cannot be read without pyarrow: pip install 'pyrovae[tables]'") from error
    except Exception as error:  # pandas and pyarrow raise many
        raise checks.InputError(f"{path} cannot be read as {form}: {checks.reason(error)}") from error


def _check_names(where: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise checks.InputError(f"{where} must have a name for each column, but {name!r} is that of several")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
