"""What a page leaves out where a program cannot do it, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyrovae import checks

__all__ = ["attempt"]


@contextmanager
def attempt(what: str, skipped: list[str]) -> Iterator[None]:
    """Go on without what a program of someone else's cannot do, and keep a sentence that says why.

    Args:
        what: is tried.
        skipped: gets the sentence.

    Example:
        >>> skipped = []
        >>> with attempt("samples", skipped):
        ...     raise InputError("model must observe x, but observes no site")
        >>> skipped
        ['No samples: model must observe x, but observes no site.']
    """
    try:
        yield
    except (checks.InputError, NotImplementedError, RuntimeError) as error:
        skipped.append(f"No {what}: {checks.reason(checks.find_input_error(error) or error)}.")
