"""KL warm-up: the weight of the KL grows linearly from 0 over the first steps of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyro.infer import ELBO

from pyrovae.distributions.support_bounds import is_point
from pyrovae.execution import latents_of
from pyrovae.objectives.terms import Traces
from pyrovae.training.checkpoint import State

__all__ = ["DEFAULT_SHARE", "Warmup", "warms_up_by_default"]

DEFAULT_SHARE = 0.3
"""Share of a run's steps in which the weight of the KL grows, unless ``kl_warmup`` is given; see docs/training.md."""


@dataclass(frozen=True)
class Warmup:
    """The weight of the KL at each step.

    Args:
        num_steps: number of steps in which it grows; 0 for none.
        beta: the weight afterwards.

    Example:
        >>> [Warmup(num_steps=4, beta=2.0).weight(step) for step in (0, 1, 4, 5)]
        [0.0, 0.5, 2.0, 2.0]
    """

    num_steps: int
    beta: float

    @classmethod
    def of(
        cls, kl_warmup: int | None, beta: float, epochs: int, num_batches: int, *, by_default: bool, state: State | None
    ) -> Warmup:
        """Return the warm-up of a training.

        Args:
            kl_warmup: number of epochs; None for that of the state, or the default share of all steps.
            beta: the weight afterwards.
            epochs: number of epochs of the run.
            num_batches: number of batches of an epoch.
            by_default: True if there is a warm-up by default.
            state: state of a training that is resumed, or None.
        """
        if kl_warmup is not None:
            return cls(kl_warmup * num_batches, beta)
        if state is not None:
            return cls(state.get("warmup_steps", 0), beta)  # before there was a default, it was 0
        return cls(round(DEFAULT_SHARE * epochs * num_batches) if by_default else 0, beta)

    def weight(self, step: int) -> float:
        """Return the weight at a step, from 0."""
        return self.beta * min(1.0, step / self.num_steps) if self.num_steps else self.beta

    def num_epochs(self, num_batches: int) -> int:
        """Return the number of epochs that begin with a smaller weight than the last."""
        return math.ceil(self.num_steps / num_batches)


def warms_up_by_default(elbo: ELBO, traces: Traces) -> bool:
    """Tell whether a warm-up makes sense: the objective has a KL, and the guide has a density that it can collapse to.

    Args:
        elbo: the objective; see ``Objective.warms_up``.
        traces: of model and guide.
    """
    if not getattr(elbo, "warms_up", True):
        return False
    sites = [trace.nodes[name] for _, trace in traces for name in latents_of(trace)]
    return any(not is_point(site["fn"]) for site in sites)
