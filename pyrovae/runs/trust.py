"""Which runs were made on this machine, and the packages from which others may import classes.

Importing a module runs its code. So a run that was made elsewhere may name classes of :data:`TRUSTED` alone, unless its
user names other packages. A run that is made here is signed by a key that does not leave this machine.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pyrovae import checks
from pyrovae.files import state_folder, write_once, write_text

__all__ = ["TRUSTED", "check_links", "check_size", "is_signed", "sign", "trusted_packages", "trusting"]

TRUSTED = ("pyrovae", "pyro", "torch", "torchvision")
"""Packages from which every run may import classes."""

SIGNATURE = "signature"
"""Name of the file with the signature of a run's configuration."""

_MOST_VALUES = 100_000

_trusting: ContextVar[tuple[str, ...]] = ContextVar("trusting", default=())


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Trust some more packages in all runs that are read in the ``with`` block, as ``--trust`` does.

    Raises:
        ValueError: if one is no name of a package.
    """
    token = _trusting.set((*_trusting.get(), *package_names(packages)))
    try:
        yield
    finally:
        _trusting.reset(token)


def package_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return names of packages that a user trusts, given as one or several.

    Raises:
        ValueError: if one is no name of a package.

    Example:
        >>> package_names("my_package"), package_names(["a", "b.c"])
        (('my_package',), ('a', 'b.c'))
    """
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise checks.InputError(f"trust must be names of packages, such as my_package, but {name!r} was given")
    return found


def trusted_packages(own: Iterable[str]) -> list[str]:
    """Return all trusted packages: pyrovae's, those of a run, and those of :func:`trusting`."""
    return [*TRUSTED, *own, *_trusting.get()]


def sign(folder: Path, config: str) -> None:
    """Sign a configuration in a run's folder; without a place for the key, which is not an error, it stays unsigned."""
    key = _key(make=True)
    if key is not None:
        write_text(folder / SIGNATURE, _code(key, config))


def is_signed(folder: Path, config: str) -> bool:
    """Return whether a configuration was written by this user on this machine, and not changed since."""
    try:
        found = (folder / SIGNATURE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return False
    key = _key(make=False)
    return key is not None and hmac.compare_digest(found.encode(), _code(key, config).encode())


def _code(key: bytes, config: str) -> str:
    return hmac.new(key, config.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """Return this machine's key; None if there is none, or it can be neither read nor made."""
    try:
        path = state_folder() / "key"
        if make and not path.exists():
            write_once(path, secrets.token_bytes(32))
        key = path.read_bytes()
    except (OSError, RuntimeError):  # no home, or a home that cannot be written
        return None
    return key if len(key) == 32 else None


def check_size(config: Any) -> None:
    """Refuse a configuration of very many values, such as a few lines of YAML whose aliases multiply.

    Raises:
        ValueError: if there are more than 100,000 values.
    """
    pending, count = [config], 0
    while pending:
        value = pending.pop()
        pending.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES} values")


def check_links(folder: Path) -> None:
    """Refuse a run with links that lead out of its folder, where others would be written to, or with pipes.

    Raises:
        ValueError: if there is such a link, or what is neither a file nor a folder.
    """
    home = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(home)
            if leads_out or not (path.is_file() or path.is_dir()):
                raise checks.InputError(
                    f"{folder} was not made on this machine and must hold files and folders alone, "
                    f"without links that lead out of it, but {path.relative_to(folder)} is none"
                )
