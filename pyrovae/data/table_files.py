"""Tables in files and data frames, read in parts, so that they may be larger than memory."""

from __future__ import annotations

import os
import warnings
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
    import pandas

    with _reading(path, "CSV"):
        if not path.read_bytes()[:1]:
            raise checks.InputError(f"{path} must be a table, but is empty")
        names = [str(name) for name in pandas.read_csv(path, header=None, nrows=1, dtype=str).fillna("").iloc[0]]
        _check_header(path, names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            # As texts without missing values: a missing one is then a cell that its row lacks.
            parts = pandas.read_csv(
                path, dtype=str, keep_default_na=False, index_col=False, chunksize=_ROWS, low_memory=False
            )
            row = 0
            for part in parts:
                short = part.isna().any(axis=1)
                if short.any():
                    at = row + int(short.to_numpy().argmax())
                    raise checks.InputError(
                        f"{path} must have {len(names)} cells in each row, but row {at} (counted from 0) has fewer"
                    )
                row += len(part)
                yield part


def _parquet(path: Path) -> Iterator[pandas.DataFrame]:
    with _reading(path, "Parquet"):
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            _check_names(str(path), file.schema_arrow.names)
            for i in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS, row_groups=[i]):
                    yield batch.to_pandas()


def _feather(path: Path) -> Iterator[pandas.DataFrame]:
    with _reading(path, "Feather"):
        from pyarrow import feather

        table = feather.read_table(path)
        _check_names(str(path), table.column_names)
        for batch in table.to_batches(_ROWS):
            yield batch.to_pandas()


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


def _check_header(path: Path, names: list[str]) -> None:
    _check_names(str(path), [name for name in names if name])
    if all(_is_number(name) for name in names):
        raise checks.InputError(f"{path} must have the names of columns in its first row, but that has numbers")


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
