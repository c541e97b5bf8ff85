"""The part of a page that is generated, between two marks."""

from __future__ import annotations

from pathlib import Path

from pyrovae import checks
from pyrovae.files import write_text

__all__ = ["marked", "surroundings", "write"]


def marked(name: str, text: str) -> str:
    """Return a text between the marks of its name."""
    begin, end = _marks(name)
    return f"{begin}\n{text}\n{end}"


def surroundings(page: str, name: str) -> tuple[str, str]:
    """Return what a page has before and after the marks of a name.

    Raises:
        ValueError: if the page has not both of them.
    """
    begin, end = _marks(name)
    before, begun, rest = Path(page).read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise checks.InputError(f"page must have the lines {begin} and {end}, but {page} has not both")
    return before, after


def write(page: str, name: str, text: str) -> None:
    """Replace what stands between the marks of a name on a page."""
    before, after = surroundings(page, name)
    write_text(page, f"{before}{marked(name, text)}{after}")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begins -->", f"<!-- {name}: ends -->"
