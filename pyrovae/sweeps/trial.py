"""A trial of a sweep that ended."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Trial", "described", "short"]


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
        """Return Optuna's trial as one.

        Raises:
            KeyError, TypeError, ValueError: if it lacks what a sweep has noted, as after a change by hand.
        """
        known = trial.user_attrs
        state: Any = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        elbo, epochs = float(known.get("elbo", math.nan)), int(known.get("epochs", 0))
        return cls(known["run"], state, json.loads(known["options"]), elbo, epochs, known.get("error"))

    def order(self) -> tuple[bool, float, str]:
        """Return what trials are sorted by: those that are complete first, then the larger ELBO."""
        return self.state != "complete", math.inf if math.isnan(self.elbo) else -self.elbo, self.run


def described(options: dict[str, Any]) -> str:
    """Return the options of a trial as short text.

    Example:
        >>> described({"latent_dim": 3, "prior": {"class_path": "my.Prior", "init_args": {"scale": 0.12345}}})
        'latent_dim 3, prior Prior (scale 0.1235)'
    """
    return ", ".join(f"{name} {short(value)}" for name, value in options.items())


def short(value: Any) -> str:
    """Return a value as short text: of a class with options, the name and the options."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict) and "class_path" in value:
        name, options = str(value["class_path"]).rpartition(".")[2], value.get("init_args")
        return f"{name} ({described(options)})" if options else name
    return value if isinstance(value, str) else json.dumps(value)
