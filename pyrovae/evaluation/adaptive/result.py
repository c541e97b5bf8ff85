"""``AdaptiveResult``: target, errors and effort of the estimator ``Adaptive``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.allocation import QUANTILE_95
from pyrovae.evaluation.adaptive.error_estimates import ErrorEstimates
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.likelihood.prior_comparison import CrossCheck
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.reprs import json_number, short_repr

__all__ = ["AdaptiveResult", "Stopped"]

_TAIL = 50  # number of largest weights kept of each datum

Stopped = Literal["target", "max_seconds", "max_evaluations", "limit"]


@dataclass(frozen=True)
class AdaptiveResult:
    """Target, errors and effort of the estimator ``Adaptive``; errors in nats, of the set's mean log p(x).

    Attributes:
        target_error: largest allowed sum of the bias and 1.645 Monte Carlo errors.
        stopped: reason to stop: ``target`` if the target was reached, the name of the budget that was used up, or
            ``limit`` if no more samples can be drawn; None before the end.
        rounds: number of rounds of allocation.
        seconds: wall-clock time of all calls.
        seed: seed of the samples.
        streams: lower 32 bits of the seeds of all batches of samples, which are different.
        x: the data, ``(B, *data_shape)``.
        statistics: statistics of their weights.
        errors: errors of each datum, estimated from the statistics.
        reliable: True for data that have enough samples, ``(B,)``.
        check: second estimates of some data by chains from the prior; None if a budget was used up before, or the
            latents cannot be annealed.
    """

    target_error: float
    stopped: Stopped | None
    rounds: int
    seconds: float
    seed: int
    streams: Tensor = field(repr=False)
    x: Tensor = field(repr=False)
    statistics: RunningStatistics = field(repr=False)
    errors: ErrorEstimates = field(repr=False)
    reliable: Tensor = field(repr=False)
    check: CrossCheck | None = None

    def __repr__(self) -> str:
        return short_repr(
            self,
            target_error=self.target_error,
            monte_carlo_error=self.monte_carlo_error,
            bias=self.bias,
            stopped=self.stopped,
            num_data=len(self.x),
            rounds=self.rounds,
            seconds=self.seconds,
        )

    @property
    def progress(self) -> str:
        """The errors so far in a few words, for a progress bar."""
        errors = f"Monte Carlo error {self.monte_carlo_error:.2g}, bias {self.bias:.2g}"
        return f"{errors}, {self.num_unreliable} unreliable"

    @property
    def monte_carlo_error(self) -> float:
        """Standard error over the choice of samples."""
        return self.errors.standard_error.square().sum().sqrt().item() / len(self.x)

    @property
    def bias(self) -> float:
        """Shortfall of the mean, estimated from the weights."""
        return self.errors.bias.mean().item()

    @property
    def missing(self) -> float:
        """Further shortfall of the mean, according to chains from the prior; zero if none were run."""
        return 0.0 if self.check is None else self.check.missing

    @property
    def error(self) -> float:
        """Upper limit of the mean's error at 95 % confidence: both biases and 1.645 Monte Carlo errors."""
        return self.bias + self.missing + QUANTILE_95 * self.monte_carlo_error

    @property
    def num_unreliable(self) -> int:
        """Number of data whose k̂ is too large or whose samples are too few, so that their bias is a guess."""
        return int((~self.reliable).sum())

    @property
    def num_annealed(self) -> int:
        """Number of data that are estimated by annealed chains."""
        return int((self.statistics.num_temperatures > 0).sum())

    @property
    def num_evaluations(self) -> int:
        """Total number of decoder runs, with or without a gradient, except those of the check."""
        return int(self.statistics.num_evaluations.sum())

    @property
    def within_target(self) -> bool:
        """True if the errors lie within the target, and all data have enough samples."""
        return self.error <= self.target_error and self.num_unreliable == 0

    @property
    def modes_checked(self) -> bool:
        """True if modes that the guide misses would have been found.

        True if chains from the prior find at least half of p(x) for nine in ten of the checked data, or if the pilot's
        samples from the prior find at least half of p(x) on average over all data.
        """
        if self.check is not None and self.check.is_conclusive:
            return True
        found = (self.statistics.prior_log_prob - self.errors.log_prob).exp().nan_to_num(0.0).clamp(max=1)
        return found.mean().item() >= 0.5

    @property
    def reached(self) -> bool:
        """True if the errors lie within the target, and modes that the guide misses were looked for and not found."""
        return self.within_target and self.modes_checked

    @property
    def missed_by(self) -> float:
        """Excess of the error over the target; zero if there is none."""
        return max(0.0, self.error - self.target_error)

    @property
    def state(self) -> dict[str, Tensor]:
        """A copy of everything that a later call needs to continue, as tensors on the CPU."""
        return {
            "rounds": torch.tensor(self.rounds),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "seed": torch.tensor(self.seed),
            "streams": self.streams,
            **self.statistics.tensors(),
        }

    @property
    def marginal(self) -> LogMarginal:
        """The estimates of all data, with their errors."""
        now, errors, where = self.statistics, self.errors, self.x.device
        return LogMarginal(
            log_prob=errors.log_prob.to(where),
            standard_error=errors.standard_error.to(where),
            bias=errors.bias.to(where),
            pareto_k=now.pareto_k.clone().to(where),
            ess=now.ess.to(where),
            elbo=now.elbo.clone().to(where),
            acceptance=now.acceptance.clone().to(where),
            num_samples=now.num_samples.clone().to(where),
            num_evaluations=now.num_evaluations.clone().to(where),
            method="adaptive",
            tail=(now.largest[:_TAIL] - now.log_sum).to(where),
            draws={name: z.clone().to(where) for name, z in now.draws.items()},
            log_likelihood=now.log_likelihood.clone().to(where),
            x=self.x,
            check=self.check,
            log_unbiased=now.certified.clone().to(where),
            adaptive=self,
        )

    @property
    def verdict(self) -> str:
        """Conclusion in plain sentences: was the target reached, and with how many decoder runs and seconds?"""
        figures = f"estimated bias {self.bias:.2g}, Monte Carlo error {self.monte_carlo_error:.2g}"
        target = f"target of {self.target_error:g} nats"
        if self.reached:
            parts = [f"The {target} is reached: {figures}."]
        elif self.within_target:
            parts = [f"For the modes of the guide, the {target} is met: {figures}."]
        else:
            missed = f"missed by {self.missed_by:.2g}" if self.missed_by > 0 else "missed"
            parts = [f"The {target} is {missed}: {figures}."]
        if self.num_unreliable:
            parts.append(
                f"The bias is a guess for {self.num_unreliable} data, because k̂ is too large or samples are too few."
            )
        if self.check is not None:
            parts.append(self.check.sentence)
        elif not self.modes_checked:
            parts.append("Modes that the guide misses were not looked for.")
        spent = self.statistics.num_evaluations
        parts.append(
            f"It took {self.num_evaluations:,} decoder runs, {int(spent.min()):,} to {int(spent.max()):,} for a datum, "
            f"and {self.seconds:.1f} s; {self.num_annealed} of {len(spent)} data were annealed."
        )
        return " ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Return target, errors and effort as plain numbers."""
        now = self.statistics
        spent, annealed = now.num_evaluations.double(), now.num_temperatures > 0
        return {
            "target_error": self.target_error,
            "reached": self.reached,
            "within_target": self.within_target,
            "stopped": self.stopped,
            "missed_by": json_number(self.missed_by),
            "num_unreliable": self.num_unreliable,
            "num_annealed": self.num_annealed,
            "num_from_prior": int(now.from_prior.sum()),
            "num_temperatures": int(now.num_temperatures.max()),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "evaluations_of_annealed": int(spent[annealed].sum()),
            "evaluations": {f"{q:.0%}": int(spent.quantile(q, interpolation="nearest")) for q in (0.0, 0.5, 0.95, 1.0)},
        }
