"""KL warm-up: the weight of the KL grows linearly from 0 over the first steps of training, or of each cycle of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyro.infer import ELBO

from pyrovae import checks
from pyrovae.distributions.support_bounds import is_point
from pyrovae.execution import latents_of
from pyrovae.objectives.terms import Traces
from pyrovae.training.checkpoint import State

__all__ = ["DEFAULT_SHARE", "Warmup", "warms_up_by_default"]

DEFAULT_SHARE = 0.3
"""Share of a run's steps in which the weight of the KL grows, unless ``kl_warmup`` is given; see docs/training.md."""

_SHARE_OF_CYCLE = 0.5  # Fu et al. (2019)


@dataclass(frozen=True)
class Warmup:
    """The weight of the KL at each step.

    Args:
        num_steps: number of steps in which it grows; 0 for none.
        beta: the weight afterwards.
        num_cycles: number of cycles, each of which begins at 0 again.
        cycle_steps: number of steps of each cycle but the last, which never ends.

    Example:
        >>> [Warmup(num_steps=4, beta=2.0).weight(step) for step in (0, 1, 4, 5)]
        [0.0, 0.5, 2.0, 2.0]
        >>> [Warmup(num_steps=2, beta=1.0, num_cycles=2, cycle_steps=3).weight(step) for step in range(8)]
        [0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """

    num_steps: int
    beta: float
    num_cycles: int = 1
    cycle_steps: int = 0

    @classmethod
    def of(
        cls,
        kl_warmup: int | None,
        kl_cycles: int,
        beta: float,
        epochs: int,
        num_batches: int,
        *,
        by_default: bool,
        state: State | None,
    ) -> Warmup:
        """Return the warm-up of a training.

        Args:
            kl_warmup: number of epochs; None for that of the state, or the default share of all steps.
            kl_cycles: number of cycles.
            beta: the weight afterwards.
            epochs: number of epochs of the run.
            num_batches: number of batches of an epoch.
            by_default: True if there is a warm-up by default.
            state: state of a training that is resumed, or None.

        Raises:
            ValueError: if the cycles are more than the epochs, or shorter than the warm-up, or there is no warm-up.
        """
        cycle = 0
        if checks.integer("kl_cycles", kl_cycles) > 1:
            if kl_cycles > epochs or kl_warmup == 0:
                accepted = f"at most the {epochs} epochs" if kl_cycles > epochs else "1 if kl_warmup is 0"
                raise checks.InputError(f"kl_cycles must be {accepted}, but {kl_cycles} was given")
            cycle = (state or {}).get("cycle_steps") or round(epochs * num_batches / kl_cycles)
            if kl_warmup is not None and kl_warmup * num_batches > cycle:
                raise checks.InputError(
                    f"kl_warmup must be at most the {cycle / num_batches:g} epochs of a cycle, but {kl_warmup} was "
                    "given"
                )
        if kl_warmup is not None:
            num_steps = kl_warmup * num_batches
        elif state is not None:
            num_steps = state.get("warmup_steps", 0)  # before there was a default, it was 0
        elif cycle:
            num_steps = max(1, round(_SHARE_OF_CYCLE * cycle))
        else:
            num_steps = round(DEFAULT_SHARE * epochs * num_batches) if by_default else 0
        return cls(num_steps, beta, kl_cycles, cycle)

    def state(self) -> dict[str, int]:
        """Return what a resumed training needs to go on as it was begun."""
        return {"warmup_steps": self.num_steps, "cycle_steps": self.cycle_steps}

    def weight(self, step: int) -> float:
        """Return the weight at a step, from 0."""
        if self.cycle_steps:
            step -= self.cycle_steps * min(step // self.cycle_steps, self.num_cycles - 1)
        return self.beta * min(1.0, step / self.num_steps) if self.num_steps else self.beta

    def num_epochs(self, num_batches: int) -> int:
        """Return the number of epochs that end before the last growth does."""
        return math.ceil(((self.num_cycles - 1) * self.cycle_steps + self.num_steps) / num_batches)


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
