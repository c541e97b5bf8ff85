"""``ThermodynamicIntegral``, log p(x) from the mean log weights along the paths of annealed chains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrovae.reprs import json_number, short_repr

__all__ = ["ThermodynamicIntegral", "integrate_chains", "thermodynamic_integral"]

_NUM_ERRORS = 3.0  # standard errors of a significant disagreement
_TOLERANCE = 0.3  # nats; smaller differences were found where the weights were right to 0.03 nats


@dataclass(frozen=True)
class ThermodynamicIntegral:
    r"""Estimates of log p(x) by thermodynamic integration of annealed chains, in nats; ``(B,)`` each.

    .. math:: \log p(x) = \int_0^1 \mathrm{E}_{\pi_\beta}[\log w]\,d\beta, \qquad \pi_\beta \propto r\,w^\beta

    The mean of the chains of annealed importance sampling at each :math:`\beta` is in the place of the expectation
    (Gelman & Meng, 1998). It is no bound, and it needs chains that follow their densities, which the weights do not. If
    chains lag behind, both are too small, this one by more.

    Attributes:
        log_prob: the integral by the rule of trapezoids.
        standard_error: its standard error over the chains.
        discretization: estimated error of the rule, from the integral over every other temperature; NaN for fewer than
            four temperatures.
        difference: log p(x) by the weights of the same chains, minus ``log_prob``.
    """

    log_prob: Tensor
    standard_error: Tensor
    discretization: Tensor
    difference: Tensor

    def __repr__(self) -> str:
        return short_repr(self, nll=self.nll, mean_difference=self.mean_difference, disagrees=self.disagrees)

    @property
    def nll(self) -> float:
        """Mean of -log p(x), in nats per datum."""
        return -self.log_prob.mean().item()

    @property
    def mean_difference(self) -> float:
        """Mean of ``difference``, in nats per datum: positive if the weights find more."""
        return self.difference.mean().item()

    @property
    def allowance(self) -> float:
        """Largest mean difference by chance, discretization and a harmless lag, in nats per datum; NaN if unknown."""
        count = len(self.difference)
        error = self.difference.std().item() / math.sqrt(count) if count > 1 else self.standard_error.sum().item()
        return _NUM_ERRORS * error + self.discretization.mean().abs().item() + _TOLERANCE

    @property
    def disagrees(self) -> bool:
        """True if the integral and the weights differ by more than their errors allow."""
        return abs(self.mean_difference) > self.allowance

    @property
    def sentence(self) -> str:
        """A sentence that judges the chains by the comparison."""
        apart = f"{abs(self.mean_difference):.2g} nats {'above' if self.mean_difference > 0 else 'below'}"
        start = f"Thermodynamic integration of the same chains gives an NLL {apart} the estimate"
        if math.isnan(self.allowance):
            return f"{start}; the temperatures are too few to know its errors."
        if not self.disagrees:
            return f"{start}, which is within its errors."
        return (
            f"{start}, more than its errors allow: the chains do not follow their densities. Their weights correct for "
            "it, but perhaps not for all of it, which more temperatures would show."
        )

    def summary(self) -> dict[str, Any]:
        """Return the results of the set, in nats per datum, as plain numbers; None for unknown values."""
        return {
            "nll": json_number(self.nll),
            "difference": json_number(self.mean_difference),
            "allowance": json_number(self.allowance),
            "disagrees": self.disagrees,
            "sentence": self.sentence,
        }


def thermodynamic_integral(beta: Tensor, log_weight: Tensor) -> Tensor:
    r"""Integrate mean log weights over the inverse temperature by trapezoids, ``(*)``, in nats.

    The chains are not moved at :math:`\beta = 1`: the last two means are extrapolated to it linearly.

    Args:
        beta: inverse temperatures from 0 to 1, ``(T + 1,)``.
        log_weight: mean log w at the first T of them, ``(T, *)``, in nats.

    Example:
        >>> beta = torch.tensor([0.0, 0.3, 0.5, 1.0])
        >>> thermodynamic_integral(beta, 4 * beta[:3] - 1)  # the integral of 4 b - 1
        tensor(1.)
    """
    beta = beta.to(log_weight)
    if len(log_weight) == 1:
        return log_weight[0]
    slope = (log_weight[-1] - log_weight[-2]) / (beta[-2] - beta[-3])
    values = torch.cat([log_weight, (log_weight[-1] + slope * (beta[-1] - beta[-2]))[None]])
    return torch.einsum("t,t...->...", beta.diff(), 0.5 * (values[1:] + values[:-1]))


def integrate_chains(beta: Tensor, path: Tensor, log_weights: Tensor, log_prob: Tensor) -> ThermodynamicIntegral:
    """Integrate the paths of annealed chains, and compare the result with their weights.

    Args:
        beta: inverse temperatures, ``(T + 1,)``.
        path: mean over the chains of log w at the first T inverse temperatures, ``(T, B)``, in nats.
        log_weights: log weights of the chains, ``(C, B)``, in nats, whose spread over the chains is that of the
            integral.
        log_prob: log p(x) by the weights, ``(B,)``, in nats.
    """
    integral = thermodynamic_integral(beta, path)
    unknown = torch.full_like(integral, math.nan)
    rough, halved = unknown, None
    if len(path) >= 4 and len(path) % 2 == 0:
        halved = thermodynamic_integral(beta[::2], path[::2])
    elif len(path) >= 5:  # the first interval is left as it is
        whole = torch.tensor([0, *range(1, len(beta), 2)])
        halved = thermodynamic_integral(beta[whole], path[whole[:-1]])
    if halved is not None:
        rough = (integral - halved) / 3  # the rule's error is of second order
    error = log_weights.std(0) / math.sqrt(len(log_weights)) if len(log_weights) > 1 else unknown
    return ThermodynamicIntegral(integral, error, rough, log_prob - integral)
