"""Lock of a run's folder against a second training; the system releases it when the process ends."""

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

_FILE = "train.lock"


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder, which is made if needed, against other trainings; remove it at the end if it is empty.

    On file systems without locks, such as some network disks, a warning is printed, and the folder is not locked.

    Args:
        folder: folder of the run.
        wait: wait until no other process has the lock, in place of an error.

    Raises:
        ValueError: if another process, on any machine, has the lock, or the folder cannot be written.

    Example:
        >>> with locked(Path("runs/none-such")):
        ...     Path("runs/none-such/train.lock").exists()
        True
    """
    file = _acquire(folder, wait)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                (folder / _FILE).unlink()
            file.close()
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _acquire(folder: Path, wait: bool) -> IO[bytes] | None:
    path = folder / _FILE
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise write_error(folder, error) from error
        try:
            if fcntl is None:
                raise OSError("this system has none")
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        with contextlib.suppress(FileNotFoundError):  # the previous owner has removed the file in the meantime
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
