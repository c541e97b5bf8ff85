"""Parts of a long table that is being written: a command that was killed goes on after the last of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae import checks, progress
from pyrovae.files import atomic_write

if TYPE_CHECKING:
    import pandas

__all__ = ["BLOCKS", "Parts"]

BLOCKS = 100
"""Number of blocks of a part, unless the blocks are large."""


class Parts:
    """A folder beside a table with the parts of it that are complete, each of some blocks.

    Args:
        path: path of the table.
        key: what the rows depend on: the program, the data and the options. Parts of others are deleted.
        size: number of blocks of a part.

    Raises:
        ValueError: if the folder cannot be written.

    Example:
        >>> import pandas
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     parts = Parts(Path(folder) / "scores.csv", {"seed": 0})
        ...     blocks = parts.kept(pandas.DataFrame({"row": [i]}) for i in range(250))
        ...     _ = [next(blocks) for i in range(220)]  # and the process is killed
        ...     Parts(Path(folder) / "scores.csv", {"seed": 0}).num_blocks
        200
    """

    def __init__(self, path: Path, key: dict[str, Any], size: int = BLOCKS) -> None:
        self.size = size
        self.folder = path.with_name(f".{path.name}.parts")
        text = hashlib.blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
        name = self.folder / "key"
        try:
            same = name.read_bytes() == text.encode()
        except OSError:
            same = False
        if not same:
            self.discard()
            with atomic_write(name) as file:
                file.write(text.encode())
        self.num_parts = 0
        while self._part(self.num_parts).exists():
            self.num_parts += 1
        if self.num_parts:
            progress.note(f"{path} goes on after the {self.num_blocks} blocks that are in {self.folder}")

    @property
    def num_blocks(self) -> int:
        """Number of blocks that are written."""
        return self.num_parts * self.size

    def kept(self, blocks: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        """Yield the parts that are written, then further blocks, and write each part of them once it is complete.

        Args:
            blocks: the blocks after those that are written.
        """
        import pandas

        columns: list[str] | None = None
        for i in range(self.num_parts):
            part = self._read(i)
            columns = self._checked(part, columns)
            yield part
        waiting: list[pandas.DataFrame] = []
        for block in blocks:
            columns = self._checked(block, columns)
            waiting.append(block)
            if len(waiting) == self.size:
                records = pandas.concat(waiting).to_records(index=False)
                with atomic_write(self._part(self.num_parts)) as file:
                    np.save(file, records, allow_pickle=False)
                self.num_parts += 1
                waiting.clear()
            yield block

    def _checked(self, part: pandas.DataFrame, columns: list[str] | None) -> list[str]:
        """Return the columns of a part; raise an error if those before have others."""
        if columns is not None and list(part.columns) != columns:
            raise checks.InputError(f"{self.folder} has parts of other columns than the table: delete it")
        return list(part.columns)

    def discard(self) -> None:
        """Delete the parts, as when the table is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, i: int) -> Path:
        return self.folder / f"{i:08}.npy"

    def _read(self, i: int) -> pandas.DataFrame:
        import pandas

        try:
            records = np.load(self._part(i), allow_pickle=False)
            if records.dtype.names is None or records.ndim != 1 or len(records) == 0:
                raise ValueError("it holds no rows of a table")
            return pandas.DataFrame.from_records(records)
        except Exception as error:  # NumPy has several for files that are cut short
            raise checks.InputError(f"{self._part(i)} cannot be read: {checks.reason(error)}: delete it") from error
