"""The files of a run that are shared, and their hashes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pyrovae import checks

__all__ = ["MANIFEST", "Manifest", "shared_files"]

MANIFEST = "manifest.json"
"""Name of the file with the hashes."""

_FORMAT = 1

_NAME = r"[\w][\w.+-]*"
_WITHOUT_DATA = re.compile(
    r"config\.yaml|data\.json|metrics\.csv|saved\.json|refitted\.json|README\.md"
    rf"|(checkpoint/)?weights\.safetensors|(evaluation|diagnosis)/{_NAME}\.json"
)
_WITH_DATA = re.compile(rf"data\.npz|report\.html|evaluation/{_NAME}\.nc|figures/{_NAME}\.png")


def shared_files(folder: Path, data: bool) -> list[str]:
    """Return the names of a run's files that are shared, sorted; what resumes a training, and the signature, are not.

    Args:
        folder: the run's folder.
        data: whether to share files that hold single data or pictures of them too.
    """
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if _WITHOUT_DATA.fullmatch(name) or (data and _WITH_DATA.fullmatch(name)))


@dataclass(frozen=True)
class Manifest:
    """The files of a shared run, with the SHA-256 of each.

    Attributes:
        hashes: hexadecimal hash by name of the file.
    """

    hashes: dict[str, str]

    @classmethod
    def of(cls, folder: Path, names: list[str]) -> Manifest:
        """Compute the hashes of files in a folder."""
        return cls({name: _hash(folder / name) for name in sorted(names)})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: if it is none, or names files that are no part of a run.
        """
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise ValueError(f"it has format {stored['format']!r}, and this pyrovae reads {_FORMAT}")
            hashes = {str(name): str(value) for name, value in stored["sha256"].items()}
        except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise checks.InputError(f"{MANIFEST} must list the files of a run: {checks.reason(error)}") from error
        for name in hashes:
            if not _WITHOUT_DATA.fullmatch(name) and not _WITH_DATA.fullmatch(name):
                raise checks.InputError(f"{MANIFEST} must name files of a run alone, but names {name!r}")
        if "config.yaml" not in hashes:
            raise checks.InputError(f"{MANIFEST} must name config.yaml, but does not")
        return cls(hashes)

    def text(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({"format": _FORMAT, "sha256": self.hashes}, indent=2, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which stands for all of its files."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def check(self, folder: Path) -> None:
        """Compare files with their hashes.

        Raises:
            ValueError: if one is missing, a link, or has another hash.
        """
        for name, expected in self.hashes.items():
            path = folder / name
            if not path.is_file() or any(part.is_symlink() for part in (path, path.parent)):
                raise checks.InputError(f"{name} is missing from the shared run")
            if _hash(path) != expected:
                raise checks.InputError(
                    f"{name} must be the file that was shared, but its hash is not that of {MANIFEST}"
                )


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
