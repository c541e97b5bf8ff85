"""The arguments of a command before they are parsed: the run that they name decides which options there are."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from pyrovae.parsing import Parser
from pyrovae.runs import Run

__all__ = ["names_in", "of_default_estimator", "of_own_data", "resumed"]

_DEFAULT_ESTIMATORS = {"evaluate": "Importance", "diagnose": "Annealed"}


def resumed(words: list[str]) -> Run | None:
    """Return the run that a command's words resume, if they do and there is one.

    Raises:
        ValueError: if its configuration cannot be read.

    Example:
        >>> resumed(["train", "--run", "runs/none-such", "--resume", "true"]) is None
        True
    """
    if words[:1] != ["train"]:
        return None
    told: dict[str, str | None] = {"run": "runs/vae", "resume": "false"}
    config = _value(words, "config")
    try:
        content = yaml.safe_load(Path(config).read_text(encoding="utf-8-sig")) if config else None
    except (OSError, ValueError, yaml.YAMLError):  # the parser says so
        content = None
    for name in told:
        given = _value(words, name)
        stored = content.get(name) if isinstance(content, dict) else None
        told[name] = given if given is not None else str(stored) if stored is not None else told[name]
    run = Run(told["run"] or "")
    if str(told["resume"]).lower() not in ("true", "yes", "on") or not run.exists:
        return None
    run.config()
    return run


def of_own_data(parser: Parser, words: list[str]) -> list[str]:
    """Put the run's own data set before options of a data set whose class is not given.

    Args:
        parser: of all commands.
        words: a command that takes a run and ``--data``, and its options.

    Raises:
        ValueError: if the options are bad, or the run's configuration cannot be read.
    """
    options = [word.partition("=")[0] for word in words]
    if "--data" in options or "--data.help" in options or not any(word.startswith("--data.") for word in options):
        return words
    others: list[str] = []
    skip = False
    for word, option in zip(words, options, strict=True):
        if skip:
            skip = False
        elif option.startswith("--data."):
            skip = option == word  # its value follows
        else:
            others.append(word)
    chosen = parser.parse_args(others, defaults=False)
    data = Run(chosen[words[0]].run).config().get("data")
    if data is None:
        return words
    return [words[0], "--data", data if isinstance(data, str) else json.dumps(data), *words[1:]]


def of_default_estimator(words: list[str]) -> list[str]:
    """Put the default estimator of a command before options of an estimator whose class is not given.

    Example:
        >>> of_default_estimator(["evaluate", "runs/a", "--method.num_samples=100"])
        ['evaluate', '--method', 'Importance', 'runs/a', '--method.num_samples=100']
    """
    options = [word.partition("=")[0] for word in words]
    default = _DEFAULT_ESTIMATORS.get(words[0]) if words else None
    if default is None or "--method" in options or not any(option.startswith("--method.") for option in options):
        return words
    return [words[0], "--method", default, *words[1:]]


def names_in(words: list[str]) -> set[str]:
    """Name the options that are given, those of components by the component, and those of a file too.

    Example:
        >>> sorted(names_in(["train", "--prior.num_components=3", "--run", "a"]))
        ['prior', 'run']
    """
    return {word[2:].partition("=")[0].partition(".")[0] for word in words if word.startswith("--")}


def _value(words: list[str], name: str) -> str | None:
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            found = following
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found
