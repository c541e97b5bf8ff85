"""Rows of numbers whose count is not known before the last: in memory, or in a temporary file if they are many."""

from __future__ import annotations

import mmap
import tempfile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pyrovae.files import write_error

__all__ = ["RowBuffer"]

_IN_MEMORY = 2**27  # bytes of rows above which they are written to a file


class RowBuffer:
    """Rows of single precision, added in parts.

    More than 128 MiB are in a file in the folder that ``TMPDIR`` says, which has no name and vanishes with the process.

    Args:
        num_columns: number of columns.

    Attributes:
        count: number of rows.

    Example:
        >>> buffer = RowBuffer(2)
        >>> for i in range(3):
        ...     buffer.add(np.full((2, 2), i))
        >>> buffer.count, buffer.array()[:, 1].tolist()
        (6, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    """

    def __init__(self, num_columns: int) -> None:
        self.num_columns, self.count = num_columns, 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def add(self, rows: NDArray[np.floating]) -> None:
        """Add rows, ``(n, C)``.

        Raises:
            ValueError: if the disk has too little space, or the folder is not writable.
        """
        self._memory += np.ascontiguousarray(rows, np.float32).data.cast("B") if rows.size else b""
        self.count += len(rows)
        if self._file is not None or len(self._memory) > _IN_MEMORY:
            try:
                self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (closed by array)
                self._file.write(self._memory)
                self._file.flush()
            except OSError as error:
                raise write_error(tempfile.gettempdir(), error) from error
            self._memory = bytearray()

    def array(self) -> NDArray[np.float32]:
        """Return all rows, ``(N, C)``, N of at least 1, as a memory map if they are in a file; none are added then."""
        shape = self.count, self.num_columns
        if self._file is None:
            return np.frombuffer(self._memory, np.float32).reshape(shape)
        with self._file as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0), np.float32).reshape(shape).view(np.memmap)
