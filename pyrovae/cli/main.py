"""Entry point of the command line, with ``--help`` and ``--version`` that do not import PyTorch."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import version
from pathlib import Path

from pyrovae import parsing
from pyrovae.parsing import SHELLS, Parser

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train",
    "evaluate": "evaluate",
    "diagnose": "diagnose",
    "compare": "compare",
    "score": "score",
    "encode": "encode",
    "impute": "impute",
    "compress": "compress",
    "decompress": "decompress",
    "refit_prior": "refit_prior",
    "sample": "sample",
    "report": "report",
    "sweep": "sweep",
    "explore": "explore",
    "export": "export",
    "push": "push",
    "pull": "pull",
    "data": "data",
    "list": "list_classes",
}
"""Names of the functions in :mod:`pyrovae.cli.commands` by command."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, 1 if training diverged or another process ended, 2 for bad input.

    Args:
        arguments: command-line arguments after ``pyrovae``; those of the process if not given.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments  # separates torchrun's options from ours
    if arguments and arguments[0] in COMMANDS:
        from pyrovae.cli.dispatch import dispatch  # imported here because PyTorch takes seconds to import

        return dispatch(COMMANDS, arguments)
    if arguments and arguments[0] in ("-h", "--help", "--version"):
        _overview().parse_args(arguments[:1])  # which exits
    if arguments and arguments[0] == "--completion":
        return _completion(arguments[1] if len(arguments) > 1 else "nothing")
    given = arguments[0] if arguments else "none"
    meant = parsing.nearest(given, COMMANDS)
    suggestion = f" (did you mean {meant}?)" if meant else ""
    print(
        f"pyrovae: error: COMMAND must be one of {', '.join(COMMANDS)}, but {given} was given{suggestion}",
        file=sys.stderr,
    )
    return 2


def _completion(shell: str) -> int:
    """Print the script with which a shell completes words; return the exit status."""
    if shell not in SHELLS:
        accepted = " or ".join(SHELLS)
        print(f"pyrovae: error: --completion must be {accepted}, but {shell} was given", file=sys.stderr)
        return 2
    from pyrovae.cli.dispatch import completion

    print(completion(COMMANDS, shell), end="")
    return 0


def _overview() -> Parser:
    """Return a parser of the commands without their options."""
    parser = Parser(
        prog="pyrovae",
        description="Variational autoencoders as Pyro programs, with marginal likelihoods that come with their error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyrovae {version('pyrovae')}")
    shells = "|".join(SHELLS)
    parser.add_argument("--completion", metavar=shells, help="print a script with which the shell completes words")
    subcommands = parser.add_subcommands(metavar="COMMAND")
    summaries = _summaries()
    for name, function in COMMANDS.items():
        subcommands.add_subcommand(name, Parser(), help=summaries[function])
    return parser


def _summaries() -> dict[str, str]:
    """Read the first line of each command's docstring from the source, because importing it would import PyTorch."""
    sources = (path.read_text(encoding="utf-8") for path in Path(__file__).with_name("commands").glob("*.py"))
    functions = (node for source in sources for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return {function.name: (ast.get_docstring(function) or "").partition("\n\n")[0] for function in functions}
