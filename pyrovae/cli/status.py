"""How a command ends: what it says of its errors, and its exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

import torch

from pyrovae import checks, processes
from pyrovae.objectives import NonFiniteLoss

__all__ = ["told"]


def told(command: Callable[[], None], *, keeps: bool = True) -> int:
    """Run a command; say in one sentence why it failed, if this process is the first to know; return the status.

    Args:
        command: what to do.
        keeps: whether epochs that are done are kept, and ``--resume true`` goes on from them.

    Returns:
        0, 1 if training diverged or another process ended, 2 for bad input, 130 if it was interrupted.
    """
    try:
        with _flushed_denormals(), _importable_here(), _silence():
            command()
    except NonFiniteLoss as error:
        status, text = 1, f"{error}; nothing was updated from it{', and the epochs done before are kept' * keeps}"
    except processes.LostProcess as error:
        status, text = 1, f"{error}; what was done before is kept, and train goes on from it with --resume true"
    except checks.InputError as error:
        status, text = 2, f"error: {error}"
    except OSError as error:
        where = error.filename2 or error.filename
        status, text = 2, f"error: {error if where is None else f'{where}: {error.strerror}'}"
    except KeyboardInterrupt:
        status, text = 130, f"interrupted{'; --resume true goes on from the last epoch' * keeps}"
    else:
        return 0
    if processes.fails_first():
        print(f"pyrovae: {text}", file=sys.stderr)
    return status


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)  # optimizer moments that decay into denormals slow every step by a third
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _silence() -> Iterator[None]:
    """Let the first of several processes alone print and warn."""
    with ExitStack() as stack:
        if processes.rank() > 0:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


@contextmanager
def _importable_here() -> Iterator[None]:
    """Find classes by import path in the current folder too, as ``python -m pyrovae`` does."""
    here = os.getcwd()
    missing = here not in sys.path and "" not in sys.path
    if missing:
        sys.path.append(here)
    try:
        yield
    finally:
        if missing:
            sys.path.remove(here)
