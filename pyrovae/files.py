"""Atomic writing of files: a temporary file in the same folder is renamed once it is complete."""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyrovae import checks

__all__ = [
    "atomic_write",
    "check_writable",
    "describe_path",
    "path_of",
    "state_folder",
    "temporary_mmap",
    "write_error",
    "write_once",
    "write_text",
]


def path_of(name: str, value: str | os.PathLike[str]) -> Path:
    """Return an argument as a path; refuse an empty one, which would silently mean the current folder.

    Raises:
        ValueError: if it is empty.

    Example:
        >>> path_of("run", "")
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: run must be a path, . for the current folder, but an empty one was given
    """
    if not os.fspath(value):
        raise checks.InputError(f"{name} must be a path, . for the current folder, but an empty one was given")
    return Path(value)


def describe_path(path: str | os.PathLike[str]) -> str:
    """Describe a path in a "not found" message; a relative path is given with the current folder.

    Example:
        >>> describe_path("/data/x.npy"), describe_path("x.npy").startswith("x.npy in the current folder, ")
        ('/data/x.npy', True)
    """
    return f"{path}" if os.path.isabs(path) else f"{path} in the current folder, {os.getcwd()}"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Any]:
    """Open a temporary file for writing bytes, and rename it to ``path`` once it is complete and on the disk.

    Raises:
        ValueError: if it cannot be written, for example because the disk is full; an existing file is then kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise write_error(path, error) from error
    disk = _RecordingFile(handle, "wb")
    file = io.BufferedWriter(disk)
    try:
        yield file
        file.flush()
        os.fsync(handle)
        file.close()
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            os.remove(beside)
        own = isinstance(error, OSError) and error.filename in (None, beside)
        if disk.failure is not None or own:
            raise write_error(path, disk.failure or error) from error
        raise


class _RecordingFile(io.FileIO):
    """A file that records why writing failed, since libraries may replace that error by one of their own."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically, and make its folder if needed."""
    with atomic_write(Path(path)) as file:
        file.write(text.encode())


def write_once(path: Path, content: bytes) -> None:
    """Write a file that only its user can read, unless there is one; of several processes, the first one's is kept.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, beside = tempfile.mkstemp(dir=path.parent)  # readable by its user alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.remove(beside)


def state_folder() -> Path:
    """Return the folder of what this machine remembers for its user: ``$XDG_STATE_HOME/pyrovae``.

    Without that variable it is ``~/.local/state/pyrovae``.

    Raises:
        RuntimeError: if the user has no home.
    """
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "pyrovae"


def write_error(path: str | os.PathLike[str], error: BaseException) -> checks.InputError:
    """Return the error that says why a file or a folder cannot be written."""
    why = getattr(error, "strerror", None) or f"{checks.reason(error)}; the disk may be full"
    return checks.InputError(f"{path} cannot be written: {why}")


def check_writable(folder: str | os.PathLike[str], size: int = 0) -> None:
    """Check that a folder, or the one that it will be made in, is writable, before long work whose result goes there.

    Args:
        folder: the folder.
        size: bytes that will be written.

    Raises:
        ValueError: if it is not writable, or the disk has too little space.

    Example:
        >>> check_writable(".")
    """
    try:
        there = Path(folder)
        while not there.exists() and there != there.parent:
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as file:
            if size:
                _allocate(file, size)
    except OSError as error:
        raise write_error(folder, error) from error


def temporary_mmap(folder: str | os.PathLike[str], size: int) -> mmap.mmap:
    """Memory-map a new temporary file that has no name, so that it vanishes with the process.

    Its space on the disk is allocated at once: in a sparse file, writing to a full disk would kill the process.

    Args:
        folder: folder of the file; it is made if needed.
        size: size in bytes, at least 1.

    Raises:
        ValueError: if the disk has too little space, or the folder is not writable.

    Example:
        >>> len(temporary_mmap(".", 10))
        10
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise write_error(folder, error) from error


def _allocate(file: Any, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    zeros = bytes(min(size, 2**20))  # fallback where the system or the file system has no posix_fallocate
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()
