"""A trial of a sweep that ended."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Trial"]


@dataclass(frozen=True)
class Trial:
    """A trial that ended.

    Attributes:
        run: name of its run's folder in the folder of the sweep.
        state: ``complete``, ``pruned``, or ``failed`` if its loss became infinite or NaN.
        options: values of the searched options, by name.
        elbo: the best validation ELBO, in nats per datum; NaN if no epoch was finished.
        epochs: number of epochs that were finished.
        error: why it failed, or None.
    """

    run: str
    state: Literal["complete", "pruned", "failed"]
    options: dict[str, Any]
    elbo: float
    epochs: int
    error: str | None

    @classmethod
    def of(cls, trial: FrozenTrial) -> Trial:
        """Return Optuna's trial as one."""
        known = trial.user_attrs
        state: Any = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        elbo, epochs = float(known.get("elbo", math.nan)), int(known.get("epochs", 0))
        return cls(known["run"], state, json.loads(known["options"]), elbo, epochs, known.get("error"))

    def order(self) -> tuple[bool, float, str]:
        """Return what trials are sorted by: those that are complete first, then the larger ELBO."""
        return self.state != "complete", math.inf if math.isnan(self.elbo) else -self.elbo, self.run
