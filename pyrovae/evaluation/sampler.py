"""Draw what is decided for some data of a set, batch by batch, and follow how long it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.allotment import NUM_TUNED, TUNING_CHAINS, Plan
from pyrovae.evaluation.annealed import Annealing, anneal, tune
from pyrovae.evaluation.chunks import Chunks
from pyrovae.evaluation.coordinates import Target
from pyrovae.evaluation.importance import drawn
from pyrovae.evaluation.pair import Chunk
from pyrovae.evaluation.proposals import Proposal
from pyrovae.evaluation.resampling import Resampler
from pyrovae.evaluation.tally import Tally
from pyrovae.evaluation.tracing import evaluating
from pyrovae.handlers import Arguments, Program, forked_rng

__all__ = ["Clock", "Sampler"]

_FIRST = 256  # importance samples of each datum, to begin with
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
        tally: the running figures.
        rounds: how many rounds were run, by earlier samplers too.
        clock: how long this sampler took.
    """

    def __init__(
        self, model: Program, guide: Program, arguments: Arguments, seed: int, num_draws: int, chunks: Chunks
    ) -> None:
        self.model = model
        self.guide = guide
        self.arguments = arguments
        self.seed = seed
        self.num_draws = num_draws
        self.chunks = chunks
        self.tally = Tally.empty(len(arguments[0]), num_draws, NUM_TUNED)
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
        tally = Tally.of(state)
        held = len(tally.num_samples), int(state["seed"]), tally.log_likelihood.shape[1]
        given = len(self.arguments[0]), self.seed, self.num_draws
        for name, of, was, is_now in zip(("x", "seed", "num_draws"), ("data", "", ""), held, given, strict=True):
            if was != is_now:
                raise checks.InputError(f"{name} must be that of the state, {f'{was} {of}'.strip()}, but is {is_now}")
        self.tally = tally
        self.rounds = int(state["rounds"])
        self.clock.seconds_before = float(state["seconds"])

    def begin(self) -> None:
        """Draw the first importance samples of all data."""
        with self._round():
            for index in torch.arange(len(self.arguments[0])).split(min(50, self.chunks.size)):
                with self.clock.measuring("importance", _FIRST * len(index)):
                    self._draw(index, 0, _FIRST)

    def run(self, plan: Plan, ends: float) -> bool:
        """Draw what is planned, until the clock shows ``ends``; return whether all was drawn."""
        kinds = torch.stack([plan.num_temperatures, plan.num_samples, self.tally.num_temperatures[plan.data]])
        with self._round():
            for kind in kinds.unique(dim=1).T:
                T, k, _ = kind.tolist()
                member = (kinds == kind[:, None]).all(0)
                rows = self._at_a_time(self.chunks.size, T, k)
                for index, cost in zip(*(part[member].split(rows) for part in (plan.data, plan.cost)), strict=True):
                    name = "annealed" if T else "importance"
                    if self.clock.seconds + float(cost.sum()) * self.clock.each(name) > ends:
                        return False
                    with self.clock.measuring(name, float(cost.sum())):
                        self._draw(index, T, k)
        return True

    def _draw(self, index: Tensor, num_temperatures: int, k: int) -> None:
        def draw(some: Tensor) -> None:
            if num_temperatures:
                self._by_annealing(some, num_temperatures, k)
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
                    Target(self.model, self.guide, tuple(part[:2] for part in self.arguments))
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

    def _by_importance(self, index: Tensor, num_samples: int) -> None:
        proposal = Proposal(self.model, self.guide, self._part(index), num_samples)
        held = Resampler(self.num_draws)
        log_weights = []
        with evaluating(self.model, self.guide):
            for chunk in drawn(proposal, self.chunks.size):
                held.add(chunk.log_weight, chunk)
                log_weights.append(chunk.log_weight.double())
        self.tally.add(index, torch.cat(log_weights), held)
        self.tally.num_evaluations[index] += num_samples

    def _by_annealing(self, index: Tensor, num_temperatures: int, num_chains: int) -> None:
        target = Target(self.model, self.guide, self._part(index))
        path = Annealing(num_temperatures=num_temperatures)
        held = Resampler(self.num_draws)
        with target.running():
            if bool(self.tally.step_sizes[0, index].isnan().any()):
                steps, spent = tune(target, Annealing(num_temperatures=NUM_TUNED + 1), TUNING_CHAINS)
                self.tally.step_sizes[:, index] = steps.to(self.tally.step_sizes)
                self.tally.num_evaluations[index] += spent
            steps = _between(self.tally.step_sizes[:, index], num_temperatures).to(self.arguments[0].device)
            if bool((self.tally.num_temperatures[index] != num_temperatures).any()):
                self.tally.forget(index, num_temperatures)
            for part in torch.empty(num_chains).split(max(1, self.chunks.size // len(index))):
                chains = anneal(target, path, steps, target.draw(len(part)))
                point = target.at(chains.end)
                held = Resampler(self.num_draws)
                held.add(chains.log_weight, Chunk(point.log_weight, point.log_likelihood, point.latents))
                self.tally.add(index, chains.log_weight, held, chains.acceptance.double().mean(0))
                self.tally.num_evaluations[index] += chains.num_evaluations


def _between(step_sizes: Tensor, num_temperatures: int) -> Tensor:
    """Interpolate step sizes, ``(G, B)``, at the beta of T temperatures, ``(T - 1, B)``."""
    last = len(step_sizes) - 1
    place = torch.arange(1, num_temperatures) / num_temperatures * (last + 2) - 1
    place = place.clamp(0, last)
    low = place.floor().long()
    return torch.lerp(step_sizes[low], step_sizes[(low + 1).clamp(max=last)], (place - low)[:, None])
