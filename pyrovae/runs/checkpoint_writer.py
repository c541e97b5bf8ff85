"""Writing a training to its folder: each epoch that ends a second or more after the last writing, and the last one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from pyrovae import checks
from pyrovae.runs.folder import Run
from pyrovae.training import History, State
from pyrovae.training.checkpoint import copied

__all__ = ["CheckpointWriter"]

_INTERVAL = 1.0  # seconds; writing takes some 60 ms, as long as an epoch of small data


@dataclass
class _Epoch:
    """Weights, history and state of an epoch, as copies that training does not change."""

    weights: dict[str, Tensor]
    history: History
    state: State


class CheckpointWriter:
    """Write the epochs of a training to its folder, at most once a second.

    The first epoch is written at once. Other epochs are copied, and :meth:`flush` writes the copy of the last one. An
    error or an interruption then loses nothing; a killed process loses about a second of training. The files in the
    folder are always those of one epoch, and the best weights those of the best epoch until then.

    Args:
        run: the folder.
        program: the program that is trained.
    """

    def __init__(self, run: Run, program: nn.Module) -> None:
        self._run = run
        self._program = program
        self._written = -math.inf  # time of the last writing
        self._best: dict[str, Tensor] | None = None  # weights of the best epoch, if they are not written yet
        self._last: _Epoch | None = None  # the last epoch, if it is not written yet
        self._spare: _Epoch | None = None  # an epoch that is not needed any more, whose memory is used for the next
        self.num_epochs = 0
        """Number of epochs that were received."""

    def epoch(self, history: History, state: Callable[..., State]) -> None:
        """Write an epoch, or copy it to be written later.

        Args:
            history: history of all epochs so far.
            state: function that returns what to resume from, without memory of the programs; as in ``Callback``.

        Raises:
            ValueError: if the folder cannot be written.
        """
        spare, self._spare = self._spare, None  # not the last epoch's, which an interruption here must leave whole
        old = None if spare is None or spare.weights is self._best else spare.weights
        weights = copied(dict(self._program.state_dict()), old)
        epoch = _Epoch(weights, History(list(history.epochs)), state(spare=None if spare is None else spare.state))
        self.num_epochs += 1
        self._last, self._spare = epoch, self._last
        if history.best_epoch == len(history.epochs):
            self._best = weights
        if time.monotonic() - self._written >= _INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Write the last epoch, unless it is written.

        Raises:
            ValueError: if the folder cannot be written; it is not tried again.
        """
        if self._last is None:
            return
        try:
            self._run.save_epoch(self._last.weights, self._best, self._last.history, self._last.state)
        except checks.InputError:
            self._last = None
            raise
        self._spare, self._last, self._best = self._last, None, None
        self._written = time.monotonic()
