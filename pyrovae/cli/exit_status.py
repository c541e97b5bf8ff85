"""How a command ends: what it says of its errors, and its exit status."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress

import torch

from pyrovae import checks, distributed
from pyrovae.objectives import NonFiniteLoss

__all__ = ["run_command"]


def run_command(command: Callable[[], None], *, keeps: bool = True) -> int:
    """Run a command; say in one sentence why it failed, if this process is the first to know; return the status.

    Args:
        command: what to do.
        keeps: whether epochs that are done are kept, and ``--resume true`` goes on from them.

    Returns:
        0, 1 if training diverged or another process ended, 2 for bad input, 130 if it was interrupted.
    """
    try:
        with _sayable(), _flushed_denormals(), _importable_here(), _silence():
            command()
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be sentences is sentences now
    except NonFiniteLoss as error:
        status, text = 1, f"{error}; nothing was updated from it{', and the epochs done before are kept' * keeps}"
    except distributed.LostProcess as error:
        status, text = 1, f"{error}; what was done before is kept, and train goes on from it with --resume true"
    except checks.InputError as error:
        status, text = 2, f"error: {error}"
    except OSError as error:
        where = error.filename2 or error.filename or ("standard output" if _is_deaf() else None)
        why = error.strerror or checks.reason(error)
        status, text = 2, f"error: {'a file cannot be read or written' if where is None else where}: {why}"
    except KeyboardInterrupt:
        status, text = 130, f"interrupted{'; --resume true goes on from the last epoch' * keeps}"
    else:
        return 0
    if distributed.is_first_failure():
        with suppress(OSError):  # the status says it, if nothing else can
            print(f"pyrovae: {text}", file=sys.stderr)
    return status


def _is_deaf() -> bool:
    """Tell whether standard output takes nothing more, as a full disk or a closed pipe; if so, nothing more is told."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # else Python fails at its end
        return True
    return False


@contextmanager
def _sayable() -> Iterator[None]:
    """Let standard output, whatever its encoding, say everything: in plain letters what it has no others for."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="pyrovae plain")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stream.reconfigure(errors=before)


_PLAIN = {"\u0302": "-hat", "−": "-", "±": "+/-", "‖": "||", "β": "beta", "×": "x"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    sentences = "".join(_PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return sentences, error.end


codecs.register_error("pyrovae plain", _plain)


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
        if distributed.rank() > 0:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
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
