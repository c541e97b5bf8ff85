"""Parts of the page that a program cannot provide: they are skipped, with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyrovae import checks

__all__ = ["attempt"]


@contextmanager
def attempt(what: str, skipped: list[str]) -> Iterator[None]:
    """Try to compute a part of the page; if the program raises an error, skip it and keep a sentence.

    Args:
        what: name of the part.
        skipped: list to which the sentence is appended.

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
