"""Tables with a row a datum, written as CSV or NumPy's format block by block, so that memory does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae import checks
from pyrovae.files import atomic_write, check_writable, path_of

if TYPE_CHECKING:
    import pandas

__all__ = ["check_out", "write_matrix", "write_table"]


def check_out(out: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path of a table to write, before long work whose result goes there.

    Args:
        out: the path, which must end with ``.csv`` or ``.npy``.
        overwrite: whether a file of this name may be replaced.

    Raises:
        ValueError: if it ends otherwise, exists, or cannot be written.
    """
    path = path_of("out", out)
    checks.choice("out's ending", path.suffix, (".csv", ".npy"))
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
        for i, block in enumerate(blocks):
            if path.suffix == ".csv":
                _write_csv(file, block, header=i == 0)
                continue
            records = block.to_records(index=False)
            if i == 0:
                _write_header(file, records.dtype, (count,))
            file.write(records.tobytes())


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
        for i, block in enumerate(blocks):
            if path.suffix == ".csv":
                _write_csv(file, block, header=i == 0)
                continue
            values = np.ascontiguousarray(block.drop(columns=index).to_numpy())
            if i == 0:
                _write_header(file, values.dtype, (*shape, *(row_shape or values.shape[1:])))
            file.write(values.tobytes())


def _write_csv(file: Any, block: pandas.DataFrame, *, header: bool) -> None:
    file.write(block.to_csv(index=False, header=header, lineterminator="\n").encode())


def _write_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
