"""Exit status and error messages of commands."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress

import numpy as np
import torch

from pyrovae import checks, distributed
from pyrovae.objectives import NonFiniteLoss

__all__ = ["run_command"]


def run_command(command: Callable[[], None], *, resumable: bool = True) -> int:
    """Run a command; print one sentence if it fails, in the first process that fails; return the exit status.

    Args:
        command: function to run.
        resumable: True if finished epochs are kept, so that ``--resume true`` continues from them.

    Returns:
        0, 1 if training diverged or another process ended, 2 for bad input, 130 if interrupted.
    """
    try:
        with _encodable_output(), _flushed_denormals(), _current_folder_importable(), _rank_zero_output():
            command()
            if sys.stdout is not None:
                sys.stdout.flush()  # errors of the output are raised here
    except NonFiniteLoss as error:
        status, text = 1, f"{error}; nothing was updated from it{', and the epochs done before are kept' * resumable}"
    except distributed.LostProcess as error:
        status, text = 1, f"{error}; what was done before is kept, and train goes on from it with --resume true"
    except checks.InputError as error:
        status, text = 2, f"error: {error}"
    except OSError as error:
        where = error.filename2 or error.filename or ("standard output" if _output_is_closed() else None)
        why = error.strerror or checks.reason(error)
        status, text = 2, f"error: {'a file cannot be read or written' if where is None else where}: {why}"
    except KeyboardInterrupt:
        status, text = 130, f"interrupted{'; --resume true goes on from the last epoch' * resumable}"
    else:
        return 0
    if distributed.is_first_failure():
        with suppress(OSError):  # the exit status remains
            print(f"pyrovae: {text}", file=sys.stderr)
    return status


def _output_is_closed() -> bool:
    """Return whether writing to standard output fails, as on a full disk or closed pipe; if so, discard its buffer."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # otherwise Python fails at exit
        return True
    return False


@contextmanager
def _encodable_output() -> Iterator[None]:
    """Replace characters that the encoding of standard output lacks by ASCII."""
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


_ASCII = {"\u0302": "-hat", "−": "-", "±": "+/-", "‖": "||", "β": "beta", "×": "x"}


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    replaced = "".join(_ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return replaced, error.end


codecs.register_error("pyrovae plain", _to_ascii)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # computed once, and without denormal numbers NumPy 1 warns of them
    torch.set_flush_denormal(True)  # denormal optimizer moments slow each step by a third
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _rank_zero_output() -> Iterator[None]:
    """Suppress output and warnings except in the first of several processes."""
    with ExitStack() as stack:
        if distributed.rank() > 0:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Import classes from the current folder too, as ``python -m pyrovae`` does."""
    here = os.getcwd()
    missing = here not in sys.path and "" not in sys.path
    if missing:
        sys.path.append(here)
    try:
        yield
    finally:
        if missing:
            sys.path.remove(here)
