"""Chains of annealed importance sampling, from the guide or the prior to the posterior, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget

__all__ = ["AnnealedRun", "AnnealingPath", "anneal", "tune"]


@dataclass(frozen=True)
class AnnealingPath:
    r"""The path of an annealing, :math:`r(u)\, w(u)^\beta` with :math:`\beta` from 0 to 1.

    Args:
        num_temperatures: number T of steps of :math:`\beta`, between which the chains move T - 1 times.
        num_leapfrogs: leapfrog steps in a move, each of which takes one gradient.
        start: ``guide``, where beta is evenly spaced, or ``prior``, where it is denser at both ends.
        target_acceptance: mean acceptance that the step sizes are tuned to.

    Raises:
        ValueError: if one is out of its range.

    Example:
        >>> AnnealingPath(num_temperatures=4).betas()
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """

    num_temperatures: int = 100
    num_leapfrogs: int = 2
    start: Literal["guide", "prior"] = "guide"
    target_acceptance: float = 0.8

    def __post_init__(self) -> None:
        checks.integer("num_temperatures", self.num_temperatures)
        checks.integer("num_leapfrogs", self.num_leapfrogs)
        checks.choice("start", self.start, ("guide", "prior"))
        if not 0 < checks.number("target_acceptance", self.target_acceptance) < 1:
            raise checks.InputError(
                f"target_acceptance must be between 0 and 1, but {self.target_acceptance} was given"
            )

    def betas(self) -> Tensor:
        """Return the inverse temperatures, float64 of shape ``(T + 1,)``."""
        even = torch.linspace(0, 1, self.num_temperatures + 1, dtype=torch.float64)
        if self.start == "guide":
            return even
        curve = (8 * even - 4).sigmoid()
        return (curve - curve[0]) / (curve[-1] - curve[0])


class AnnealedRun(NamedTuple):
    """The weights, paths and last states of C chains of B data.

    Attributes:
        log_weight: log weights, whose mean weight is p(x); of chains that went back, 1 / p(x) is that of the
            reciprocals. float64, ``(C, B)``, in nats.
        path: mean over the chains of log w before each step of beta, ``(T, B)``, in nats.
        acceptance: mean acceptance probability of each move, ``(T - 1, B)``.
        end: coordinates of the chains' last states, ``(C, B, n)``.
        start: log w of their first ones, ``(C, B)``, in nats.
        num_evaluations: gradients taken for each datum.
    """

    log_weight: Tensor
    path: Tensor
    acceptance: Tensor
    end: Tensor
    start: Tensor
    num_evaluations: int


def tune(target: AnnealingTarget, path: AnnealingPath, num_chains: int = 4) -> tuple[Tensor, Tensor, int]:
    """Find the step sizes of each temperature and datum, on chains that are part of no estimate.

    Args:
        target: the posterior that is annealed to.
        path: of the annealing.
        num_chains: chains of each datum, whose mean acceptance is followed.

    Returns:
        step sizes in units of the start's scale, ``(T - 1, B)``, the chains' log weights in nats, ``(C, B)``, and the
        number of gradients taken for each datum.
    """
    chains = _Chains(target, target.draw(num_chains), path.num_leapfrogs)
    count = target.programs.count
    step = torch.full((count,), target.num_coordinates**-0.25, dtype=chains.u.dtype, device=chains.u.device)
    betas = path.betas()
    log_weight = betas[1].item() * chains.log_weight.double()  # (C, B)
    steps = []
    for t, beta in enumerate(betas[1:-1].tolist()):
        steps.append(step)
        # In proportion to what is missing, so that it does not run ahead; in larger steps at the beginning.
        rate = 0.4 + 0.6 * 0.8**t
        step = step * (rate * (chains.move(beta, step) - path.target_acceptance)).exp()
        log_weight += (betas[t + 2] - betas[t + 1]).item() * chains.log_weight.double()
    return torch.stack(steps) if steps else step.new_empty(0, count), log_weight, chains.num_evaluations


def anneal(
    target: AnnealingTarget, path: AnnealingPath, steps: Tensor, u: Tensor, *, back: bool = False
) -> AnnealedRun:
    r"""Let chains follow the path with step sizes that do not depend on them.

    Forward, the weights :math:`\prod_t w(u_t)^{\beta_{t+1} - \beta_t}` have the mean p(x) (Neal, 2001; Wu et al.,
    2016, arXiv:1611.04273). Back from an exact sample of the posterior, their reciprocals have the mean 1 / p(x)
    (Grosse et al., 2015, arXiv:1511.02543).

    Args:
        target: the posterior that is annealed to.
        path: of inverse temperatures.
        steps: step sizes of :func:`tune`, ``(T - 1, B)``.
        u: where the chains begin, ``(C, B, n)``: samples of the start, or of the posterior.
        back: whether they go from the posterior to the start.
    """
    betas = path.betas()
    chains = _Chains(target, u, path.num_leapfrogs)
    total = torch.zeros(chains.log_weight.shape, dtype=torch.float64, device=u.device)  # (C, B)
    start, moments, acceptance = chains.log_weight, [], []
    order = list(range(len(betas) - 1))
    for t in reversed(order) if back else order:
        moments.append(chains.log_weight.double().mean(0))
        total += (betas[t + 1] - betas[t]).item() * chains.log_weight.double()
        move = t - 1 if back else t
        if 0 <= move < len(steps):
            acceptance.append(chains.move(betas[move + 1].item(), steps[move]))
    if back:
        moments.reverse()
        acceptance.reverse()
    return AnnealedRun(
        log_weight=total,
        path=torch.stack(moments),
        acceptance=torch.stack(acceptance) if acceptance else steps,
        end=chains.u,
        start=start,
        num_evaluations=chains.num_evaluations,
    )


class _Chains:
    """Move chains by Hamiltonian Monte Carlo with a standard normal momentum (Duane et al., 1987)."""

    def __init__(self, target: AnnealingTarget, u: Tensor, num_leapfrogs: int) -> None:
        self.target = target
        self.num_leapfrogs = num_leapfrogs
        self.num_evaluations = 0
        self.u = u
        self.log_weight, self.log_start, self.of_weight, self.of_start = self._at(u)

    def move(self, beta: float, step: Tensor) -> Tensor:
        """Move all chains at one temperature; return their mean acceptance, ``(B,)``."""
        step = step[:, None]  # (B, 1)
        momentum = torch.randn_like(self.u)
        energy = self._energy(self.log_weight, self.log_start, beta, momentum)
        u, force = self.u, self.of_start + beta * self.of_weight
        finite = torch.ones_like(energy, dtype=torch.bool)
        for _ in range(self.num_leapfrogs):
            momentum = momentum + 0.5 * step * force
            u = u + step * momentum
            # A chain that diverges stays where it is, before the programs see what they cannot bear.
            finite = finite & u.isfinite().all(-1)
            u = torch.where(finite.unsqueeze(-1), u, self.u)
            log_weight, log_start, of_weight, of_start = self._at(u)
            force = of_start + beta * of_weight
            momentum = momentum + 0.5 * step * force
        # A state without a density is never accepted.
        gain = energy - self._energy(log_weight, log_start, beta, momentum)
        probability = torch.where(finite, gain.exp().clamp(max=1).nan_to_num(0.0), 0.0)  # (C, B)
        accepted = torch.rand_like(probability) < probability
        here = accepted.unsqueeze(-1)
        self.u = torch.where(here, u, self.u)
        self.of_weight = torch.where(here, of_weight, self.of_weight)
        self.of_start = torch.where(here, of_start, self.of_start)
        self.log_weight = torch.where(accepted, log_weight, self.log_weight)
        self.log_start = torch.where(accepted, log_start, self.log_start)
        return probability.mean(0)

    def _at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.num_evaluations += len(u)
        point, of_weight, of_start = self.target.gradients(u)
        return point.log_weight, point.log_start, of_weight, of_start

    @staticmethod
    def _energy(log_weight: Tensor, log_start: Tensor, beta: float, momentum: Tensor) -> Tensor:
        return 0.5 * momentum.square().sum(-1) - log_start - beta * log_weight
