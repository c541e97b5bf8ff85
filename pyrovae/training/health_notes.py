"""Notes on problems of a training while it goes on, one for each kind."""

from __future__ import annotations

from collections.abc import Sequence

from pyrovae import progress
from pyrovae.training.curves import DURING, findings
from pyrovae.training.history import Epoch

__all__ = ["HealthNotes"]


class HealthNotes:
    """Notes on the curves of a training under way.

    Args:
        warmup: number of epochs of the KL warm-up, which are left out.
        hidden: whether to tell nothing.
    """

    def __init__(self, warmup: int, *, hidden: bool) -> None:
        self._warmup = warmup
        self._hidden = hidden
        self._told: set[str] = set()

    def epoch(self, epochs: Sequence[Epoch]) -> None:
        """Tell what is wrong after an epoch, unless it was told before.

        Args:
            epochs: all epochs so far.
        """
        if self._hidden:
            return
        for kind, sentence in findings(epochs[self._warmup :], DURING).items():
            if kind not in self._told:
                self._told.add(kind)
                progress.note(sentence)
