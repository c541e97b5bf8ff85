"""``pyrovae push``."""

from __future__ import annotations

from pyrovae import sharing

__all__ = ["push"]


def push(run: str, target: str, data: bool = False, private: bool = False) -> None:
    """Share a run in a folder or on the Hugging Face Hub, with a model card and a hash of each file.

    Args:
        run: the run's folder.
        target: a new folder, or hf:USER/NAME for a repository of the hub, which is made if needed.
        data: also share what holds single data or pictures of them: arrays of a saved run, netCDF files, figures, page.
        private: make a repository that others cannot see.
    """
    pushed = sharing.push(run, target, data=data, private=private)
    print(f"{len(pushed.files)} files pushed to {target}: {', '.join(pushed.files)}")
    if pushed.kept:
        print(f"  not pushed, for they hold single data: {', '.join(pushed.kept)} (--data true pushes them too)")
    print(f"digest {pushed.digest}; others fetch it by: pyrovae pull {target} FOLDER --digest {pushed.digest}")
