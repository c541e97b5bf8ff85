"""Search space of a sweep: a range or a list of choices for each option."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyrovae import checks

if TYPE_CHECKING:
    from optuna.trial import Trial

__all__ = ["SearchSpace"]

_KEYS = {"low", "high", "log", "step"}


class SearchSpace:
    """What is searched: for each option a range, ``{low: 1e-4, high: 1e-2, log: true}``, or a list of choices.

    A range of two integers is one of integers. With ``log``, the logarithm is uniform; ``step`` is the distance of the
    values. Choices are numbers, words, null, true, false, or classes with options, as in a configuration.

    Args:
        search: ranges and lists by the name of the option, as on the command line: ``latent_dim``, ``optimizer.lr``.

    Raises:
        ValueError: if a range or a list is none.

    Example:
        >>> space = SearchSpace({"optimizer.lr": {"low": "1e-4", "high": 0.01, "log": True}, "beta": [1, 4]})
        >>> list(space.options)
        ['optimizer.lr', 'beta']
        >>> SearchSpace({"beta": {"low": 4, "high": 1}})
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: search.beta must have a low below its high, but has 4 and 1
    """

    def __init__(self, search: Mapping[str, Any]) -> None:
        if not isinstance(search, Mapping) or not search:
            raise checks.InputError(
                "search must be options with their ranges or choices, such as {latent_dim: {low: 2, high: 40}}, but "
                f"{search!r} was given"
            )
        self.options = {str(name): _read(f"search.{name}", given) for name, given in search.items()}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the values of a trial, by name."""
        return {name: option.suggest(name, trial) for name, option in self.options.items()}

    def to_json(self) -> str:
        """Return the space as text; two spaces are the same if their texts are."""
        return json.dumps({name: vars(option) for name, option in self.options.items()}, sort_keys=True, default=str)


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    log: bool
    step: float | None

    def suggest(self, name: str, trial: Trial) -> float:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class _Choices:
    values: tuple[Any, ...]

    def suggest(self, name: str, trial: Trial) -> Any:
        texts = [json.dumps(value, sort_keys=True) for value in self.values]  # Optuna stores simple values only
        return self.values[texts.index(trial.suggest_categorical(name, texts))]


def _read(name: str, given: Any) -> _Range | _Choices:
    if isinstance(given, list | tuple):
        if len(given) < 2:
            raise checks.InputError(f"{name} must have two choices or more, but has {len(given)}")
        return _Choices(tuple(given))
    if not isinstance(given, Mapping) or not {"low", "high"} <= set(given) <= _KEYS:
        raise checks.InputError(
            f"{name} must be a list of choices, or a range with low and high, and log or step if wanted, but is "
            f"{given!r}"
        )
    low, high = (_number(f"{name}.{end}", given[end]) for end in ("low", "high"))
    step = None if given.get("step") is None else _number(f"{name}.step", given["step"])
    log = given.get("log", False)
    if not low < high:
        raise checks.InputError(f"{name} must have a low below its high, but has {low} and {high}")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise checks.InputError(
            f"{name}.log must be true or false, and true only if low is above 0 and there is no step, but is {log!r}"
        )
    whole = isinstance(low, int) and isinstance(high, int)
    if step is not None and (step <= 0 or (whole and not isinstance(step, int))):
        raise checks.InputError(f"{name}.step must be above 0, and whole if low and high are, but is {step}")
    return _Range(low, high, log, step)


def _number(name: str, value: Any) -> float:
    """Return a number; YAML reads 1e-4, which has no point, as a word."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise checks.InputError(f"{name} must be a number, but is {value!r}") from None
    checks.number(name, value, minimum=-float("inf"))
    found: float = value
    return found
