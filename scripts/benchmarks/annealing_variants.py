"""Variants of annealed importance sampling: each is unbiased, because all choices are made on other chains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyrovae import Annealed
from pyrovae.evaluation.elbo.inference_gap import _AffineMap
from pyrovae.evaluation.likelihood.annealed_chains import AnnealingPath, _Chains
from pyrovae.evaluation.likelihood.annealing_target import AffineMap, AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms

__all__ = ["Variant"]

_TUNED_CHAINS = 4
_COARSE = 25  # temperatures of coarse tuning
_BINS = 8  # parts of the path in which the variance of log w is estimated
_ADAM_SAMPLES = 8


@dataclass(frozen=True)
class Variant:
    """Options of annealing; the number of temperatures follows from the decoder runs for each datum.

    Attributes:
        num_rounds: rounds of refinement by regression, as of ``Annealed``.
        keep_guide: whether half of the chains start at the guide as it was, as of ``Annealed``.
        adam_steps: steps of refinement by Adam on the ELBO, as of ``diagnose``, of mean and scale.
        num_chains: chains for each datum.
        num_leapfrogs: leapfrog steps per move.
        coarse: whether step sizes are tuned at 25 temperatures and interpolated.
        spaced: whether temperatures are spaced by the standard deviation of log w along the tuning chains.
        resampled: whether the chains of a datum are resampled if their effective size is below half of them.
        start: distribution from which the chains start.
    """

    num_rounds: int = 0
    keep_guide: bool = False
    adam_steps: int = 0
    num_chains: int = 16
    num_leapfrogs: int = 2
    coarse: bool = False
    spaced: bool = False
    resampled: bool = False
    start: Literal["guide", "prior"] = "guide"

    def log_prob(self, programs: BatchedPrograms, budget: int) -> tuple[Tensor, float]:
        """Return estimates of log p(x), ``(B,)`` in nats, by about ``budget`` decoder runs each, and these runs."""
        target, spent = self._begin(programs)
        C, L, tuned = self.num_chains, self.num_leapfrogs, min(self.num_chains, _TUNED_CHAINS)
        if self.coarse:
            T = round(((budget - spent - tuned * ((_COARSE - 1) * L + 1)) / C - 1) / L + 1)
        else:
            T = round(((budget - spent) / (C + tuned) - 1) / L + 1)
        with target.running():
            grid = AnnealingPath(_COARSE if self.coarse else T, L, self.start).betas()
            grid = grid[:, None].expand(-1, programs.count)  # (G + 1, B)
            steps, log_weight, runs = _tune(target, grid, tuned, L)
            betas = AnnealingPath(T, L, self.start).betas()[:, None].expand(-1, programs.count)
            betas = _spaced(grid, log_weight, T) if self.spaced else betas
            total, more = self._run(target, betas, _interpolated(grid[1:-1], steps, betas[1:-1]))
        return total.logsumexp(0) - math.log(C), spent + runs + more

    def _begin(self, programs: BatchedPrograms) -> tuple[AnnealingTarget, int]:
        if self.num_rounds:
            refined = Annealed(refinement_rounds=self.num_rounds, keep_guide=self.keep_guide)
            start = refined.begin(programs, 2000)
            return start.target, start.num_evaluations
        target = AnnealingTarget(programs, self.start)
        if not self.adam_steps:
            return target, 0
        with target.running():
            affine = _AffineMap(target.draw(1)[0], False)
            optimizer = torch.optim.Adam(affine.groups(), eps=0.03)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.adam_steps)
            for _ in range(self.adam_steps):
                affine.set_gradients(target, target.draw(_ADAM_SAMPLES))
                optimizer.step()
                scheduler.step()
        factor = torch.diag_embed(affine.log_scale.exp())
        return target.mapped(AffineMap(affine.shift, factor, affine.log_volume)), self.adam_steps * _ADAM_SAMPLES

    def _run(self, target: AnnealingTarget, betas: Tensor, steps: Tensor) -> tuple[Tensor, int]:
        """Run the chains; return log weights, ``(C, B)``, whose mean is p(x), and the number of decoder runs."""
        chains = _Chains(target, target.draw(self.num_chains), self.num_leapfrogs)
        total = torch.zeros_like(chains.log_weight, dtype=torch.float64)
        for t, rise in enumerate(betas.diff(dim=0)):
            total += rise * chains.log_weight.double()
            if t < len(steps):
                if self.resampled:
                    total = _resample(chains, total)
                chains.move(betas[t + 1], steps[t])
        return total, chains.num_evaluations


def _tune(target: AnnealingTarget, betas: Tensor, num_chains: int, num_leapfrogs: int) -> tuple[Tensor, Tensor, int]:
    """Return step sizes, ``(G - 1, B)``, log w along the path, ``(G, C, B)``, and the number of decoder runs."""
    chains = _Chains(target, target.draw(num_chains), num_leapfrogs)
    step = torch.full_like(chains.log_weight[0], target.num_coordinates**-0.25)
    steps, log_weight = [], [chains.log_weight.double()]
    for t, beta in enumerate(betas[1:-1]):
        steps.append(step)
        step = step * ((0.4 + 0.6 * 0.8**t) * (chains.move(beta, step) - 0.8)).exp()
        log_weight.append(chains.log_weight.double())
    return torch.stack(steps), torch.stack(log_weight), chains.num_evaluations


def _spaced(betas: Tensor, log_weight: Tensor, T: int) -> Tensor:
    """Space T temperatures half evenly, half by the standard deviation of log w in parts of the path."""
    parts = [part - part.mean((0, 1)) for part in log_weight.tensor_split(_BINS)]
    deviation = torch.stack([part.square().mean((0, 1)).sqrt() for part in parts]).clamp(min=1e-6)  # (bins, B)
    edges = torch.stack([part[0] for part in betas[:-1].tensor_split(_BINS)] + [betas[-1]])
    density = 0.5 + 0.5 * deviation / (deviation * edges.diff(dim=0)).sum(0)
    cumulative = torch.cat([torch.zeros_like(density[:1]), (density * edges.diff(dim=0)).cumsum(0)])
    even = torch.linspace(0, 1, T + 1, dtype=torch.float64)[:, None].expand(-1, betas.shape[1])
    return _interpolated(cumulative / cumulative[-1], edges, even)


def _interpolated(grid: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Interpolate values on a grid linearly, along the first dimension, for each datum."""
    right = torch.searchsorted(grid.T.contiguous(), at.T.contiguous()).T.clamp(1, len(grid) - 1)
    low, high = grid.gather(0, right - 1), grid.gather(0, right)
    share = ((at - low) / (high - low)).clamp(0, 1).to(values)
    return torch.lerp(values.gather(0, right - 1), values.gather(0, right), share)


def _resample(chains: _Chains, total: Tensor) -> Tensor:
    """Resample the chains of data whose effective size is below half of them, systematically; return the weights."""
    C, B = total.shape
    few = (2 * total.logsumexp(0) - (2 * total).logsumexp(0)).exp() < 0.5 * C
    points = (torch.rand(B, 1, dtype=torch.float64) + torch.arange(C)) / C
    chosen = torch.searchsorted(total.softmax(0).cumsum(0).T.contiguous(), points).clamp(max=C - 1).T
    chosen = torch.where(few, chosen, torch.arange(C)[:, None])
    for name in ("u", "log_weight", "log_start", "grad_weight", "grad_start"):
        setattr(chains, name, getattr(chains, name)[chosen, torch.arange(B)])
    return torch.where(few, total.logsumexp(0) - math.log(C), total)
