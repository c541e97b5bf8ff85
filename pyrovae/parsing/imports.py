"""Restriction of the packages from which classes that a configuration names may be imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from jsonargparse import _common, set_parsing_settings

from pyrovae.checks import InputError

__all__ = ["imports_from"]


@contextmanager
def imports_from(packages: Iterable[str] | None, refusal: Callable[[str], str] = str) -> Iterator[None]:
    """Import only from some packages while configurations are parsed, and classes made, in the ``with`` block.

    A path is checked before anything is imported, and again once it is, for ``torch.os.system`` is no part of torch.

    Args:
        packages: names of packages or modules; None for all but those of Python that run commands or code.
        refusal: makes the sentence of the error from the import path that was refused.

    Raises:
        ValueError: if a class of another package is named.

    Example:
        >>> from pyrovae.parsing import Parser
        >>> parser = Parser()
        >>> action = parser.add_argument("--layer", type=torch.nn.Module)
        >>> with imports_from(["torch"], "{} is not trusted".format):
        ...     parser.parse_args(["--layer", "someones_package.Layer"])
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: someones_package.Layer is not trusted
    """
    settings = _common.parsing_settings  # there is no public way to take an entry back
    before = settings["import_path_verdicts"]
    settings["import_path_verdicts"] = _BASE
    try:
        if packages is not None:
            set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(packages))
        yield
    except ValueError as error:
        refused = re.search(_REFUSED, str(error))
        path = "" if refused is None else refused[1] or refused[2]
        if packages is None or not path or _BASE.get(path.partition(".")[0]) is False:
            raise
        raise InputError(refusal(path)) from error
    finally:
        settings["import_path_verdicts"] = before


_REFUSED = r"but (\S+) was given, which may not be imported|Importing '([^']+)' is not allowed"

set_parsing_settings(import_path_denylist=[])  # as in jsonargparse 5; os.system is refused before it is imported
_BASE = dict(_common.parsing_settings["import_path_verdicts"])
