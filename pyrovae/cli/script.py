"""Command line of a function: parameters become options, and errors are one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pyrovae import checks, progress
from pyrovae.parsing import Parser

__all__ = ["script"]


def script(main: Callable[..., None], arguments: list[str] | None = None) -> int:
    """Run a function with options from the command line; return the exit status, as :func:`main` does.

    Classes are chosen by name or import path and have their own options, as in ``pyrovae train``; ``--config`` reads a
    YAML file, and ``--help`` prints the docstring.

    Args:
        main: function whose parameters have types and defaults; its docstring is the help.
        arguments: command-line arguments after the program's name; those of the process if not given.

    Example:
        >>> def main(name: str = "world") -> None:
        ...     print(f"hello {name}")
        >>> script(main, ["--name", "VAE"])
        hello VAE
        0
    """
    from pyrovae.cli.exit_status import run_command  # imported here because PyTorch takes seconds to import
    from pyrovae.runs import fill_defaults

    try:
        summary, _, details = (main.__doc__ or "").partition("\n\n")
        parser = Parser(description=f"{summary} {details.partition('Args:')[0].strip()}", allow_abbrev=False)
        parser.add_function_arguments(main)
        parser.add_argument("--quiet", action="store_true", help="show no progress")
        parser.add_argument("--config", action="config", help="a YAML file of options")
        given = parser.parse_args(sys.argv[1:] if arguments is None else arguments, defaults=False)
        quiet = bool(given.pop("quiet", False))
        given.pop("config", None)
        completed, options = fill_defaults(main, given)
        made = completed.instantiate(options).as_dict()
    except checks.InputError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2

    def command() -> None:
        with progress.quiet(quiet):
            main(**made)

    return run_command(command, resumable=False)
