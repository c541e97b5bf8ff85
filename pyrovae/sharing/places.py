"""Places that runs are shared in: folders, and repositories of the Hugging Face Hub."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyrovae import checks
from pyrovae.files import path_of, write_error

__all__ = ["Folder", "Hub", "Place", "place_of"]

HUB = "hf:"
"""What the name of a repository of the hub begins with."""


class Place(ABC):
    """A place that files are written to and read from."""

    @abstractmethod
    def write(self, staged: Path) -> None:
        """Write all files of a folder to this place."""

    @abstractmethod
    def read(self, name: str, into: Path) -> None:
        """Copy one file into a folder."""


class Folder(Place):
    """A folder, such as one on a disk that several people mount.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, staged: Path) -> None:
        """Copy the files into the folder, which must be new or empty."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise checks.InputError(f"target must be a new or empty folder, or {HUB}USER/NAME, but {self.path} is not")
        try:
            shutil.copytree(staged, self.path, dirs_exist_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error

    def read(self, name: str, into: Path) -> None:
        """Copy one file, which must not be a link, from the folder."""
        path = self.path / name
        if not path.is_file() or any(part.is_symlink() for part in (path, path.parent) if part != self.path):
            raise checks.InputError(f"source must be a shared run, but there is no file {name} in {self.path}")
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / name)


class Hub(Place):
    """A repository of models on the Hugging Face Hub, or on the hub at the address ``HF_ENDPOINT``.

    The token is that of ``hf auth login`` or of ``HF_TOKEN``.

    Args:
        name: name of the repository, such as ``user/name``.
        revision: branch, tag or commit; the main branch if not given.
        private: whether a repository that is made is private.
    """

    def __init__(self, name: str, revision: str | None = None, private: bool = False) -> None:
        if name.count("/") != 1 or not all(name.split("/")):
            raise checks.InputError(f"a run on the hub must be {HUB}USER/NAME, but {HUB}{name} was given")
        self.name, self.revision, self.private = name, revision, private
        self._commit: str | None = None

    def write(self, staged: Path) -> None:
        """Write the files in one commit; the repository is made if there is none."""
        hub = _import_hub()
        with self._asking():
            api = hub.HfApi(_endpoint(), library_name="pyrovae")
            api.create_repo(self.name, private=self.private, exist_ok=True)
            api.upload_folder(
                repo_id=self.name, folder_path=staged, revision=self.revision, commit_message="A run of pyrovae"
            )

    def read(self, name: str, into: Path) -> None:
        """Download one file of the commit that the first file came from."""
        hub = _import_hub()
        with self._asking():
            if self._commit is None:
                self._commit = hub.HfApi(_endpoint()).model_info(self.name, revision=self.revision).sha
            hub.hf_hub_download(self.name, name, revision=self._commit, local_dir=into, endpoint=_endpoint())

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of several packages, and of the network
            raise checks.InputError(f"{HUB}{self.name} cannot be used: {checks.reason(error)}") from error


def _endpoint() -> str | None:
    """Return the address of another hub, which is read when it is used; None for that of Hugging Face."""
    return os.environ.get("HF_ENDPOINT")


def _import_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise checks.InputError(
            f"{HUB} needs a package that comes with pip install 'pyrovae[hub]', but {error.name} is missing"
        ) from error
    return huggingface_hub


def place_of(argument: str, value: str, revision: str | None = None, private: bool = False) -> Place:
    """Return the place that is named by a folder, or by ``hf:USER/NAME``.

    Args:
        argument: name of the argument, for messages.
        value: name of the place.
        revision: revision of a repository.
        private: whether a repository that is made is private.

    Raises:
        ValueError: if there is a revision of a folder, or the name is none.

    Example:
        >>> place_of("source", "hf:user/name").name
        'user/name'
    """
    if value.startswith(HUB):
        return Hub(value.removeprefix(HUB), revision, private)
    if revision is not None:
        raise checks.InputError(f"revision must be left out for a folder, but {revision} was given")
    return Folder(path_of(argument, value))
