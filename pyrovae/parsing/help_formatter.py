"""Short help: options that take a class list the names of the classes."""

from __future__ import annotations

import re
import typing
from argparse import Action
from collections.abc import Iterable
from typing import Any

from jsonargparse import DefaultHelpFormatter

from pyrovae.parsing.classes import class_names, default_name, takes_class

__all__ = ["HelpFormatter", "plain"]


class HelpFormatter(DefaultHelpFormatter):
    """A formatter of jsonargparse's help with short usage, and names of classes only.

    The options ``--X.help CLASS``, one for each option that takes a class, are explained once, at the end.
    """

    _first_helped: str | None = None

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        """Add a usage line with positional arguments only; the options are in their own list."""
        actions = list(actions)
        if usage is None:
            places = [self._format_args(action, action.dest.upper()) for action in actions if not action.option_strings]
            usage = " ".join(["%(prog)s", "[options]", *places])
        super().add_usage(usage, actions, *args, **kwargs)

    def start_section(self, heading: str | None) -> None:
        """Start a section; its heading can be the first line of a docstring."""
        super().start_section(None if heading is None else plain(heading))

    def add_argument(self, action: Action) -> None:
        """Add an option, except those that show the help of a class."""
        if not action.dest.endswith(".help"):
            super().add_argument(action)
        elif self._first_helped is None:
            self._first_helped = action.dest

    def format_help(self) -> str:
        """Return the help, with a note at the end on the options of classes."""
        if self._first_helped is not None:
            self.add_text(
                f"Every option that takes a CLASS has help of its own: --{self._first_helped} CLASS lists its options."
            )
            self._first_helped = None
        return super().format_help()

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        return "CLASS" if takes_class(_type(action)) else super()._get_default_metavar_for_optional(action)

    def _get_help_string(self, action: Action) -> str:
        if not takes_class(_type(action)):
            text: str = super()._get_help_string(action)
            classes = (
                action.extra_help() if hasattr(action, "extra_help") else ""
            )  # classes of tensors, where numbers suffice
            return text.removesuffix(f"{classes})") + ")" if classes else text
        names = class_names(_type(action))
        parts = [
            action.help or "",
            f"One of {', '.join(names)}" if names else "",
            f"(default: {default_name(action.default) or 'null'})",
        ]
        return " ".join(part for part in parts if part)

    def _expand_help(self, action: Action) -> str:
        return plain(super()._expand_help(action))

    def _get_type_str(self, action: Action) -> str | None:
        """Return the type, except where the list of choices shows it."""
        hint = _type(action)
        if takes_class(hint) or hint is bool or typing.get_origin(hint) is typing.Literal:
            return None
        found: str | None = super()._get_type_str(action)
        return found


def plain(text: str) -> str:
    r"""Return the text of a docstring without markup, and formulas without TeX commands.

    Example:
        >>> plain(r"Takes ``x``, as :class:`~pyrovae.priors.Prior` does with :math:`\mathcal{N}(z; \mu, 1)`.")
        'Takes x, as Prior does with N(z; mu, 1).'
    """
    text = re.sub(r":(?:class|func|meth|attr|mod|data|obj):`~?(?:\w+\.)*(\w+)`", r"\1", text)
    text = re.sub(r":math:`(.*?)`", lambda found: _formula(found[1]), text)
    return text.replace("`", "")


def _formula(tex: str) -> str:
    for pattern, words in _TEX:
        tex = re.sub(pattern, words, tex)
    return " ".join(tex.split())


_TEX = [
    (r"\\(?:mathcal|mathrm)\{(.*?)\}", r"\1"),
    (r"\\frac\{(.*?)\}\{(.*?)\}", r"(\1)/(\2)"),
    (r"\\frac(\w)(\w)", r"\1/\2"),
    (r"\\[,;:!]", " "),
    (r"\\top", "T"),
    (r"\\odot", "*"),
    (r"\\([a-zA-Z]+|\|)", r"\1"),
    (r"_\{(\w+)\}", r"_\1"),
    (r"([_^])\{(.*?)\}", r"\1(\2)"),
    (r"[{}]", ""),
]


def _type(action: Action) -> Any:
    return getattr(action, "_typehint", None)
