"""Arguments of a command before parsing: defaults that depend on the run or the command are inserted."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from pyrovae.parsing import Parser
from pyrovae.runs import Run

__all__ = [
    "configured_run",
    "insert_default_estimator",
    "insert_run_data",
    "option_names",
    "option_value",
    "resumed_run",
]

_DEFAULT_ESTIMATORS = {"evaluate": "Importance", "score": "Importance", "impute": "Importance", "diagnose": "Annealed"}


def resumed_run(arguments: list[str]) -> Run | None:
    """Return the run that the arguments resume, or None.

    Args:
        arguments: a command and its options.

    Raises:
        ValueError: if the run's configuration cannot be read.

    Example:
        >>> resumed_run(["train", "--run", "runs/none-such", "--resume", "true"]) is None
        True
    """
    if arguments[:1] != ["train"]:
        return None
    options_of_run: dict[str, str | None] = {"run": "runs/vae", "resume": "false"}
    config = option_value(arguments, "config")
    try:
        content = yaml.safe_load(Path(config).read_text(encoding="utf-8-sig")) if config else None
    except (OSError, RecursionError, ValueError, yaml.YAMLError):  # reported by the parser
        content = None
    for name in options_of_run:
        given = option_value(arguments, name)
        stored = content.get(name) if isinstance(content, dict) else None
        if given is not None or stored is not None:
            options_of_run[name] = str(stored) if given is None else given
    run = Run(options_of_run["run"] or "")
    if str(options_of_run["resume"]).lower() not in ("true", "yes", "on") or not run.exists:
        return None
    run.config()
    return run


def configured_run(arguments: list[str]) -> Run | None:
    """Return the run whose ``config.yaml`` is given by ``--config``, or None.

    Args:
        arguments: a command and its options.

    Example:
        >>> configured_run(["train", "--config", "settings.yaml"]) is None
        True
    """
    config = Path(option_value(arguments, "config") or "")
    is_run = config.name == "config.yaml" and (config.parent / "data.json").exists()
    return Run(config.parent) if is_run else None


def insert_run_data(parser: Parser, arguments: list[str]) -> tuple[list[str], Run | None]:
    """Insert the class of the run's data set if there are options of a data set without its class.

    Args:
        parser: parser of all commands.
        arguments: a command that takes a run and ``--data``, and its options.

    Returns:
        the arguments, and the run, or None where nothing is inserted.

    Raises:
        ValueError: if the options are invalid, or the run's configuration cannot be read.
    """
    options = [word.partition("=")[0] for word in arguments]
    if "--data" in options or "--data.help" in options or not any(word.startswith("--data.") for word in options):
        return arguments, None
    others: list[str] = []
    skip = False
    for word, option in zip(arguments, options, strict=True):
        if skip:
            skip = False
        elif option.startswith("--data."):
            skip = option == word  # the next argument is its value
        else:
            others.append(word)
    chosen = parser.parse_args(others, defaults=False)
    options_of_command = chosen[arguments[0]]
    run = Run(options_of_command.runs[0] if "runs" in options_of_command else options_of_command.run)
    data = run.config().get("data")
    if data is None:
        return arguments, None
    return [arguments[0], "--data", data if isinstance(data, str) else json.dumps(data), *arguments[1:]], run


def insert_default_estimator(arguments: list[str]) -> list[str]:
    """Insert the default estimator of a command if there are options of an estimator without its class.

    Args:
        arguments: a command and its options.

    Example:
        >>> insert_default_estimator(["evaluate", "runs/a", "--method.num_samples=100"])
        ['evaluate', '--method', 'Importance', 'runs/a', '--method.num_samples=100']
    """
    options = [word.partition("=")[0] for word in arguments]
    default = _DEFAULT_ESTIMATORS.get(arguments[0]) if arguments else None
    if default is None or "--method" in options or not any(option.startswith("--method.") for option in options):
        return arguments
    return [arguments[0], "--method", default, *arguments[1:]]


def option_names(arguments: list[str]) -> set[str]:
    """Return the names of the given options; those of components are counted as the component.

    Args:
        arguments: a command and its options.

    Example:
        >>> sorted(option_names(["train", "--prior.num_components=3", "--run", "a"]))
        ['prior', 'run']
    """
    return {word[2:].partition("=")[0].partition(".")[0] for word in arguments if word.startswith("--")}


def option_value(arguments: list[str], name: str) -> str | None:
    """Return the last value of an option, or None.

    Args:
        arguments: a command and its options.
        name: name of the option.

    Example:
        >>> option_value(["train", "--run", "a", "--run=b"], "run")
        'b'
    """
    found = None
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == f"--{name}":
            found = following
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found
