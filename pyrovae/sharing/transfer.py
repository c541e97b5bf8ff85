"""``push`` and ``pull``: a run to a place that others can read, and back to a folder of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from pyrovae import checks
from pyrovae.files import check_writable, path_of
from pyrovae.report import model_card
from pyrovae.runs import Run
from pyrovae.sharing.manifest import MANIFEST, Manifest, shared_files
from pyrovae.sharing.places import place_of

__all__ = ["Pulled", "Pushed", "pull", "push"]


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes:
        files: names of the files, besides the manifest.
        digest: SHA-256 of the manifest, which stands for all files: :func:`pull` checks it.
        kept: names of the run's files with single data, which were not pushed.
    """

    files: list[str]
    digest: str
    kept: list[str]


@dataclass(frozen=True)
class Pulled:
    """What was pulled.

    Attributes:
        run: the run.
        digest: SHA-256 of its manifest.
    """

    run: Run
    digest: str


def push(folder: str | os.PathLike[str], target: str, *, data: bool = False, private: bool = False) -> Pushed:
    """Share a run: its configuration without its logger, weights, curves, evaluations, a model card, and hashes of all.

    Args:
        folder: the run's folder.
        target: a new folder; or ``hf:USER/NAME``, a repository of the Hugging Face Hub, which is made if needed.
        data: share what holds single data or pictures of them too: the arrays of a saved run, the netCDF files of
            evaluations, figures and the report.
        private: make a repository that others cannot see.

    Raises:
        ValueError: if the folder contains no trained run, or the target cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> data, vae = assemble(latent_dim=2)
        >>> with TemporaryDirectory() as folder:
        ...     run = save(f"{folder}/run", vae, data)
        ...     pushed = push(run.folder, f"{folder}/shared")
        ...     pulled = pull(f"{folder}/shared", f"{folder}/mine", digest=pushed.digest)
        ...     type(load(pulled.run.folder).program).__name__
        'VAE'
    """
    run, place = Run(folder), place_of("target", target, private=private)
    card = model_card(run.folder, target)
    with tempfile.TemporaryDirectory() as beside:
        staged = Path(beside)
        names = [name for name in shared_files(run.folder, data) if name != "README.md"]
        for name in names:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.folder / name, staged / name)
        config = yaml.safe_load((staged / "config.yaml").read_text(encoding="utf-8"))
        if config.get("logger") is not None:  # its options are its user's alone: they may hold a password
            shown = yaml.safe_dump({**config, "logger": None}, sort_keys=False)
            (staged / "config.yaml").write_text(shown, encoding="utf-8")
        (staged / "README.md").write_text(card, encoding="utf-8")
        manifest = Manifest.of(staged, [*names, "README.md"])
        (staged / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        place.write(staged)
    kept = [] if data else sorted(set(shared_files(run.folder, True)) - set(names) - {"README.md"})
    return Pushed(list(manifest.hashes), manifest.digest, kept)


def pull(
    source: str, folder: str | os.PathLike[str], *, revision: str | None = None, digest: str | None = None
) -> Pulled:
    """Fetch a shared run into a new folder; only files of a run are taken, and the hash of each is checked.

    It is loaded like every run that was made elsewhere: see :func:`pyrovae.load`. The hashes tell that what arrived is
    what was pushed. Who pushed it is told by the digest, if you have it from there.

    Args:
        source: a folder, or ``hf:USER/NAME``.
        folder: a new folder.
        revision: branch, tag or commit of a repository; the main branch if not given.
        digest: the digest that :func:`push` returned; any if not given.

    Raises:
        ValueError: if the folder is not new, the source is no shared run, or a file or the digest is another.
    """
    target, place = path_of("folder", folder), place_of("source", source, revision)
    if target.exists():
        raise checks.InputError(f"folder must be a new one, but {target} exists")
    check_writable(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
        fetched, made = Path(beside, "fetched"), Path(beside, "run")
        fetched.mkdir()
        place.read(MANIFEST, fetched)
        manifest = Manifest.read(fetched / MANIFEST)
        if digest is not None and digest != manifest.digest:
            raise checks.InputError(f"{source} must have the digest {digest}, but has {manifest.digest}")
        for name in manifest.hashes:
            place.read(name, fetched)
        manifest.check(fetched)
        for name in manifest.hashes:  # and nothing else that the place has left there
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(fetched / name, made / name)
        Run(made).config()  # raises an error if it is none
        os.replace(made, target)
    return Pulled(Run(target), manifest.digest)
