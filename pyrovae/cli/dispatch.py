"""Dispatch of a command: its options parsed, its function called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import get_args, get_origin

import yaml
from jsonargparse import Namespace

from pyrovae import checks, distributed, progress
from pyrovae.cli import commands, raw_arguments
from pyrovae.cli.exit_status import run_command
from pyrovae.parsing import SHELLS, Parser, completion_script
from pyrovae.runs import fill_defaults, options_replaced_by_program, trusting

__all__ = ["call", "completion", "dispatch", "parser_of"]

_MAY_BE_EMPTY = {"kinds"}  # positional lists that stand for all if nothing is given

_DIVIDED = (
    "train",
    "evaluate",
    "score",
    "encode",
    "impute",
    "compress",
    "decompress",
)  # commands whose work several processes divide

_COMMANDS_ON_A_RUN = (
    "evaluate",
    "diagnose",
    "compare",
    "score",
    "encode",
    "impute",
    "compress",
    "refit_prior",
    "report",
    "explore",
)


def dispatch(functions: dict[str, str], arguments: list[str]) -> int:
    """Run a command and return its exit status; under torchrun, only one of the processes prints.

    Args:
        functions: names of the functions by command.
        arguments: the command and its options.
    """
    command = arguments[0]
    function: Callable[..., None] = getattr(commands, functions[command])
    try:
        with distributed.initialized():
            return run_command(partial(call, command, function, arguments), resumable=command == "train")
    except (checks.InputError, distributed.LostProcess) as error:  # before the process group exists
        print(f"pyrovae: error: {error}", file=sys.stderr)
        return 2


def completion(functions: dict[str, str], shell: str) -> str:
    """Return the script with which a shell completes the command line.

    Args:
        functions: names of the functions by command.
        shell: the shell.
    """
    return completion_script(
        parser_of(_callables(functions)), shell, {"--version": "", "--completion": " ".join(SHELLS)}
    )


def _callables(functions: dict[str, str]) -> dict[str, Callable[..., None]]:
    return {name: getattr(commands, attribute) for name, attribute in functions.items()}


def call(command: str, function: Callable[..., None], arguments: list[str]) -> None:
    """Parse the options of a command, and call its function.

    Args:
        command: name of the command.
        function: its function.
        arguments: the command and its options.

    Raises:
        ValueError: if an option is bad.
    """
    parser = parser_of({command: function})
    prints = "--print_config" in arguments
    arguments = [word for word in arguments if word != "--print_config"]
    given_names = raw_arguments.option_names(arguments)
    with trusting(_trusted(arguments)), ExitStack() as guards:
        arguments = _with_configuration(parser, command, arguments, guards)
        chosen = parser.parse_args(arguments, defaults=False)
        _run_function(parser, command, function, chosen, given_names, prints)


def _trusted(arguments: list[str]) -> list[str]:
    return [name for name in (raw_arguments.option_value(arguments, "trust") or "").split(",") if name]


def _with_configuration(parser: Parser, command: str, arguments: list[str], guards: ExitStack) -> list[str]:
    """Insert what is taken from a run's configuration, and guard the imports if that run was not made here."""
    configured = raw_arguments.configured_run(arguments)
    if configured is not None:
        guards.enter_context(configured.guarded())
    resumed = raw_arguments.resumed_run(arguments)
    if resumed is not None:
        guards.enter_context(resumed.guarded())
        # The stored configuration is the default; options on the command line override it.
        config = {**resumed.config(), "run": str(resumed.folder)}  # it may have been moved
        if not resumed.is_own:
            config["logger"] = None  # one of somebody else could write anywhere
        stored = ["train", "--config", yaml.safe_dump(config)]
        try:
            parser.parse_args(stored, defaults=False)
        except checks.InputError as error:
            sentence = str(error).replace("--config.", "--")  # the options of a configuration that is given as text
            raise checks.InputError(f"{resumed.folder / 'config.yaml'} cannot be used: {sentence}") from error
        return [*stored, *arguments[1:]]
    if command in _COMMANDS_ON_A_RUN:
        arguments, run = raw_arguments.insert_run_data(parser, raw_arguments.insert_default_estimator(arguments))
        if run is not None:
            guards.enter_context(run.guarded())
    return arguments


def _run_function(
    parser: Parser,
    command: str,
    function: Callable[..., None],
    chosen: Namespace,
    given_names: set[str],
    prints: bool,
) -> None:
    if distributed.count() > 1 and command not in _DIVIDED:
        raise checks.InputError(
            f"{command} must be run by one process, for only {', '.join(_DIVIDED)} divide their work, "
            f"but there are {distributed.count()}"
        )
    given = chosen[command]
    quiet = bool(given.get("quiet"))
    skipped = {"config", "quiet", "trust", *options_replaced_by_program(given, given_names)}
    for name in skipped:
        given.pop(name, None)
    keeps = command in ("train", "refit_prior")  # all options, those that were not given too
    if keeps or prints:
        completed, options = fill_defaults(function, given, skip=set(skipped))
        text = completed.dump(Namespace({**vars(options), "resume": False}) if command == "train" else options)
    if prints:
        print(text, end="")
        return
    made = (completed.instantiate(options) if keeps else parser.instantiate(chosen)[command]).as_dict()
    with progress.quiet(quiet):
        function(**made, **({"config": text} if keeps else {}))


def parser_of(functions: dict[str, Callable[..., None]]) -> Parser:
    """Return the parser of some commands, or of all.

    Args:
        functions: their functions by command.
    """
    parser = Parser(prog="pyrovae", allow_abbrev=False)
    subcommands = parser.add_subcommands(metavar="COMMAND")
    for name, command in functions.items():
        summary, _, details = (command.__doc__ or "").partition("\n\n")
        subparser = Parser(description=f"{summary} {details.partition('Args:')[0].strip()}", allow_abbrev=False)
        subparser.add_function_arguments(command, as_group=False, as_positional=True, skip={"config"})
        for action in subparser._actions:
            hint = getattr(action, "_typehint", None)
            if not action.option_strings and get_origin(hint) is list:  # A B C, where it would be [A,B,C]
                nargs = "*" if action.dest in _MAY_BE_EMPTY else "+"
                metavar = action.dest.upper().removesuffix("S")
                vars(action).update(nargs=nargs, _typehint=get_args(hint)[0], metavar=metavar)
        subparser.add_argument("--quiet", action="store_true", help="show no progress")
        subparser.add_argument(
            "--trust", metavar="PACKAGES", help="packages whose classes a run made elsewhere may name, as in a,b"
        )
        subparser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
        subcommands.add_subcommand(name, subparser, help=summary)
        subparser.prog = f"pyrovae {name}"
    return parser
