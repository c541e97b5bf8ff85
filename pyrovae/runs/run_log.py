"""Log of a run in a tracker: begun by its training, continued by its evaluations and its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pyrovae import checks, progress
from pyrovae.construction import import_path
from pyrovae.figures import training_curves
from pyrovae.files import write_text
from pyrovae.parsing import Parser
from pyrovae.runs.folder import Run
from pyrovae.tracking import Logger, LoggerFactory
from pyrovae.training import History

__all__ = ["TrainingLog", "log_evaluation", "log_to_tracker"]

_FORMAT = 1


class TrainingLog:
    """The log of a training; without a logger, its methods do nothing.

    Args:
        logger: makes the logger, or None.

    Raises:
        ValueError: if it cannot be made, as where its package is not installed.
    """

    def __init__(self, logger: LoggerFactory | None) -> None:
        self._logger = None if logger is None else checks.make("logger", logger, Logger, like="CSV")

    def start(self, run: Run, config: str) -> None:
        """Begin the log, or go on with that of the same training; ``config`` is the configuration as YAML."""
        if self._logger is None:
            return
        with _explaining(self._logger):
            identifier = self._logger.start(run.folder, _identifier(run, self._logger))
            self._logger.log_options(yaml.safe_load(config))
        described = {"format": _FORMAT, "class": import_path(type(self._logger)), "identifier": identifier}
        write_text(_path(run), json.dumps({**described, "folder": str(run.folder.resolve())}, indent=2))

    def epoch(self, history: History) -> None:
        """Log the last epoch."""
        if self._logger is not None:
            with _explaining(self._logger):
                self._logger.log_epoch(history)

    def finish(self, history: History) -> None:
        """Log a figure of the curves, and end the log."""
        if self._logger is not None:
            with _explaining(self._logger):
                self._logger.log_figure("training_curves", training_curves(history))
                self._logger.finish()

    def fail(self) -> None:
        """End the log of a training that failed, whose error is the one to show."""
        if self._logger is not None:
            with suppress(Exception):
                self._logger.finish(failed=True)


def log_to_tracker(run: Run, write: Callable[[Logger], None]) -> None:
    """Go on with the log of a run that was trained in this folder; do nothing if it has none.

    A log that cannot be written is told of by a note, because the results themselves are in the run's folder.

    Args:
        run: the run.
        write: function that writes to its logger.
    """
    try:
        logger = _logger_of(run)
        if logger is None:
            return
        with logger:
            logger.start(run.folder, _identifier(run, logger))
            write(logger)
    except Exception as error:
        progress.note(f"this is not in the log of {run.folder}: {checks.reason(error)}")


def log_evaluation(run: Run, name: str, summary: Mapping[str, Any]) -> None:
    """Log the numbers of an evaluation and its file.

    Args:
        run: the run.
        name: name of the evaluation.
        summary: its results by name.
    """
    numbers = {key: value for key, value in summary.items() if type(value) in (int, float)}

    def write(logger: Logger) -> None:
        logger.log_results(name, numbers)
        logger.log_file(run.folder / "evaluation" / f"{name}.json")

    log_to_tracker(run, write)


def _logger_of(run: Run) -> Logger | None:
    """Make the logger of the run's configuration; None if it has none, or the log or the run was begun elsewhere."""
    chosen = run.config().get("logger")
    if chosen is None or not run.is_own or _begun(run).get("folder") != str(run.folder.resolve()):
        return None  # a logger of somebody else could write anywhere

    reader = Parser()
    reader.add_function_arguments(_options)
    made = reader.instantiate(reader.parse_object({"logger": chosen}, defaults=False))
    return checks.make("logger", made.logger, Logger, like="CSV")


def _options(logger: LoggerFactory | None = None) -> None:
    """Have the option of a training that is read."""


def _identifier(run: Run, logger: Logger) -> str | None:
    """Return the identifier of the log that this logger has begun in this folder."""
    begun = _begun(run)
    own = begun.get("class") == import_path(type(logger)) and begun.get("folder") == str(run.folder.resolve())
    identifier = begun.get("identifier")
    return identifier if own and isinstance(identifier, str) else None


def _begun(run: Run) -> dict[str, Any]:
    """Read which log was begun; nothing if none was, or the file cannot be read."""
    try:
        found = json.loads(_path(run).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and found.get("format") == _FORMAT else {}
    except (OSError, RecursionError, ValueError):
        return {}


def _path(run: Run) -> Path:
    return run.folder / "logger.json"


@contextmanager
def _explaining(logger: Logger) -> Iterator[None]:
    try:
        yield
    except checks.InputError:
        raise
    except Exception as error:
        raise checks.InputError(
            f"logger {type(logger).__name__} cannot write its log: {checks.reason(error)}; a training goes on without "
            "it by --resume true --logger null"
        ) from error
