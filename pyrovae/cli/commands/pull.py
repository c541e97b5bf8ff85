"""``pyrovae pull``."""

from __future__ import annotations

from pyrovae import sharing

__all__ = ["pull"]


def pull(source: str, out: str, revision: str | None = None, digest: str | None = None) -> None:
    """Fetch a run that was pushed, and check the hash of each file.

    Args:
        source: a folder, or hf:USER/NAME for a repository of the Hugging Face Hub.
        out: a new folder for the run.
        revision: branch, tag or commit of the repository; the main branch if not given.
        digest: the digest that push printed; any if not given.
    """
    pulled = sharing.pull(source, out, revision=revision, digest=digest)
    print(f"the run is in {pulled.run.folder}; every file has the hash that was pushed (digest {pulled.digest})")
    print(f"Next: its model card is {pulled.run.folder / 'README.md'}; or pyrovae sample {pulled.run.folder}")
