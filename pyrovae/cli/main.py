"""The command line's entry: parsing, errors as one sentence, exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib.metadata import version

import torch
from jsonargparse import Namespace

from pyrovae import checks, processes
from pyrovae.cli.commands import compare, data, diagnose, evaluate, refit_prior, report, sample, train
from pyrovae.objectives import NonFiniteLoss
from pyrovae.parsing import Parser
from pyrovae.runs import Run, complete, options_of_the_vae

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, 1 if training diverged or another process ended, 2 for bad input.

    Under torchrun the processes work together, and one of them talks.

    Args:
        arguments: the words after ``pyrovae``; those of the process if not given.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments  # which keeps torchrun's options from ours
    try:
        with processes.started():
            return _told(arguments)
    except (checks.InputError, processes.LostProcess) as error:  # before the processes have met
        print(f"pyrovae: error: {error}", file=sys.stderr)
        return 2


def _told(arguments: list[str]) -> int:
    """Run a command; say in one sentence why it failed, if this process is the first to know; return the status."""
    try:
        with _flushed_denormals(), _importable_here(), _silence():
            _dispatch(arguments)
    except NonFiniteLoss as error:
        status, text = 1, f"{error}; nothing was updated from it, and the epochs done before are kept"
    except processes.LostProcess as error:
        status, text = 1, f"{error}; what was done before is kept, and train goes on from it with --resume true"
    except checks.InputError as error:
        status, text = 2, f"error: {error}"
    except OSError as error:
        where = error.filename2 or error.filename
        status, text = 2, f"error: {error if where is None else f'{where}: {error.strerror}'}"
    except KeyboardInterrupt:
        status, text = 130, "interrupted; --resume true goes on from the last epoch"
    else:
        return 0
    if processes.fails_first():
        print(f"pyrovae: {text}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> None:
    commands: dict[str, Callable[..., None]] = {
        "train": train,
        "evaluate": evaluate,
        "diagnose": diagnose,
        "compare": compare,
        "refit_prior": refit_prior,
        "sample": sample,
        "report": report,
        "data": data,
    }
    parser = _parser(commands)
    prints = "--print_config" in arguments
    arguments = [word for word in arguments if word != "--print_config"]
    chosen = parser.parse_args(arguments, defaults=False)
    command = chosen.subcommand
    if processes.count() > 1 and command not in ("train", "evaluate"):
        raise checks.InputError(
            f"{command} must be run by one process, for only train and evaluate divide their work, "
            f"but there are {processes.count()}"
        )
    given = chosen[command]
    resumed = Run(given.get("run", "runs/vae")) if command == "train" and given.get("resume") else None
    if resumed is not None and resumed.exists:
        # What the run was begun with stands where the command line does not say otherwise.
        rest = arguments[arguments.index("train") + 1 :]
        resumed.config()  # says what is wrong with the file, if it is no configuration at all
        stored = resumed.folder / "config.yaml"
        try:
            given = parser.parse_args(["train", "--config", str(stored), *rest], defaults=False)[command]
        except checks.InputError as error:  # the words given were accepted before
            raise checks.InputError(f"{stored} cannot be used: {error}") from error
    left_out = {"config", *options_of_the_vae(given, chosen[command])}
    for name in left_out:
        given.pop(name, None)
    completed, options = complete(commands[command], given, skip=set(left_out))
    text = completed.dump(Namespace({**vars(options), "resume": False}) if command == "train" else options)
    if prints:
        print(text, end="")
        return
    made = completed.instantiate(options).as_dict()
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
        subparser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
        subcommands.add_subcommand(name, subparser, help=summary)
    return parser


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)  # optimizer moments that decay into denormals slow every step by a third
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _silence() -> Iterator[None]:
    """Let the first of several processes alone print and warn."""
    with ExitStack() as stack:
        if processes.rank() > 0:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


@contextmanager
def _importable_here() -> Iterator[None]:
    """Find classes by import path in the current folder too, as ``python -m pyrovae`` does."""
    here = os.getcwd()
    missing = here not in sys.path and "" not in sys.path
    if missing:
        sys.path.append(here)
    try:
        yield
    finally:
        if missing:
            sys.path.remove(here)
