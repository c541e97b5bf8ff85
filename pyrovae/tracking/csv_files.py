"""Log as CSV files, pictures and copies in a folder."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from pyrovae import checks
from pyrovae.files import atomic_write, path_of, write_text
from pyrovae.tracking.base import Logger
from pyrovae.training import History

__all__ = ["CSV"]

_CURVES = "curves.csv"


class CSV(Logger):
    """A log as files: ``curves.csv``, ``options.csv`` and ``results.csv``, figures as PNG, copies of other files.

    ``curves.csv`` has a row for each epoch and the fields of :class:`~pyrovae.training.Epoch`. The other two have a row
    for each name. They need no package.

    Args:
        folder: the folder; if not given, ``log`` in the run's folder, or in the current one.

    Raises:
        ValueError: if the folder cannot be written, or is given and has the log of another run.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.folder = None if folder is None else path_of("folder", folder)
        self._there = Path()

    def _start(self, run: Path | None, identifier: str | None) -> str:
        self._there = self.folder or (run or Path()) / "log"
        if self.folder is not None and run is not None and identifier is None and (self.folder / _CURVES).exists():
            raise checks.InputError(
                f"logger.folder must be a new one for each run, but {self.folder} has a log already"
            )
        return str(self._there)

    def _options(self, options: dict[str, str]) -> None:
        self._write("options.csv", [("option", "value"), *options.items()])

    def _epoch(self, history: History) -> None:
        self._write(_CURVES, [history.columns(), *history.rows()])

    def _results(self, numbers: dict[str, float]) -> None:
        path = self._there / "results.csv"
        known: dict[str, str] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                known = dict(list(csv.reader(file))[1:])
        known |= {name: repr(value) for name, value in numbers.items()}
        self._write(path.name, [("name", "value"), *known.items()])

    def _picture(self, name: str, content: bytes) -> None:
        with atomic_write(self._there / f"{name}.png") as file:
            file.write(content)

    def _file(self, path: Path) -> None:
        with atomic_write(self._there / path.name) as file:
            file.write(path.read_bytes())

    def _finish(self, failed: bool) -> None:
        """Do nothing: every file is complete."""

    def _write(self, name: str, rows: Iterable[Iterable[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(self._there / name, text.getvalue())
