"""Draw the allocated samples and chains of a set of data, batch by batch, and measure their time."""

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
from pyrovae.evaluation.adaptive.forecast import NUM_TUNED, TUNING_CHAINS, predict_first
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.likelihood.annealed_chains import AnnealingPath, anneal, tune_step_sizes
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.evaluation.likelihood.diagnostics import rounding_error
from pyrovae.evaluation.likelihood.importance import sample_in_chunks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.evaluation.likelihood.reservoir import Reservoir
from pyrovae.execution.batched import BatchedPrograms, Chunk
from pyrovae.execution.chunking import Chunks
from pyrovae.execution.enumerated import sum_over_discrete
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["CostTimer", "Sampler"]

# The numbers of samples are set by hand: small next to those of a typical estimate.
_PILOT_SAMPLES = 128  # importance samples of each datum from the guide in the pilot
_PILOT_PRIOR_SAMPLES = 32  # samples of each datum from the prior in the pilot
_FIRST_SAMPLES = 128  # initial number of importance samples in each datum's estimate
_PRIOR_CHAIN_TEMPERATURES = 50  # temperatures of the check by chains from the prior that each annealed datum gets
_PRIOR_SHARE = 1 / 8  # share of importance samples from the prior, for modes that the guide misses
_WEIGHTS_IN_MEMORY = 2**20  # largest number of log weights per batch


class CostTimer:
    """Timer of decoder runs, with and without gradients.

    Attributes:
        seconds_before: time of earlier samplers, in seconds.
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
    def timing(self, kind: str, num_evaluations: float) -> Iterator[None]:
        """Measure the time of a number of decoder runs."""
        before = self.seconds
        yield
        self._seconds[kind] += self.seconds - before
        self._spent[kind] += num_evaluations

    def seconds_per_run(self, kind: str) -> float:
        """Predict the seconds per decoder run; one with a gradient is assumed to take three times as long."""
        if self._spent[kind] > 0:
            return self._seconds[kind] / self._spent[kind]
        other, factor = ("importance", 3.0) if kind == "annealed" else ("annealed", 1 / 3)
        return factor * self._seconds[other] / self._spent[other] if self._spent[other] > 0 else 0.0

    def affordable(self, deadline: float) -> float:
        """Predict how many decoder runs with gradients are possible until ``deadline``, in seconds."""
        each = self.seconds_per_run("annealed")
        return max(0.0, deadline - self.seconds) / each if each > 0 else math.inf


class Sampler:
    """Sampler of the weights of N data; each batch has its own seed.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: arguments of the programs, N data.
        seed: seed of the samples, combined with the number of the round and of the batch within it.
        num_draws: number S of posterior draws to keep of each datum.
        chunks: number of latents to run the model on at a time.

    Attributes:
        statistics: statistics of the weights so far.
        rounds: number of rounds, including those of earlier samplers.
        timer: time that this sampler took.
        streams: lower 32 bits of the seeds of all batches so far.
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
        self.timer = CostTimer()
        self.streams: set[int] = set()
        self._num_values: int | None = None
        self._annealed_sites: list[str] = []
        self._batch = 0

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state.

        Raises:
            ValueError: if the state belongs to other data, another seed or another number of draws.
        """
        missing = [name for name in ("rounds", "seconds", "seed") if name not in state]
        if missing:
            raise checks.InputError(f"state must be that of an earlier call, but {missing[0]} is missing")
        statistics = RunningStatistics.from_tensors(state)
        stored = len(statistics.num_samples), int(state["seed"]), statistics.log_likelihood.shape[1]
        given = len(self.arguments[0]), self.seed, self.num_draws
        for name, of, was, is_now in zip(("x", "seed", "num_draws"), ("data", "", ""), stored, given, strict=True):
            if was != is_now:
                raise checks.InputError(f"{name} must be that of the state, {f'{was} {of}'.strip()}, but is {is_now}")
        self.statistics = statistics
        self.rounds = int(state["rounds"])
        self.timer.seconds_before = float(state["seconds"])
        self.streams = set(state["streams"].tolist()) if "streams" in state else set()

    def start(self) -> None:
        """Draw the pilot of all data, and the first importance samples of their estimates."""
        with self._round():
            batches = torch.arange(len(self.arguments[0])).split(min(50, self.chunks.size))
            for index in batches:
                with self.timer.timing("importance", (_PILOT_SAMPLES + _PILOT_PRIOR_SAMPLES) * len(index)):
                    self.chunks.in_parts(
                        self._pilot, (index,), lambda size: self._data_per_batch(size, 0, _PILOT_SAMPLES)
                    )
            bias = predict_first(self.statistics, _FIRST_SAMPLES)
            for index in batches:
                with self.timer.timing("importance", _FIRST_SAMPLES * len(index)):
                    equal = self.statistics.pilot_k[index].isnan()
                    for some in (index[equal], index[~equal]):
                        if len(some):
                            self._draw(some, 0, False, _FIRST_SAMPLES, bias[some])

    def run(self, allocation: Allocation, deadline: float) -> bool:
        """Draw an allocation until ``deadline``, in seconds of the timer; return whether all of it was drawn."""
        now = self.statistics
        before = now.num_temperatures[allocation.data], now.from_prior[allocation.data]
        columns = allocation.num_temperatures, allocation.from_prior, allocation.num_samples, *before
        kinds = torch.stack([column.long() for column in columns])
        with self._round():
            for kind in kinds.unique(dim=1).T:
                T, from_prior, k, _, _ = kind.tolist()
                member = (kinds == kind[:, None]).all(0)
                rows = self._data_per_batch(self._size(T), T, k)
                drawn = allocation.data, allocation.cost, allocation.bias
                for index, cost, bias in zip(*(part[member].split(rows) for part in drawn), strict=True):
                    name = "annealed" if T else "importance"
                    if self.timer.seconds + float(cost.sum()) * self.timer.seconds_per_run(name) > deadline:
                        return False
                    with self.timer.timing(name, float(cost.sum())):
                        self._draw(index, T, bool(from_prior), k, bias)
        return True

    def _draw(self, index: Tensor, num_temperatures: int, from_prior: bool, k: int, bias: Tensor) -> None:
        def draw(some: Tensor, bias: Tensor) -> None:
            if num_temperatures:
                self._by_annealing(some, num_temperatures, from_prior, k, bias)
            else:
                self._by_importance(some, k, bias)

        self.chunks.in_parts(
            draw, (index, bias), lambda _: self._data_per_batch(self._size(num_temperatures), num_temperatures, k)
        )

    def _size(self, num_temperatures: int) -> int:
        """Return the number of latents at a time, of importance samples or of chains, which run on all values."""
        return max(1, self.chunks.size // self.num_values) if num_temperatures else self.chunks.size

    @staticmethod
    def _data_per_batch(chunk_size: int, num_temperatures: int, k: int) -> int:
        """Return the number of data per batch to draw k weights of each."""
        return max(1, min(256, chunk_size // k) if num_temperatures else min(50, chunk_size, _WEIGHTS_IN_MEMORY // k))

    @property
    def annealable(self) -> bool:
        """True if the latents can be annealed: continuous ones, and discrete ones that can be summed over."""
        return self.num_values > 0

    @property
    def is_exact(self) -> bool:
        """True if all latents are discrete, and can be summed over."""
        return self.annealable and not self._annealed_sites

    @property
    def num_values(self) -> int:
        """Number of joint values of discrete latents on which annealed chains run; 0 if chains are impossible."""
        if self._num_values is None:
            try:
                with forked_rng(self.arguments[0].device):
                    programs = sum_over_discrete(self._programs(tuple(part[:2] for part in self.arguments)))
                    AnnealingTarget(programs)
                self._num_values, self._annealed_sites = programs.num_values, programs.sites
            except checks.InputError:
                self._num_values = 0
        return self._num_values

    @contextmanager
    def _round(self) -> Iterator[None]:
        self._batch = 0
        with forked_rng(self.arguments[0].device):
            yield
        self.rounds += 1

    def _seeded_batch(self, index: Tensor) -> Arguments:
        """Return some of the data, and set the seed of their samples."""
        words = np.random.SeedSequence((self.seed, self.rounds, self._batch)).generate_state(64, np.uint64)
        # Torch's generator of a CPU uses the lower 32 bits, which must be different for each batch.
        seed = next(word for word in words.tolist() if word % 2**32 not in self.streams)
        self.streams.add(seed % 2**32)
        torch.manual_seed(seed)
        self._batch += 1
        return tuple(part[index.to(part.device)] for part in self.arguments)

    def _programs(self, arguments: Arguments) -> BatchedPrograms:
        return BatchedPrograms(self.model, self.guide, arguments)

    def _pilot(self, index: Tensor) -> None:
        """Draw importance samples that are not part of an estimate."""
        programs = self._programs(self._seeded_batch(index))
        found = []
        with programs.evaluating():
            for num_samples, share in ((_PILOT_SAMPLES, 0.0), (_PILOT_PRIOR_SAMPLES, 1.0)):
                proposal = Proposal(programs, num_samples, prior_share=share)
                found.append(torch.cat([chunk.log_weight for chunk in sample_in_chunks(proposal, self.chunks.size)]))
        weights, from_prior = found
        self.statistics.add_pilot(index, weights, from_prior, rounding_error(weights, from_prior.dtype))
        self.statistics.num_evaluations[index] += _PILOT_SAMPLES + _PILOT_PRIOR_SAMPLES

    def _by_importance(self, index: Tensor, num_samples: int, bias: Tensor) -> None:
        equal = bool(
            self.statistics.pilot_k[index].isnan().all()
        )  # equal weights, among which samples from the prior would only add noise
        share = 0.0 if equal else _PRIOR_SHARE
        programs = self._programs(self._seeded_batch(index))
        proposal = Proposal(programs, num_samples, prior_share=share)
        reservoir = Reservoir(self.num_draws)
        log_weights = []
        with programs.evaluating():
            for chunk in sample_in_chunks(proposal, self.chunks.size):
                reservoir.add(chunk.log_weight, chunk)
                log_weights.append(chunk.log_weight.double())
        weights = torch.cat(log_weights)
        self.statistics.add(index, weights, reservoir, rounding_error(weights, chunk.log_likelihood.dtype), bias)
        self.statistics.num_evaluations[index] += num_samples

    def _anneal_from_prior(self, programs: BatchedPrograms, index: Tensor) -> int:
        """Estimate log p(x) of some data by chains from the prior, to find modes that the guide misses."""
        target = AnnealingTarget(programs, "prior")
        with target.running():
            _, weights, spent = tune_step_sizes(
                target, AnnealingPath(num_temperatures=_PRIOR_CHAIN_TEMPERATURES, start="prior"), TUNING_CHAINS
            )
        self.statistics.add_prior_chains(index, weights)
        return spent

    def _by_annealing(
        self, index: Tensor, num_temperatures: int, from_prior: bool, num_chains: int, bias: Tensor
    ) -> None:
        start: Literal["guide", "prior"] = "prior" if from_prior else "guide"
        target = AnnealingTarget(sum_over_discrete(self._programs(self._seeded_batch(index))), start)
        path = AnnealingPath(num_temperatures=num_temperatures, start=start)
        reservoir, now = Reservoir(self.num_draws), self.statistics
        chunks, spent = [], 0
        with target.running():
            other = (now.num_temperatures[index] != num_temperatures) | (now.from_prior[index] != from_prior)
            fresh = bool(other.any())  # chains with another T or start belong to a new estimate
            if bool(now.step_sizes[0, index].isnan().any()) or (from_prior and fresh):
                grid = AnnealingPath(num_temperatures=NUM_TUNED + 1, start=start)
                steps, weights, spent = tune_step_sizes(target, grid, TUNING_CHAINS)
                now.step_sizes[:, index] = steps.to(now.step_sizes)
                if not from_prior:
                    now.chain_variance[index] = weights.var(0).cpu()
                    spent += self._anneal_from_prior(target.programs, index)
            steps = _interpolate_step_sizes(now.step_sizes[:, index], num_temperatures).to(self.arguments[0].device)
            if fresh:
                now.restart(index, num_temperatures, from_prior)
            for part in torch.empty(num_chains).split(max(1, self._size(num_temperatures) // len(index))):
                chains = anneal(target, path, steps, target.draw(len(part)))
                point = target.evaluate(chains.end)
                reservoir.add(chains.log_weight, Chunk(point.log_weight, point.log_likelihood, point.latents))
                chunks.append(chains)
            reservoir.draws, reservoir.log_likelihood = target.programs.add_discrete(
                reservoir.draws, reservoir.log_likelihood, self._size(num_temperatures)
            )
        weights = torch.cat([chains.log_weight for chains in chunks])
        acceptance = torch.cat([chains.acceptance.double().mean(0).expand_as(chains.log_weight) for chains in chunks])
        rounding = rounding_error(weights, point.log_likelihood.dtype)
        now.add(index, weights, reservoir, rounding, bias, acceptance.mean(0))
        now.num_evaluations[index] += spent + sum(chains.num_evaluations for chains in chunks)


def _interpolate_step_sizes(step_sizes: Tensor, num_temperatures: int) -> Tensor:
    """Interpolate step sizes, ``(G, B)``, at the beta of T temperatures, ``(T - 1, B)``."""
    last = len(step_sizes) - 1
    place = torch.arange(1, num_temperatures) / num_temperatures * (last + 2) - 1
    place = place.clamp(0, last)
    low = place.floor().long()
    return torch.lerp(step_sizes[low], step_sizes[(low + 1).clamp(max=last)], (place - low)[:, None])
