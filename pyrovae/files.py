"""Files are written beside their place and moved there whole, so that none is ever lost or half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyrovae import checks

__all__ = ["write_text", "writing"]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Any]:
    """Open a file beside ``path`` for writing bytes, and move it there once it is whole and on the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise checks.InputError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as a file, whole or not at all; its folder is made if need be."""
    with writing(Path(path)) as file:
        file.write(text.encode())
