"""The command line's entry: which command, with which options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from jsonargparse import Namespace

from pyrovae import checks, distributed, progress
from pyrovae.cli import words
from pyrovae.cli.commands import compare, data, diagnose, evaluate, explore, export, refit_prior, report, sample, train
from pyrovae.cli.exit_status import told
from pyrovae.parsing import Parser
from pyrovae.runs import complete, options_of_the_vae

__all__ = ["main"]

_WITH_OWN_DATA = ("evaluate", "diagnose", "refit_prior", "report", "explore")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, 1 if training diverged or another process ended, 2 for bad input.

    Under torchrun the processes work together, and one of them talks.

    Args:
        arguments: the words after ``pyrovae``; those of the process if not given.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments  # which keeps torchrun's options from ours
    try:
        with distributed.initialized():
            return told(partial(_dispatch, arguments), keeps=arguments[:1] == ["train"])
    except (checks.InputError, distributed.LostProcess) as error:  # before the processes have met
        print(f"pyrovae: error: {error}", file=sys.stderr)
        return 2


def _dispatch(arguments: list[str]) -> None:
    commands: dict[str, Callable[..., None]] = {
        "train": train,
        "evaluate": evaluate,
        "diagnose": diagnose,
        "compare": compare,
        "refit_prior": refit_prior,
        "sample": sample,
        "report": report,
        "explore": explore,
        "export": export,
        "data": data,
    }
    parser = _parser(commands)
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
        arguments = words.of_own_data(parser, arguments)
    chosen = parser.parse_args(arguments, defaults=False)
    command = chosen.subcommand
    if distributed.count() > 1 and command not in ("train", "evaluate"):
        raise checks.InputError(
            f"{command} must be run by one process, for only train and evaluate divide their work, "
            f"but there are {distributed.count()}"
        )
    given = chosen[command]
    quiet = bool(given.get("quiet"))
    left_out = {"config", "quiet", *options_of_the_vae(given, named)}
    for name in left_out:
        given.pop(name, None)
    completed, options = complete(commands[command], given, skip=set(left_out))
    text = completed.dump(Namespace({**vars(options), "resume": False}) if command == "train" else options)
    if prints:
        print(text, end="")
        return
    made = completed.instantiate(options).as_dict()
    with progress.quiet(quiet):
        commands[command](**made, **({"config": text} if command in ("train", "refit_prior") else {}))


def _parser(commands: dict[str, Callable[..., None]]) -> Parser:
    parser = Parser(
        prog="pyrovae",
        description="Variational autoencoders as Pyro programs, with marginal likelihoods that come with their error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyrovae {version('pyrovae')}")
    subcommands = parser.add_subcommands(metavar="COMMAND")
    for name, command in commands.items():
        summary, _, details = (command.__doc__ or "").partition("\n\n")
        subparser = Parser(description=f"{summary} {details.partition('Args:')[0].strip()}", allow_abbrev=False)
        subparser.add_function_arguments(command, as_positional=True, skip={"config"})
        for action in subparser._actions:
            if not action.option_strings and getattr(action, "_typehint", None) == list[str]:
                vars(action).update(nargs="+", _typehint=str, metavar="RUN")  # A B C, where it would be [A,B,C]
        subparser.add_argument("--quiet", action="store_true", help="show no progress")
        subparser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
        subcommands.add_subcommand(name, subparser, help=summary)
    return parser
