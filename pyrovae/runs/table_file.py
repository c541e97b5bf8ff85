"""Tables with a row a datum, written as CSV, Parquet or NumPy's format block by block, so that memory does not grow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae import checks
from pyrovae.files import atomic_write, check_writable, path_of

if TYPE_CHECKING:
    import pandas

__all__ = ["check_out", "write_matrix", "write_npy_header", "write_table"]


def check_out(
    out: str | os.PathLike[str], overwrite: bool, endings: tuple[str, ...] | None = (".csv", ".parquet", ".npy")
) -> Path:
    """Return the path of a file to write, before long work whose result goes there.

    Args:
        out: the path.
        overwrite: whether a file of this name may be replaced.
        endings: endings that it may have; None for any.

    Raises:
        ValueError: if it ends otherwise, exists, or cannot be written.
    """
    path = path_of("out", out)
    if endings is not None:
        checks.choice("out's ending", path.suffix, endings)
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise checks.InputError("out must not end with .parquet without pyarrow: pip install 'pyrovae[tables]'")
    if path.is_dir():
        raise checks.InputError(f"out must be a file, but {path} is a folder")
    if path.exists() and not overwrite:
        raise checks.InputError(f"out must be a new file unless overwrite is true, but {path} exists")
    check_writable(path.parent)
    return path


def write_table(path: Path, blocks: Iterable[pandas.DataFrame], count: int) -> None:
    """Write a table whose columns have names; as ``.npy`` it is a structured array, which pandas reads too.

    Args:
        path: path of the file, which is replaced once all blocks are written.
        blocks: successive rows.
        count: number of rows of all blocks.
    """
    with atomic_write(path) as file:
        _WRITERS.get(path.suffix, _write_records)(file, blocks, count)


def write_matrix(
    path: Path,
    blocks: Iterable[pandas.DataFrame],
    shape: tuple[int, ...],
    index: list[str],
    row_shape: tuple[int, ...] | None = None,
) -> None:
    """Write a table of numbers; as ``.npy`` it is an array without the index.

    Args:
        path: path of the file, which is replaced once all blocks are written.
        blocks: successive rows.
        shape: shape of the array but for its last dimension, the columns.
        index: columns that number the rows.
        row_shape: shape of the columns of a row in an array, in place of that dimension.
    """
    with atomic_write(path) as file:
        if path.suffix in _WRITERS:
            _WRITERS[path.suffix](file, blocks, shape[0])
            return
        for i, block in enumerate(blocks):
            values = np.ascontiguousarray(block.drop(columns=index).to_numpy())
            if i == 0:
                write_npy_header(file, values.dtype, (*shape, *(row_shape or values.shape[1:])))
            file.write(values.tobytes())


def _write_csv(file: Any, blocks: Iterable[pandas.DataFrame], count: int) -> None:
    for i, block in enumerate(blocks):
        file.write(block.to_csv(index=False, header=i == 0, lineterminator="\n").encode())


def _write_records(file: Any, blocks: Iterable[pandas.DataFrame], count: int) -> None:
    for i, block in enumerate(blocks):
        records = block.to_records(index=False)
        if i == 0:
            write_npy_header(file, records.dtype, (count,))
        file.write(records.tobytes())


def _write_parquet(file: Any, blocks: Iterable[pandas.DataFrame], count: int) -> None:
    import pyarrow
    from pyarrow import parquet

    waiting: list[Any] = []
    writer = None

    def flush() -> None:
        nonlocal writer
        table = pyarrow.concat_tables(waiting)
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        waiting.clear()

    for block in blocks:
        waiting.append(pyarrow.Table.from_pandas(block, preserve_index=False))
        if sum(map(len, waiting)) >= _ROW_GROUP:
            flush()
    if waiting:
        flush()
    if writer is not None:
        writer.close()


_ROW_GROUP = 100_000  # rows of a row group of a Parquet file
_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}


def write_npy_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of an array in NumPy's format, which its bytes follow.

    Args:
        file: file opened for writing bytes.
        dtype: type of the array.
        shape: its shape.
    """
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
