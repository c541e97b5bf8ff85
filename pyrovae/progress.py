"""What takes long says what it is at and how long it will take, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar", "note", "over", "quiet"]

T = TypeVar("T")

_DELAY = 0.5  # seconds before which nothing is shown: most things are done by then
_OFTEN = 10.0  # seconds between the lines of a log
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def bar(
    what: str, total: int | None, unit: str, *, initial: int = 0, hidden: bool = False, unit_scale: bool = False
) -> tqdm[Any]:
    """Make a progress bar: one line that changes on a terminal, a line every ten seconds in a log.

    Args:
        what: is being done.
        total: units in all, or None if that is unknown.
        unit: its name, in the singular.
        initial: units that were done before.
        hidden: show nothing.
        unit_scale: whether numbers are shortened, as in 12.3M.

    Returns:
        a context manager; ``update(n)`` tells that n more units are done, ``set_postfix_str`` what was reached.

    Example:
        >>> with quiet(), bar("reading", 3, "page") as pages:
        ...     for _ in range(3):
        ...         _ = pages.update()
    """
    from tqdm.auto import tqdm

    changes = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        initial=initial,
        unit_scale=unit_scale,
        disable=hidden or _quiet.get(),
        delay=_DELAY,
        mininterval=0.1 if changes else _OFTEN,
        maxinterval=_OFTEN,
        file=None if changes else _Lines(sys.stderr),
    )


def over(items: Sequence[T], what: str, unit: str) -> Iterator[T]:
    """Go through items, and show how far.

    Args:
        items: of a known number.
        what: is done with them.
        unit: what one is, in the singular.

    Example:
        >>> [2 * number for number in over([1, 2], "doubling", "number")]
        [2, 4]
    """
    with bar(what, len(items), unit) as shown:
        for item in items:
            yield item
            shown.update()


def note(text: str) -> None:
    """Say what comes next, in a line of its own, unless it is to be quiet.

    Args:
        text: the line.

    Example:
        >>> with quiet():
        ...     note("now something else")
    """
    if not _quiet.get():
        print(text, file=sys.stderr)


@contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Show no bars and no notes.

    Args:
        is_quiet: whether to.
    """
    before = _quiet.set(is_quiet or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(before)


class _Lines:
    """Write each state of a bar as a line of its own, where it cannot be written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(f"{text.strip()}\n")

    def flush(self) -> None:
        self._stream.flush()
