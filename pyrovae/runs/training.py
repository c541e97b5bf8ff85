"""Training of a run: its folder is locked, written while it trains, and resumed or discarded if it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

import yaml
from torch import nn

from pyrovae import checks, distributed
from pyrovae.objectives import NonFiniteLoss
from pyrovae.runs.checkpoint_writer import CheckpointWriter
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.folder import Run
from pyrovae.runs.run_log import TrainingLog
from pyrovae.tracking import LoggerFactory
from pyrovae.training import Callback, History, State

__all__ = ["OpenTraining", "open_training", "watched_trainings"]

_WATCHER: ContextVar[Callback | None] = ContextVar("watcher", default=None)

# Options that a resumed run can change, because the weights after a given epoch do not depend on them.
_CHANGEABLE_ON_RESUME = {"epochs", "resume", "run", "device", "patience", "logger"}


class OpenTraining(NamedTuple):
    """A run's folder that is open for training.

    Attributes:
        save: callback for :func:`pyrovae.fit` that writes each epoch to the folder.
        state: state to resume from; None for a new training.
    """

    save: Callback
    state: State | None


@contextmanager
def open_training(
    run: Run,
    program: nn.Module,
    config: str,
    data: DataRecord,
    *,
    resume: bool = False,
    logger: LoggerFactory | None = None,
) -> Iterator[OpenTraining]:
    """Lock a run's folder while a program is trained in the ``with`` block, and write its epochs to the folder.

    Whatever ends the training, the folder then has the last epoch that was finished. A folder without a finished epoch
    is discarded.

    Args:
        run: the run, which must be new unless it is resumed.
        program: the program that is trained.
        config: the configuration as YAML.
        data: record of the data that the program is trained on.
        resume: True to continue the run in the folder, if there is one.
        logger: makes a logger, which logs the training too; see :mod:`pyrovae.tracking`.

    Raises:
        ValueError: if the folder contains a run that is not to be resumed, or one with other options or data.
    """
    logs: list[TrainingLog] = []
    distributed.on_rank_zero(lambda: logs.append(TrainingLog(logger)))  # first: its package may be missing
    own = run.is_own or not run.exists
    writer = CheckpointWriter(run, program)

    def save(history: History, state: Callable[..., State]) -> None:
        writer.epoch(history, state)
        for log in logs:
            log.epoch(history)
        if (watcher := _WATCHER.get()) is not None:
            watcher(history, state)

    with ExitStack() as stack:
        before, state = distributed.on_rank_zero(lambda: _open_run(run, config, data, resume, own, stack))
        try:
            distributed.on_rank_zero(lambda: logs[0].start(run, config))
            yield OpenTraining(save, state)
        except (Exception, KeyboardInterrupt) as error:
            if distributed.rank() > 0:
                raise
            writer.flush()
            logs[0].fail()
            if before is None or isinstance(error, NonFiniteLoss):
                run.discard()  # if it ended before its first weights, there is nothing to keep
            elif isinstance(error, checks.InputError) and writer.num_epochs == 0:
                with suppress(checks.InputError):  # the disk may be full
                    run.rewrite_config(before, own=own)
            raise
        distributed.on_rank_zero(writer.flush)
        distributed.on_rank_zero(lambda: logs[0].finish(run.history()))


@contextmanager
def watched_trainings(watcher: Callback) -> Iterator[None]:
    """Call a function after each epoch of every training of a run in the ``with`` block; its errors end the training.

    Args:
        watcher: a callback as those of :func:`pyrovae.fit`; the epoch is in the run's folder, or soon will be.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def _open_run(
    run: Run, config: str, data: DataRecord, resume: bool, own: bool, stack: ExitStack
) -> tuple[str | None, State | None]:
    """Lock the folder, and write the configuration and the record of the data.

    If a run is resumed, its data must be those that it was trained on, in whatever place; return its previous
    configuration and its state, or else None for both.
    """
    stack.enter_context(run.locked())
    if not (resume and run.exists):
        run.create(config, data)
        return None, None
    before, state, record = run.config_text(), run.state(), run.data_record()
    difference = None if record is None else record.difference(data)
    known = record is not None and difference is None
    _refuse_changes(run.config(), yaml.safe_load(config), _CHANGEABLE_ON_RESUME | ({"data"} if known else set()))
    if difference is not None:
        raise checks.InputError(
            f"data must be those that the run was trained on when it is resumed, but they are not: {difference}"
        )
    if record is None:
        run.save_data_record(data)  # from now on
    run.rewrite_config(config, own=own)
    return before, state


def _refuse_changes(before: dict[str, Any], now: dict[str, Any], free: set[str]) -> None:
    keys = (before.keys() | now.keys()) - free
    for key in sorted(keys, key=lambda key: (key != "program", key)):  # first, because other options depend on it
        found = _difference(key, before.get(key), now.get(key))
        if found is not None:
            name, was, given = found
            raise checks.InputError(f"{name} must stay as it was when a run is resumed, {was}, but {given} was given")


def _difference(name: str, before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return the outermost option in which two configurations differ, its old value and its new value."""
    if before == now:
        return None
    was, given = (part.get("class_path", part) if isinstance(part, dict) else part for part in (before, now))
    if was != given or not isinstance(before, dict) or not isinstance(now, dict):
        return name, was, given
    options, others = before.get("init_args", {}), now.get("init_args", {})
    differences = (_difference(f"{name}.{key}", options.get(key), others.get(key)) for key in options | others)
    return next((found for found in differences if found is not None), (name, was, given))
