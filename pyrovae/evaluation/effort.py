"""What an adaptive estimate reached, and what it took."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pyrovae.evaluation.result import LogMarginal
from pyrovae.evaluation.standing import Standing
from pyrovae.evaluation.tally import Tally

__all__ = ["Effort", "Stopped"]

_TAIL = 50  # the largest weights of each datum that are kept

Stopped = Literal["target", "max_seconds", "max_samples", "limit"]


@dataclass(frozen=True)
class Effort:
    """Hold what was reached and what it took; errors in nats, of the set's mean log p(x).

    Attributes:
        target_error: what was wanted of both errors.
        stopped: ``target`` where it was reached, the budget that ended before, or ``limit`` where nothing was left
            to do; None while it goes on.
        rounds: how often it was decided what to do next.
        seconds: wall-clock time of all calls.
        seed: of the samples.
        x: the data, ``(B, *data_shape)``.
        tally: the running figures of their weights.
        standing: what these say of each datum.
    """

    target_error: float
    stopped: Stopped | None
    rounds: int
    seconds: float
    seed: int
    x: Tensor = field(repr=False)
    tally: Tally = field(repr=False)
    standing: Standing = field(repr=False)

    @property
    def monte_carlo_error(self) -> float:
        """Standard error over the choice of samples."""
        return self.standing.standard_error.square().sum().sqrt().item() / len(self.x)

    @property
    def bias(self) -> float:
        """By how much the mean falls short, as estimated."""
        return self.standing.bias.mean().item()

    @property
    def num_untrusted(self) -> int:
        """Data whose importance samples have too large a k̂, or are too few, so that their bias is a guess."""
        return int((~self.standing.trusted).sum())

    @property
    def num_annealed(self) -> int:
        """Data whose estimates are of annealed chains."""
        return int((self.tally.num_temperatures > 0).sum())

    @property
    def num_evaluations(self) -> int:
        """Decoder runs in all, with a gradient or without one."""
        return int(self.tally.num_evaluations.sum())

    @property
    def reached(self) -> bool:
        """Whether both errors are below the target, and no datum is untrusted."""
        within = self.monte_carlo_error <= self.target_error and self.bias <= self.target_error
        return within and self.num_untrusted == 0

    @property
    def missed_by(self) -> float:
        """By how much the larger error exceeds the target; zero where it does not."""
        return max(0.0, max(self.monte_carlo_error, self.bias) - self.target_error)

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that a later call needs to go on, as plain tensors on the CPU; a copy."""
        return {
            "rounds": torch.tensor(self.rounds),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "seed": torch.tensor(self.seed),
            **self.tally.tensors(),
        }

    @property
    def marginal(self) -> LogMarginal:
        """The estimates of all data; their errors are those that the decisions were made by, their k̂ their own."""
        tally, standing, where = self.tally, self.standing, self.x.device
        annealed = tally.num_temperatures > 0
        return LogMarginal(
            log_prob=standing.log_prob.to(where),
            standard_error=standing.standard_error.to(where),
            bias=standing.bias.to(where),
            pareto_k=torch.where(annealed, math.nan, tally.pareto_k).to(where),
            ess=(2 * tally.log_sum - tally.log_sum_squares).exp().to(where),
            elbo=tally.elbo.clone().to(where),
            acceptance=tally.acceptance.clone().to(where),
            num_samples=tally.num_samples.clone().to(where),
            num_evaluations=tally.num_evaluations.clone().to(where),
            method="adaptive",
            tail=(tally.largest[:_TAIL] - tally.log_sum).to(where),
            draws={name: z.clone().to(where) for name, z in tally.draws.items()},
            log_likelihood=tally.log_likelihood.clone().to(where),
            x=self.x,
        )

    @property
    def verdict(self) -> str:
        """Plain sentences: whether the target was reached, and what was spent."""
        spent = self.tally.num_evaluations
        missed = f"missed by {self.missed_by:.2g}" if self.missed_by > 0 else "missed"
        parts = [
            f"The target of {self.target_error:g} nats is {'reached' if self.reached else missed}: "
            f"Monte Carlo error {self.monte_carlo_error:.2g}, estimated bias {self.bias:.2g}."
        ]
        if self.num_untrusted:
            parts.append(
                f"The bias is a guess for {self.num_untrusted} data, whose k̂ is too large or whose samples are too few."
            )
        parts.append(
            f"It took {self.num_evaluations:,} decoder runs, {int(spent.min()):,} to {int(spent.max()):,} for a datum, "
            f"and {self.seconds:.1f} s; {self.num_annealed} of {len(spent)} data were annealed."
        )
        return " ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Return what was wanted, reached and spent, as plain numbers."""
        spent, annealed = self.tally.num_evaluations.double(), self.tally.num_temperatures > 0
        return {
            "target_error": self.target_error,
            "reached": self.reached,
            "stopped": self.stopped,
            "missed_by": self.missed_by,
            "num_untrusted": self.num_untrusted,
            "num_annealed": self.num_annealed,
            "num_temperatures": int(self.tally.num_temperatures.max()),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "evaluations_of_annealed": int(spent[annealed].sum()),
            "evaluations": {f"{q:.0%}": int(spent.quantile(q, interpolation="nearest")) for q in (0.0, 0.5, 0.95, 1.0)},
        }
