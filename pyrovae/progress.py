"""Progress bars and notes on standard error, for work that takes long."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar", "note", "over", "quiet"]

T = TypeVar("T")

_DELAY = 0.5  # seconds before a bar is shown, so that short work shows none
_OFTEN = 10.0  # seconds between the lines of a log
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def bar(
    what: str, total: int | None, unit: str, *, initial: int = 0, hidden: bool = False, unit_scale: bool = False
) -> tqdm[Any]:
    """Make a progress bar: a line that is updated on a terminal, or a new line every ten seconds in a log.

    Args:
        what: description of the work.
        total: total number of units; None if unknown.
        unit: name of a unit, in the singular.
        initial: number of units already done.
        hidden: True to show nothing.
        unit_scale: True to shorten numbers, as in 12.3M.

    Returns:
        a context manager; ``update(n)`` adds n units, ``set_postfix_str`` sets a text after the bar.

    Example:
        >>> with quiet(), bar("reading", 3, "page") as pages:
        ...     for _ in range(3):
        ...         _ = pages.update()
    """
    # In a notebook without ipywidgets, tqdm.auto would print a warning before it draws a line of text.
    place = "tqdm" if importlib.util.find_spec("ipywidgets") is None else "tqdm.auto"
    kind = importlib.import_module(place).tqdm
    changes = sys.stderr.isatty() or "ipykernel" in sys.modules
    made: tqdm[Any] = kind(
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
    return made


def over(items: Sequence[T], what: str, unit: str) -> Iterator[T]:
    """Iterate over items with a progress bar.

    Args:
        items: the items.
        what: description of the work.
        unit: name of an item, in the singular.

    Example:
        >>> [2 * number for number in over([1, 2], "doubling", "number")]
        [2, 4]
    """
    with bar(what, len(items), unit) as shown:
        for item in items:
            yield item
            shown.update()


def note(text: str) -> None:
    """Print a line, above the bars that are shown, unless :func:`quiet`.

    Args:
        text: the line.

    Example:
        >>> with quiet():
        ...     note("now something else")
    """
    if not _quiet.get():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)


@contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Show no bars and no notes inside this context.

    Args:
        is_quiet: True to be quiet; False changes nothing.
    """
    before = _quiet.set(is_quiet or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(before)


class _Lines:
    """A stream that writes each state of a bar as a new line, for output that cannot be overwritten, such as a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(f"{text.strip()}\n")

    def flush(self) -> None:
        self._stream.flush()
