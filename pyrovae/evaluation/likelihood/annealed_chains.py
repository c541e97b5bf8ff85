"""Chains of annealed importance sampling, from the guide or the prior to the posterior or in reverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.reprs import short_repr

__all__ = ["AnnealedRun", "AnnealingPath", "ChainPaths", "anneal", "tune_step_sizes"]


@dataclass(frozen=True)
class AnnealingPath:
    r"""An annealing path: densities :math:`r(u)\, w(u)^\beta` with :math:`\beta` from 0 to 1.

    Args:
        num_temperatures: number T of steps of :math:`\beta`, with T - 1 moves between them.
        num_leapfrogs: number of leapfrog steps per move, with one gradient each.
        start: ``guide``, with evenly spaced beta, or ``prior``, with a beta that is denser at both ends.
        target_acceptance: mean acceptance to which the step sizes are tuned.

    Raises:
        ValueError: if an option is out of its range.

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
    """Weights, paths and last states of C chains of B data.

    Attributes:
        log_weight: log weights, float64, ``(C, B)``, in nats. The mean of the weights is p(x); for reverse chains, the
            mean of their reciprocals is 1 / p(x).
        path: mean over the chains of log w before each step of beta, ``(T, B)``, in nats.
        acceptance: mean acceptance probability of each move, ``(T - 1, B)``.
        end: coordinates of the last states, ``(C, B, n)``.
        start: log w of the first states, ``(C, B)``, in nats.
        num_evaluations: number of gradients for each datum.
    """

    log_weight: Tensor
    path: Tensor
    acceptance: Tensor
    end: Tensor
    start: Tensor
    num_evaluations: int


@dataclass(frozen=True)
class ChainPaths:
    r"""Paths of the annealed chains of some data, at T temperatures.

    Attributes:
        beta: inverse temperatures from 0 to 1, ``(T + 1,)``.
        log_weight: mean over the chains of log p(x, z) - log q(z|x), with q the start of the path (the guide, the
            refined guide, or the mixture of both), at the first T inverse temperatures, ``(T, B)``, in nats: the
            integrand of thermodynamic integration.
        acceptance: mean acceptance probability of the moves at the inner temperatures, ``(T - 1, B)``.
        step_size: leapfrog step sizes at the inner temperatures, in units of the start's scale, ``(T - 1, B)``.
    """

    beta: Tensor
    log_weight: Tensor
    acceptance: Tensor
    step_size: Tensor

    def __repr__(self) -> str:
        return short_repr(self, num_temperatures=len(self.log_weight), num_data=self.log_weight.shape[1])


def tune_step_sizes(target: AnnealingTarget, path: AnnealingPath, num_chains: int = 4) -> tuple[Tensor, Tensor, int]:
    """Tune the step sizes of each temperature and datum, on chains that are not part of an estimate.

    Args:
        target: posterior at the end of the path.
        path: annealing path.
        num_chains: number C of chains for each datum, whose mean acceptance is used.

    Returns:
        step sizes in units of the start's scale, ``(T - 1, B)``, the chains' log weights in nats, ``(C, B)``, and the
        number of gradients for each datum.
    """
    chains = _Chains(target, target.draw(num_chains), path.num_leapfrogs)
    count = target.programs.count
    step = torch.full((count,), target.num_coordinates**-0.25, dtype=chains.u.dtype, device=chains.u.device)
    betas = path.betas()
    log_weight = betas[1].item() * chains.log_weight.double()  # (C, B)
    steps = []
    for t, beta in enumerate(betas[1:-1]):
        steps.append(step)
        # In proportion to the error of the acceptance, against overshooting; with larger steps at the beginning.
        rate = 0.4 + 0.6 * 0.8**t
        step = step * (rate * (chains.move(beta, step) - path.target_acceptance)).exp()
        log_weight += (betas[t + 2] - betas[t + 1]).item() * chains.log_weight.double()
    return torch.stack(steps) if steps else step.new_empty(0, count), log_weight, chains.num_evaluations


def anneal(
    target: AnnealingTarget, path: AnnealingPath, steps: Tensor, u: Tensor, *, reverse: bool = False
) -> AnnealedRun:
    r"""Run chains along the path, with step sizes that do not depend on them.

    Forward, the weights :math:`\prod_t w(u_t)^{\beta_{t+1} - \beta_t}` have the mean p(x) (Neal, 2001; Wu et al.,
    2016, arXiv:1611.04273). In reverse, from an exact sample of the posterior, their reciprocals have the mean 1 / p(x)
    (Grosse et al., 2015, arXiv:1511.02543).

    Args:
        target: posterior at the end of the path.
        path: annealing path.
        steps: step sizes from :func:`tune_step_sizes`, ``(T - 1, B)``.
        u: initial coordinates of the chains, ``(C, B, n)``: samples of the start, or of the posterior.
        reverse: True if the chains run from the posterior to the start.
    """
    betas = path.betas()
    chains = _Chains(target, u, path.num_leapfrogs)
    total = torch.zeros(chains.log_weight.shape, dtype=torch.float64, device=u.device)  # (C, B)
    start, moments, acceptance = chains.log_weight, [], []
    order = list(range(len(betas) - 1))
    for t in reversed(order) if reverse else order:
        moments.append(chains.log_weight.double().mean(0))
        total += (betas[t + 1] - betas[t]).item() * chains.log_weight.double()
        move = t - 1 if reverse else t
        if 0 <= move < len(steps):
            acceptance.append(chains.move(betas[move + 1], steps[move]))
    if reverse:
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
    """Chains of Hamiltonian Monte Carlo with standard normal momentum (Duane et al., 1987)."""

    def __init__(self, target: AnnealingTarget, u: Tensor, num_leapfrogs: int) -> None:
        self.target = target
        self.num_leapfrogs = num_leapfrogs
        self.num_evaluations = 0
        self.u = u
        self.log_weight, self.log_start, self.grad_weight, self.grad_start = self._at(u)

    def move(self, beta: Tensor, step: Tensor) -> Tensor:
        """Move all chains at an inverse temperature, ``()`` or ``(B,)``; return their mean acceptance, ``(B,)``."""
        beta = beta.to(self.u)
        step, tilt = step[:, None], beta.unsqueeze(-1)
        momentum = torch.randn_like(self.u)
        energy = self._energy(self.log_weight, self.log_start, beta, momentum)
        u, force = self.u, self.grad_start + tilt * self.grad_weight
        finite = torch.ones_like(energy, dtype=torch.bool)
        for _ in range(self.num_leapfrogs):
            momentum = momentum + 0.5 * step * force
            u = u + step * momentum
            # A chain that diverges stays at its place, so that the programs never see infinite latents.
            finite = finite & u.isfinite().all(-1)
            u = torch.where(finite.unsqueeze(-1), u, self.u)
            log_weight, log_start, grad_weight, grad_start = self._at(u)
            force = grad_start + tilt * grad_weight
            momentum = momentum + 0.5 * step * force
        # A state without a density is never accepted.
        gain = energy - self._energy(log_weight, log_start, beta, momentum)
        probability = torch.where(finite, gain.exp().clamp(max=1).nan_to_num(0.0), 0.0)  # (C, B)
        accepted = torch.rand_like(probability) < probability
        here = accepted.unsqueeze(-1)
        self.u = torch.where(here, u, self.u)
        self.grad_weight = torch.where(here, grad_weight, self.grad_weight)
        self.grad_start = torch.where(here, grad_start, self.grad_start)
        self.log_weight = torch.where(accepted, log_weight, self.log_weight)
        self.log_start = torch.where(accepted, log_start, self.log_start)
        return probability.mean(0)

    def _at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.num_evaluations += len(u) * self.target.programs.num_values
        point, grad_weight, grad_start = self.target.gradients(u)
        return point.log_weight, point.log_start, grad_weight, grad_start

    @staticmethod
    def _energy(log_weight: Tensor, log_start: Tensor, beta: Tensor, momentum: Tensor) -> Tensor:
        return 0.5 * momentum.square().sum(-1) - log_start - beta * log_weight
