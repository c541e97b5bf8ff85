"""A command with its options, from the words of the command line to the call of its function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import get_args, get_origin

from jsonargparse import Namespace

from pyrovae import checks, distributed, progress
from pyrovae.cli import commands, words
from pyrovae.cli.exit_status import run_command
from pyrovae.parsing import Parser
from pyrovae.runs import complete, options_replaced_by_program

__all__ = ["dispatch", "parser_of"]

_WITH_OWN_DATA = ("evaluate", "diagnose", "refit_prior", "report", "explore")


def dispatch(functions: dict[str, str], arguments: list[str]) -> int:
    """Run a command; return its exit status. Under torchrun the processes work together, and one of them talks.

    Args:
        functions: the commands, and the names of their functions.
        arguments: the command, and its options.
    """
    known: dict[str, Callable[..., None]] = {name: getattr(commands, function) for name, function in functions.items()}
    try:
        with distributed.initialized():
            return run_command(partial(_dispatch, known, arguments), keeps=arguments[:1] == ["train"])
    except (checks.InputError, distributed.LostProcess) as error:  # before the processes have met
        print(f"pyrovae: error: {error}", file=sys.stderr)
        return 2


def _dispatch(known: dict[str, Callable[..., None]], arguments: list[str]) -> None:
    parser = parser_of(known)
    prints = "--print_config" in arguments
    arguments = [word for word in arguments if word != "--print_config"]
    begun = words.resumed(arguments)
    named = words.names_in(arguments)
    if begun is not None:
        # What the run was begun with stands where the command line does not say otherwise.
        stored = ["train", "--config", str(begun.folder / "config.yaml")]
        try:
            parser.parse_args(stored, defaults=False)
        except checks.InputError as error:
            raise checks.InputError(f"{stored[-1]} cannot be used: {error}") from error
        arguments = [*stored, *arguments[1:]]
    elif arguments and arguments[0] in _WITH_OWN_DATA:
        arguments = words.of_default_estimator(words.of_own_data(parser, arguments))
    chosen = parser.parse_args(arguments, defaults=False)
    command = chosen.subcommand
    if distributed.count() > 1 and command not in ("train", "evaluate"):
        raise checks.InputError(
            f"{command} must be run by one process, for only train and evaluate divide their work, "
            f"but there are {distributed.count()}"
        )
    given = chosen[command]
    quiet = bool(given.get("quiet"))
    left_out = {"config", "quiet", *options_replaced_by_program(given, named)}
    for name in left_out:
        given.pop(name, None)
    completed, options = complete(known[command], given, skip=set(left_out))
    text = completed.dump(Namespace({**vars(options), "resume": False}) if command == "train" else options)
    if prints:
        print(text, end="")
        return
    made = completed.instantiate(options).as_dict()
    with progress.quiet(quiet):
        known[command](**made, **({"config": text} if command in ("train", "refit_prior") else {}))


def parser_of(known: dict[str, Callable[..., None]]) -> Parser:
    """Return the parser of the whole command line.

    Args:
        known: the commands' functions.
    """
    parser = Parser(prog="pyrovae", allow_abbrev=False)
    subcommands = parser.add_subcommands(metavar="COMMAND")
    for name, command in known.items():
        summary, _, details = (command.__doc__ or "").partition("\n\n")
        subparser = Parser(description=f"{summary} {details.partition('Args:')[0].strip()}", allow_abbrev=False)
        subparser.add_function_arguments(command, as_group=False, as_positional=True, skip={"config"})
        for action in subparser._actions:
            hint = getattr(action, "_typehint", None)
            if not action.option_strings and get_origin(hint) is list:  # A B C, where it would be [A,B,C]
                vars(action).update(
                    nargs="*", _typehint=get_args(hint)[0], metavar=action.dest.upper().removesuffix("S")
                )
        subparser.add_argument("--quiet", action="store_true", help="show no progress")
        subparser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
        subcommands.add_subcommand(name, subparser, help=summary)
        subparser.prog = f"pyrovae {name}"
    return parser
