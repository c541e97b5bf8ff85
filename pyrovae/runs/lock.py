"""A lock that keeps a run's folder for one training, which the system takes away with the process that holds it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pyrovae import checks
from pyrovae.files import write_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["locked"]

_NAME = "train.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if need be, from other trainings; an empty one is removed at the end.

    Where the file system has no locks, as some network disks, that is said, and nothing is kept.

    Args:
        folder: the run's.

    Raises:
        ValueError: if another process, on whatever machine, has it, or it cannot be written.

    Example:
        >>> with locked(Path("runs/none-such")):
        ...     Path("runs/none-such/train.lock").exists()
        True
    """
    file = _taken(folder)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                (folder / _NAME).unlink()
            file.close()
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()


def _taken(folder: Path) -> IO[bytes] | None:
    path = folder / _NAME
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise write_error(folder, error) from error
        try:
            if fcntl is None:
                raise OSError("this system has none")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise checks.InputError(
                f"run must be a folder in which no other process trains, but one does in {folder}: "
                "wait until it ends, or give another folder"
            ) from error
        except OSError as error:
            file.close()
            path.unlink(missing_ok=True)
            print(
                f"{folder} cannot be locked ({error.strerror or error}): "
                "see that no other process trains in it at the same time",
                file=sys.stderr,
            )
            return None
        with contextlib.suppress(FileNotFoundError):  # whoever had it before has removed the file meanwhile
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
