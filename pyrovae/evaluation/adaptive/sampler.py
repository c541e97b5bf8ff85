"""Draw what is decided for some data of a set, batch by batch, and follow how long it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.adaptive.allocation import Allocation
from pyrovae.evaluation.adaptive.forecast import NUM_TUNED, TUNING_CHAINS
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.likelihood.annealed_chains import AnnealingPath, anneal, tune
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.evaluation.likelihood.diagnostics import rounding_error
from pyrovae.evaluation.likelihood.importance import sample_in_chunks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.evaluation.likelihood.reservoir import Resampler
from pyrovae.execution.batched import BatchedPrograms, Chunk
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["Clock", "Sampler"]

_PILOT = 128  # importance samples of each datum from the guide that tell what it needs
_FROM_PRIOR = 32  # and from the prior
_FIRST = 128  # importance samples of each datum's estimate, to begin with
_LOOK = 50  # temperatures of the chains from the prior that each datum which is annealed gets
_PRIOR_SHARE = 1 / 8  # of them that come from the prior, so that a mode that the guide misses is not missing
_WEIGHTS_HELD = 2**20


class Clock:
    """Follow how long decoder runs take, with gradients and without.

    Attributes:
        seconds_before: that earlier samplers took.
    """

    def __init__(self) -> None:
        self.seconds_before = 0.0
        self._start = time.perf_counter()
        self._seconds = {"importance": 0.0, "annealed": 0.0}
        self._spent = {"importance": 0.0, "annealed": 0.0}

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return time.perf_counter() - self._start

    @contextmanager
    def measuring(self, kind: str, num_evaluations: float) -> Iterator[None]:
        """Take the time of so many decoder runs."""
        before = self.seconds
        yield
        self._seconds[kind] += self.seconds - before
        self._spent[kind] += num_evaluations

    def each(self, kind: str) -> float:
        """Foretell the seconds that a decoder run takes; a gradient about three times as long as none."""
        if self._spent[kind] > 0:
            return self._seconds[kind] / self._spent[kind]
        other, factor = ("importance", 3.0) if kind == "annealed" else ("annealed", 1 / 3)
        return factor * self._seconds[other] / self._spent[other] if self._spent[other] > 0 else 0.0

    def affordable(self, ends: float) -> float:
        """Foretell how many gradients can be taken until ``ends``."""
        each = self.each("annealed")
        return max(0.0, ends - self.seconds) / each if each > 0 else math.inf


class Sampler:
    """Draw weights of N data, each batch of them from a seed of its own.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: what they are called with, N data.
        seed: with the numbers of the round and of the batch in it, it decides all samples.
        num_draws: number S of posterior draws to keep of each datum.
        chunks: how many latents go through the model at a time.

    Attributes:
        statistics: of the weights so far.
        rounds: how many rounds were run, by earlier samplers too.
        clock: how long this sampler took.
    """

    def __init__(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        arguments: Arguments,
        seed: int,
        num_draws: int,
        chunks: Chunks,
    ) -> None:
        self.model = model
        self.guide = guide
        self.arguments = arguments
        self.seed = seed
        self.num_draws = num_draws
        self.chunks = chunks
        self.statistics = RunningStatistics.empty(len(arguments[0]), num_draws, NUM_TUNED)
        self.rounds = 0
        self.clock = Clock()
        self._annealable: bool | None = None
        self._batch = 0

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            ValueError: if it is one of other data, another seed or another number of draws.
        """
        missing = [name for name in ("rounds", "seconds", "seed") if name not in state]
        if missing:
            raise checks.InputError(f"state must be that of an earlier call, but lacks {missing[0]}")
        statistics = RunningStatistics.of(state)
        held = len(statistics.num_samples), int(state["seed"]), statistics.log_likelihood.shape[1]
        given = len(self.arguments[0]), self.seed, self.num_draws
        for name, of, was, is_now in zip(("x", "seed", "num_draws"), ("data", "", ""), held, given, strict=True):
            if was != is_now:
                raise checks.InputError(f"{name} must be that of the state, {f'{was} {of}'.strip()}, but is {is_now}")
        self.statistics = statistics
        self.rounds = int(state["rounds"])
        self.clock.seconds_before = float(state["seconds"])

    def begin(self) -> None:
        """Draw the pilot of all data, and the first importance samples of their estimates."""
        with self._round():
            for index in torch.arange(len(self.arguments[0])).split(min(50, self.chunks.size)):
                with self.clock.measuring("importance", (_PILOT + _FROM_PRIOR + _FIRST) * len(index)):
                    self.chunks.in_parts(self._pilot, (index,), lambda size: self._at_a_time(size, 0, _PILOT))
                    equal = self.statistics.pilot_k[index].isnan()
                    for some in (index[equal], index[~equal]):
                        if len(some):
                            self._draw(some, 0, False, _FIRST)

    def run(self, plan: Allocation, ends: float) -> bool:
        """Draw what is planned, until the clock shows ``ends``; return whether all was drawn."""
        now = self.statistics
        before = now.num_temperatures[plan.data], now.from_prior[plan.data]
        columns = plan.num_temperatures, plan.from_prior, plan.num_samples, *before
        kinds = torch.stack([column.long() for column in columns])
        with self._round():
            for kind in kinds.unique(dim=1).T:
                T, from_prior, k, _, _ = kind.tolist()
                member = (kinds == kind[:, None]).all(0)
                rows = self._at_a_time(self.chunks.size, T, k)
                for index, cost in zip(*(part[member].split(rows) for part in (plan.data, plan.cost)), strict=True):
                    name = "annealed" if T else "importance"
                    if self.clock.seconds + float(cost.sum()) * self.clock.each(name) > ends:
                        return False
                    with self.clock.measuring(name, float(cost.sum())):
                        self._draw(index, T, bool(from_prior), k)
        return True

    def _draw(self, index: Tensor, num_temperatures: int, from_prior: bool, k: int) -> None:
        def draw(some: Tensor) -> None:
            if num_temperatures:
                self._by_annealing(some, num_temperatures, from_prior, k)
            else:
                self._by_importance(some, k)

        self.chunks.in_parts(draw, (index,), lambda size: self._at_a_time(size, num_temperatures, k))

    @staticmethod
    def _at_a_time(chunk_size: int, num_temperatures: int, k: int) -> int:
        """Return how many data to draw k weights of at a time."""
        return max(1, min(256, chunk_size // k) if num_temperatures else min(50, chunk_size, _WEIGHTS_HELD // k))

    @property
    def annealable(self) -> bool:
        """Whether the latents can be annealed: all of them are continuous."""
        if self._annealable is None:
            try:
                with forked_rng(self.arguments[0].device):
                    AnnealingTarget(self._programs(tuple(part[:2] for part in self.arguments)))
                self._annealable = True
            except checks.InputError:
                self._annealable = False
        return self._annealable

    @contextmanager
    def _round(self) -> Iterator[None]:
        self._batch = 0
        with forked_rng(self.arguments[0].device):
            yield
        self.rounds += 1

    def _part(self, index: Tensor) -> Arguments:
        """Return some of the data, and sow the seed of what is drawn for them."""
        words = np.random.SeedSequence((self.seed, self.rounds, self._batch)).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))
        self._batch += 1
        return tuple(part[index.to(part.device)] for part in self.arguments)

    def _programs(self, arguments: Arguments) -> BatchedPrograms:
        return BatchedPrograms(self.model, self.guide, arguments)

    def _pilot(self, index: Tensor) -> None:
        """Draw importance samples that are part of no estimate."""
        programs = self._programs(self._part(index))
        found = []
        with programs.evaluating():
            for num_samples, share in ((_PILOT, 0.0), (_FROM_PRIOR, 1.0)):
                proposal = Proposal(programs, num_samples, prior_share=share)
                found.append(torch.cat([chunk.log_weight for chunk in sample_in_chunks(proposal, self.chunks.size)]))
        weights, from_prior = found
        self.statistics.add_pilot(index, weights, from_prior, rounding_error(weights, from_prior.dtype))
        self.statistics.num_evaluations[index] += _PILOT + _FROM_PRIOR

    def _by_importance(self, index: Tensor, num_samples: int) -> None:
        equal = bool(self.statistics.pilot_k[index].isnan().all())  # weights: the prior's would only differ from them
        share = 0.0 if equal else _PRIOR_SHARE
        programs = self._programs(self._part(index))
        proposal = Proposal(programs, num_samples, prior_share=share)
        held = Resampler(self.num_draws)
        log_weights = []
        with programs.evaluating():
            for chunk in sample_in_chunks(proposal, self.chunks.size):
                held.add(chunk.log_weight, chunk)
                log_weights.append(chunk.log_weight.double())
        weights = torch.cat(log_weights)
        self.statistics.add(index, weights, held, rounding_error(weights, chunk.log_likelihood.dtype))
        self.statistics.num_evaluations[index] += num_samples

    def _look_from_prior(self, programs: BatchedPrograms, index: Tensor) -> int:
        """Estimate log p(x) of some data by chains from the prior, which find modes that the guide misses."""
        target = AnnealingTarget(programs, "prior")
        with target.running():
            _, weights, spent = tune(target, AnnealingPath(num_temperatures=_LOOK, start="prior"), TUNING_CHAINS)
        self.statistics.look(index, weights)
        return spent

    def _by_annealing(self, index: Tensor, num_temperatures: int, from_prior: bool, num_chains: int) -> None:
        start: Literal["guide", "prior"] = "prior" if from_prior else "guide"
        target = AnnealingTarget(self._programs(self._part(index)), start)
        path = AnnealingPath(num_temperatures=num_temperatures, start=start)
        held, now = Resampler(self.num_draws), self.statistics
        chunks, spent = [], 0
        with target.running():
            other = (now.num_temperatures[index] != num_temperatures) | (now.from_prior[index] != from_prior)
            fresh = bool(other.any())  # chains of another start are no part of the same estimate
            if bool(now.step_sizes[0, index].isnan().any()) or (from_prior and fresh):
                grid = AnnealingPath(num_temperatures=NUM_TUNED + 1, start=start)
                steps, weights, spent = tune(target, grid, TUNING_CHAINS)
                now.step_sizes[:, index] = steps.to(now.step_sizes)
                if not from_prior:
                    now.chain_variance[index] = weights.var(0).cpu()
                    spent += self._look_from_prior(target.programs, index)
            steps = _between(now.step_sizes[:, index], num_temperatures).to(self.arguments[0].device)
            if fresh:
                now.forget(index, num_temperatures, from_prior)
            for part in torch.empty(num_chains).split(max(1, self.chunks.size // len(index))):
                chains = anneal(target, path, steps, target.draw(len(part)))
                point = target.at(chains.end)
                held.add(chains.log_weight, Chunk(point.log_weight, point.log_likelihood, point.latents))
                chunks.append(chains)
        weights = torch.cat([chains.log_weight for chains in chunks])
        acceptance = torch.cat([chains.acceptance.double().mean(0).expand_as(chains.log_weight) for chains in chunks])
        rounding = rounding_error(weights, point.log_likelihood.dtype)
        now.add(index, weights, held, rounding, acceptance.mean(0))
        now.num_evaluations[index] += spent + sum(chains.num_evaluations for chains in chunks)


def _between(step_sizes: Tensor, num_temperatures: int) -> Tensor:
    """Interpolate step sizes, ``(G, B)``, at the beta of T temperatures, ``(T - 1, B)``."""
    last = len(step_sizes) - 1
    place = torch.arange(1, num_temperatures) / num_temperatures * (last + 2) - 1
    place = place.clamp(0, last)
    low = place.floor().long()
    return torch.lerp(step_sizes[low], step_sizes[(low + 1).clamp(max=last)], (place - low)[:, None])
