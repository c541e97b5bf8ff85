"""Bidirectional Monte Carlo: lower and upper bounds of log p(x), on data simulated from the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.log_coordinates import map_with_logs
from pyrovae.evaluation.likelihood.annealed import Annealed
from pyrovae.evaluation.likelihood.annealed_chains import anneal, tune_step_sizes
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.exact_sum import exact_sum
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.execution.enumerated import EnumeratedPrograms, sum_over_discrete
from pyrovae.missing import copy_missing
from pyrovae.prediction.simulation import simulate
from pyrovae.programs import Batch, PyroFunction, arguments_of
from pyrovae.progress import bar as progress_bar
from pyrovae.reprs import json_number, short_repr
from pyrovae.rng import forked_rng

__all__ = ["Sandwich", "sandwich"]


@dataclass(frozen=True)
class Sandwich:
    r"""Lower and upper bounds of log p(x) of simulated data, in nats.

    Attributes:
        lower: estimates, lower bounds in expectation, ``(B,)``.
        upper: upper bounds in expectation, ``(B,)``.
        estimate: the estimator's result on the simulated data.
    """

    lower: Tensor
    upper: Tensor
    estimate: LogMarginal

    def __repr__(self) -> str:
        return short_repr(self, gap=self.gap, gap_error=self.gap_error, num_data=len(self.upper))

    @property
    def gap(self) -> float:
        """Mean of upper - lower, in nats: in expectation, at least the bias of the estimates of these data."""
        return (self.upper - self.lower).mean().item()

    @property
    def gap_error(self) -> float:
        """Standard error of ``gap`` over data and chains, in nats; NaN for one datum."""
        count = len(self.upper)
        return (self.upper - self.lower).std().item() / math.sqrt(count) if count > 1 else math.nan

    @property
    def sentence(self) -> str:
        """The conclusion about the estimate on real data, in a sentence."""
        error = self.gap_error
        if self.gap < -4 * error:
            return (
                f"On {len(self.upper)} data simulated from the model the upper bound lies {-self.gap:.3f} ± {error:.3f}"
                " nats below the estimate, more than chance allows: the model weighs other data than it makes, or the "
                "chains are too few for a conclusion."
            )
        apart = f"On {len(self.upper)} data simulated from the model the estimate and an upper bound are {self.gap:.3f}"
        so_far = "so far as real data resemble these, their NLL is too large by"
        if math.isnan(error):
            return f"{apart} nats apart: {so_far} about {max(self.gap, 0.0):.2f} nats."
        return f"{apart} ± {error:.3f} nats apart: {so_far} at most {max(self.gap, 0.0) + 2 * error:.2f} nats."

    def summary(self) -> dict[str, Any]:
        """Return the set's figures, in nats per datum, as plain numbers; None where one is unknown."""
        return {
            "lower": json_number(self.lower.mean().item()),
            "upper": json_number(self.upper.mean().item()),
            "gap": json_number(self.gap),
            "gap_error": json_number(self.gap_error),
            "num_simulated": len(self.upper),
            "sentence": self.sentence,
        }


def sandwich(
    model: PyroFunction,
    guide: PyroFunction,
    like: Batch,
    estimator: Estimator | None = None,
    *,
    num_simulated: int = 100,
    reverse: Annealed | None = None,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Sandwich:
    r"""Bound the bias of an estimator on data that are simulated from the model.

    Data x are simulated with their latents, :math:`z, x \sim p(z)\, p(x|z)`, so that z is an exact sample of
    p(z|x). Reverse chains from it have weights whose reciprocals have the mean 1 / p(x), and so give an upper bound of
    log p(x) in expectation; the estimator gives a lower bound (Grosse et al., 2015, arXiv:1511.02543). The true values
    of the simulated data lie in between, in expectation. The gap applies to real data as far as they resemble the
    simulated data.

    Chains move in the continuous latents, and discrete ones are summed over. If all latents are discrete, the upper
    bound is exact. The data are drawn from a separate generator.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        like: data with the shape, type and device of the simulated ones, ``(*, *data_shape)``; or the tuple ``(x, y)``
            with the labels for the simulated data. The simulated data have their missing values, cyclically.
        estimator: estimator to check; ``Annealed()`` if not given.
        num_simulated: number of data to simulate.
        reverse: options of the reverse chains; if not given, those of the estimator if it is annealed, or else
            ``Annealed()``. If they refine the guide, they run to the refined guide alone. For a guide that
            covers several modes, give a ``reverse`` without refinement.
        chunk_size: number of latents to run the model on at a time. Chosen by the program's size if not given, and on
            a GPU by its free memory.
        progress: whether to show progress bars.

    Raises:
        ValueError: if a latent cannot be annealed, the guide's transforms have no inverse, or the model does not draw
            the data that it observes.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> bounds = sandwich(vae.model, vae.guide, torch.zeros(1, 4), Annealed(num_temperatures=10), num_simulated=5)
        >>> bounds.lower.shape, bounds.upper.shape
        (torch.Size([5]), torch.Size([5]))
    """
    checks.integer("num_simulated", num_simulated)
    estimator = Annealed() if estimator is None else checks.instance("estimator", estimator, Estimator)
    if reverse is None:
        reverse = estimator if isinstance(estimator, Annealed) else Annealed()
    C, path = checks.instance("reverse", reverse, Annealed).num_chains, reverse.path
    chunks = Chunks(chunk_size)
    arguments = arguments_of(like, model, guide)
    seed = int(torch.randint(2**62, ()))
    with forked_rng(arguments[0].device):
        torch.manual_seed(seed)
        latents, simulated = simulate(model, num_simulated, like)
    simulated = (copy_missing(simulated[0], arguments[0]), *simulated[1:])
    estimate = log_marginal(model, guide, simulated, estimator, num_draws=0, chunk_size=chunk_size, progress=progress)
    chunks.choose(model, simulated)

    def bound(index: Tensor) -> Tensor:
        data = tuple(part[index] for part in simulated)
        programs = sum_over_discrete(BatchedPrograms(model, guide, data, must_cover=reverse.must_cover))
        size = max(1, chunks.size // programs.num_values)
        if len(index) > size < chunks.size:
            return torch.cat([bound(some) for some in index.split(size)])
        if isinstance(programs, EnumeratedPrograms) and not programs.sites:
            return exact_sum(programs).log_prob
        target = reverse.begin(programs, size, reverse=True).target
        here = {name: map_with_logs(lambda part: part[None, index], latents[name]) for name in target.programs.sites}
        backward = []
        with target.running():
            steps, _, _ = tune_step_sizes(target, path, min(C, 4))
            for some in torch.empty(C).split(max(1, size // target.programs.count)):
                u = target.coordinates_of({name: _repeated(z, len(some)) for name, z in here.items()})
                backward.append(-anneal(target, path, steps, u, reverse=True).log_weight)
            upper = math.log(C) - torch.cat(backward).logsumexp(0)
            # If the start has no density at z, the weights of reverse chains are zero, and there is no upper bound.
            lost = target.programs.log_q(here)[0] == -math.inf if path.start == "guide" else torch.zeros_like(upper) > 0
        return torch.where(lost, math.inf, upper)

    index = torch.arange(num_simulated, device=simulated[0].device)
    with progress_bar("upper bound", num_simulated, "datum", hidden=not progress) as chunks.bar:
        upper = chunks.in_parts(bound, (index,), lambda size: min(256, size // C))
    return Sandwich(estimate.log_prob, torch.cat(upper), estimate)


def _repeated(z: Tensor, count: int) -> Tensor:
    return map_with_logs(lambda part: part.expand(count, *part.shape[1:]), z)
