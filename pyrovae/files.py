"""Files are written beside their place and moved there whole, so that none is ever lost or half-written."""

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

__all__ = ["atomic_write", "check_writable", "describe_path", "path_of", "temporary_mmap", "write_error", "write_text"]


def path_of(name: str, value: str | os.PathLike[str]) -> Path:
    """Return a path that was given for an argument; an empty one is refused, which would be the current folder.

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
    """Return a path for a sentence that says that nothing is there: a relative one with what it is relative to.

    Example:
        >>> describe_path("/data/x.npy"), describe_path("x.npy").startswith("x.npy in the current folder, ")
        ('/data/x.npy', True)
    """
    return f"{path}" if os.path.isabs(path) else f"{path} in the current folder, {os.getcwd()}"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Any]:
    """Open a file beside ``path`` for writing bytes, and move it there once it is whole and on the disk.

    Raises:
        ValueError: if it cannot be written, say because the disk is full; what stood at ``path`` stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise write_error(path, error) from error
    disk = _Disk(handle, "wb")
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


class _Disk(io.FileIO):
    """Remember why a file could not be written, which those who write it may turn into errors of their own."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as a file, whole or not at all; its folder is made if need be."""
    with atomic_write(Path(path)) as file:
        file.write(text.encode())


def write_error(path: str | os.PathLike[str], error: BaseException) -> checks.InputError:
    """Return the sentence that says why a file or a folder cannot be written."""
    why = getattr(error, "strerror", None) or f"{checks.reason(error)}; the disk may be full"
    return checks.InputError(f"{path} cannot be written: {why}")


def check_writable(folder: str | os.PathLike[str], size: int = 0) -> None:
    """See that a folder, or the one that it will be made in, can be written, before work whose result would be lost.

    Args:
        folder: which.
        size: of what is to be written, in bytes.

    Raises:
        ValueError: if it cannot, or the disk is too full.

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
    """Map a new file that has no name, so that nothing is left of it, and whose room on the disk is its own.

    Of a file that is merely long, a full disk ends the process when it is written.

    Args:
        folder: it is made if need be.
        size: in bytes, at least 1.

    Raises:
        ValueError: if the disk is too full, or the folder cannot be written.

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
    zeros = bytes(min(size, 2**20))  # where the system, or the file system, has no such call
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()
