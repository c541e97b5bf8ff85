"""Running figures of weights that come in batches, some data at a time, as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.diagnostics import pareto_k
from pyrovae.evaluation.resampling import Resampler

__all__ = ["Tally", "tail_size"]

_KEPT = 50  # of the largest weights, however few samples there are
_DRAWS = "draws/"


def tail_size(num_samples: Tensor) -> Tensor:
    """Return how many of the largest of K weights the Pareto shape is fitted to (Vehtari et al., 2015)."""
    K = num_samples.double()
    return torch.minimum(K / 5, 3 * K.sqrt()).ceil()


@dataclass
class Tally:
    """Keep what the estimates of N data need of all weights so far; each figure has shape ``(N,)``.

    Attributes:
        num_temperatures: T of the annealed chains, 0 where the weights are importance samples.
        num_samples: number K of weights.
        num_evaluations: latents that went through the model, those of weights that were given up included.
        log_sum: log of the sum of the weights, in nats.
        log_sum_squares: log of the sum of their squares.
        mean: of the log weights.
        squares: sum of the squared distances of the log weights from it.
        acceptance: mean acceptance of the chains; NaN of importance samples.
        num_from_guide: importance samples that were drawn from the guide.
        elbo: mean of their log weights.
        spread: variance of their log weights.
        pareto_k: shape of their weights' tail.
        largest: the largest log weights, descending, ``(M, N)``; -inf where there are fewer.
        step_sizes: of the chains, at beta evenly spaced between 0 and 1, ``(G, N)``; NaN where none were tuned.
        log_likelihood: log p(x|z) at the posterior draws, ``(N, S)``.
        draws: posterior draws by site name, ``(N, S, *event_shape)``.
    """

    num_temperatures: Tensor
    num_samples: Tensor
    num_evaluations: Tensor
    log_sum: Tensor
    log_sum_squares: Tensor
    mean: Tensor
    squares: Tensor
    acceptance: Tensor
    num_from_guide: Tensor
    elbo: Tensor
    spread: Tensor
    pareto_k: Tensor
    largest: Tensor
    step_sizes: Tensor
    log_likelihood: Tensor
    draws: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def empty(cls, count: int, num_draws: int, num_step_sizes: int) -> Tally:
        """Begin with N data of which nothing is known."""
        counts = torch.zeros(4, count, dtype=torch.int64).unbind()
        zeros = torch.zeros(4, count, dtype=torch.float64).unbind()
        return cls(
            num_temperatures=counts[0],
            num_samples=counts[1],
            num_evaluations=counts[2],
            log_sum=torch.full((count,), -math.inf, dtype=torch.float64),
            log_sum_squares=torch.full((count,), -math.inf, dtype=torch.float64),
            mean=zeros[0],
            squares=zeros[1],
            acceptance=torch.full((count,), math.nan, dtype=torch.float64),
            num_from_guide=counts[3],
            elbo=zeros[2],
            spread=zeros[3],
            pareto_k=torch.full((count,), math.nan, dtype=torch.float64),
            largest=torch.full((_KEPT, count), -math.inf, dtype=torch.float64),
            step_sizes=torch.full((num_step_sizes, count), math.nan),
            log_likelihood=torch.zeros(count, num_draws),
        )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Tally:
        """Take up what :meth:`tensors` gave.

        Raises:
            ValueError: if something is missing.
        """
        plain = [part.name for part in fields(cls) if part.name != "draws"]
        missing = [name for name in plain if name not in tensors]
        if missing:
            raise checks.InputError(f"state must be that of an earlier call, but lacks {missing[0]}")
        draws = {name.removeprefix(_DRAWS): z.clone() for name, z in tensors.items() if name.startswith(_DRAWS)}
        figures: dict[str, Any] = {name: tensors[name].clone() for name in plain}
        return cls(**figures, draws=draws)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all figures, by name."""
        plain = {part.name: getattr(self, part.name).clone() for part in fields(self) if part.name != "draws"}
        return plain | {_DRAWS + name: z.clone() for name, z in self.draws.items()}

    def forget(self, index: Tensor, num_temperatures: int) -> None:
        """Give up the weights of some data, for chains of so many temperatures."""
        self.num_temperatures[index] = num_temperatures
        self.num_samples[index] = 0
        self.log_sum[index] = self.log_sum_squares[index] = -math.inf
        self.mean[index] = self.squares[index] = self.acceptance[index] = 0.0
        self.largest[:, index] = -math.inf

    def add(self, index: Tensor, log_weights: Tensor, held: Resampler, acceptance: Tensor | None = None) -> None:
        """Take in weights of some data.

        Args:
            index: which data, ``(B,)``.
            log_weights: nats, ``(k, B)``.
            held: the posterior draws out of them.
            acceptance: mean acceptance of annealed chains, ``(B,)``; None of importance samples.
        """
        if bool(log_weights.isnan().any()):
            raise checks.InputError("x and the model must be finite, but the log weights of some data are NaN")
        new = log_weights.double().cpu()
        k, before = len(new), self.num_samples[index]
        total = before + k
        log_sum = new.logsumexp(0)
        self._merge_draws(index, log_sum, held)
        apart = new.mean(0) - self.mean[index]
        self.mean[index] += apart * k / total
        self.squares[index] += (new - new.mean(0)).square().sum(0) + apart.square() * before * k / total
        self.log_sum[index] = torch.logaddexp(self.log_sum[index], log_sum)
        self.log_sum_squares[index] = torch.logaddexp(self.log_sum_squares[index], (2 * new).logsumexp(0))
        self.num_samples[index] = total
        if acceptance is not None:
            self.acceptance[index] += (acceptance.double().cpu() - self.acceptance[index]) * k / total
        self._merge_largest(index, new, total)
        if acceptance is None:
            self.num_from_guide[index] = total
            self.elbo[index] = self.mean[index]
            self.spread[index] = self.squares[index] / (total - 1)
            self.pareto_k[index] = self._pareto_k(index)

    def _merge_largest(self, index: Tensor, new: Tensor, total: Tensor) -> None:
        keep = _KEPT
        if not bool(self.num_temperatures[index].any()):
            keep = max(keep, int(tail_size(total).max()) + 1)  # and the largest of those that are not in the tail
        if keep > len(self.largest):
            more = self.largest.new_full((keep - len(self.largest), self.largest.shape[1]), -math.inf)
            self.largest = torch.cat([self.largest, more])
        merged = torch.cat([self.largest[:, index], new]).sort(0, descending=True).values
        self.largest[:, index] = merged[: len(self.largest)]

    def _merge_draws(self, index: Tensor, log_sum: Tensor, held: Resampler) -> None:
        """Replace each draw with the share that the new weights have of all."""
        if held.num_draws == 0:
            return
        if not self.draws:
            count = len(self.num_samples)
            self.draws = {name: z.new_zeros(count, *z.shape[1:], device="cpu") for name, z in held.draws.items()}
            self.log_likelihood = held.log_likelihood.new_zeros(count, held.num_draws, device="cpu")
        share = (log_sum - torch.logaddexp(log_sum, self.log_sum[index])).exp().nan_to_num(1.0)
        replace = torch.rand(len(index), held.num_draws, dtype=torch.float64) < share[:, None]  # (B, S)
        for name, z in held.draws.items():
            chosen = replace.reshape(*replace.shape, *(1 for _ in z.shape[2:]))
            self.draws[name][index] = torch.where(chosen, z.cpu(), self.draws[name][index])
        offered = held.log_likelihood.cpu()
        self.log_likelihood[index] = torch.where(replace, offered, self.log_likelihood[index])

    def _pareto_k(self, index: Tensor) -> Tensor:
        """Fit the tails of data with one K; the other weights may be anything that is smaller."""
        (K,) = self.num_samples[index].unique().tolist()
        tail = self.largest[: min(K, int(tail_size(torch.tensor(K))) + 1), index]
        return pareto_k(torch.cat([tail, tail[-1:].expand(K - len(tail), -1)]))
