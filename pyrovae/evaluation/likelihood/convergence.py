"""Convergence of the bound on log p(x) with the number of samples, from the weights of one run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.bias import SMALLEST_SUM, halved_bounds, unseen_tail
from pyrovae.evaluation.likelihood.pareto_fit import tail_size
from pyrovae.reprs import json_number, short_repr
from pyrovae.tensors import as_tensor

__all__ = ["Convergence", "convergence"]

_LARGE = 0.6  # share of a weight, of which there can be one


@dataclass(frozen=True)
class Convergence:
    r"""Convergence curves: the bounds :math:`L_k` of some data for k up to K samples.

    Attributes:
        num_samples: the numbers k: 1, 2, 5, 10, 20, 50, ... and K, ``(J,)`` integers.
        bound: :math:`L_k` of each datum, ``(J, B)``, in nats; increases with k in expectation.
        standard_error: Monte Carlo error of ``bound``, ``(J, B)``, in nats; NaN for one weight.
        jackknife: ``bound`` with its bias corrected to first order, ``(J, B)``, in nats; not a bound. NaN for k = 1,
            and where all weights of a block except one are zero.
        halved: :func:`~pyrovae.evaluation.likelihood.bias.halved_bounds` of all K weights, ``(4, B)``, in nats.
        unseen: :func:`~pyrovae.evaluation.likelihood.bias.unseen_tail` of importance samples, ``(B,)``,
            in nats; zero for chains.
    """

    num_samples: Tensor
    bound: Tensor
    standard_error: Tensor
    jackknife: Tensor
    halved: Tensor
    unseen: Tensor

    def __repr__(self) -> str:
        return short_repr(
            self,
            num_data=self.bound.shape[1],
            num_samples=self.num_samples.tolist(),
            bound=self.bound[-1].mean().item(),
        )

    def table(self) -> list[dict[str, float | int | None]]:
        """Return one row for each k with the means over the set, in nats per datum; None for unknown values."""
        count = self.bound.shape[1]
        columns = {
            "bound": self.bound.mean(1),
            "standard_error": self.standard_error.square().sum(1).sqrt() / count,
            "jackknife": self.jackknife.mean(1),
        }
        return [
            {"num_samples": int(k)} | {name: json_number(float(column[level])) for name, column in columns.items()}
            for level, k in enumerate(self.num_samples)
        ]


def convergence(log_weights: Tensor, pareto_k: Tensor | None = None) -> Convergence:
    r"""Compute the bounds for fewer samples from the K weights of one run.

    For k samples the weights are divided into :math:`M = \lfloor K / k \rfloor` blocks, and the result is the mean of

    .. math:: L_k = \log \frac1k \sum_{j=1}^k w_j \qquad J_k = k L_k - \frac{k - 1}{k} \sum_{j=1}^k L_{k-1}^{(-j)}

    over the blocks, where :math:`L_{k-1}^{(-j)}` leaves out one weight. In expectation :math:`L_k` is a lower bound
    of log p(x) that increases with k; the jackknife :math:`J_k` has a bias of order :math:`1/k^2` instead of
    :math:`1/k` if the weights have a few moments; it varies more, and can lie on either side of log p(x).

    Args:
        log_weights: log weights in nats, ``(K, B)``.
        pareto_k: tail shape k̂ of importance samples, ``(B,)``, for extrapolating the tail; not extrapolated if None.

    Returns:
        the curve of each datum, float64.

    Raises:
        ValueError: if ``log_weights`` has another shape.

    References:
        Burda, Grosse, Salakhutdinov (2015), arXiv:1509.00519; Nowozin (2018), "Debiasing evidence approximations",
        ICLR.

    Example:
        >>> convergence(torch.tensor([[0.0], [-1.0], [0.0], [-1.0], [0.0]])).num_samples
        tensor([1, 2, 5])
    """
    log_weights = as_tensor("log_weights", log_weights)
    if log_weights.dim() != 2 or 0 in log_weights.shape:
        raise checks.InputError(f"log_weights must have shape (K, B), but have shape {tuple(log_weights.shape)}")
    weights = log_weights.detach().double()
    sizes = _levels(len(weights))
    levels = [_level(weights, size) for size in sizes]
    bound, error, jackknife = (torch.stack(rows) for rows in zip(*levels, strict=True))
    K, unseen = len(weights), torch.zeros_like(weights[0])
    if pareto_k is not None:
        num_samples = torch.full(unseen.shape, K, device=weights.device)
        largest = weights.topk(min(K, int(tail_size(num_samples[:1])) + 1), 0).values
        unseen = unseen_tail(largest, weights.logsumexp(0), num_samples, pareto_k)
    return Convergence(
        num_samples=torch.tensor(sizes, device=weights.device),
        bound=bound,
        standard_error=error,
        jackknife=jackknife,
        halved=halved_bounds(weights),
        unseen=unseen,
    )


def _levels(num_samples: int) -> list[int]:
    round_numbers = (digit * 10**power for power in range(len(str(num_samples))) for digit in (1, 2, 5))
    return sorted({k for k in round_numbers if k < num_samples} | {num_samples})


def _level(log_weights: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the bound for ``size`` samples, its error and the jackknife, each ``(B,)``."""
    blocks = log_weights[: len(log_weights) // size * size].unflatten(0, (-1, size))  # (M, k, B)
    highest = blocks.amax(1).nan_to_num(0.0, 0.0, 0.0)  # (M, B)
    weights = (blocks - highest[:, None]).exp_()  # once, for all that follows
    total = weights.sum(1)
    log_total, shares = total.log() + highest, weights.div_(total[:, None])
    bounds = log_total - math.log(size)
    jackknife = bounds - _correction(blocks, shares, log_total)
    jackknife = torch.where(jackknife.isfinite(), jackknife, math.nan)
    return bounds.mean(0), _error(shares, bounds), jackknife.mean(0)


def _error(shares: Tensor, bounds: Tensor) -> Tensor:
    """Return the error of the blocks' mean from their spread; for few blocks, at least that of the delta method.

    Args:
        shares: weights of each block, normalised, ``(M, k, B)``.
        bounds: bound of each block, ``(M, B)``.
    """
    num_blocks, size = shares.shape[:2]
    between = bounds.var(0) if num_blocks > 1 else torch.full_like(bounds[0], math.nan)
    if num_blocks < 10:
        within = (size * shares.square().sum(1) - 1).clamp(min=0) / (size - 1)  # NaN for one weight
        between = between.fmax(within.mean(0))
    return (between / num_blocks).sqrt()


def _correction(blocks: Tensor, shares: Tensor, log_total: Tensor) -> Tensor:
    """Return the bound of each block less its jackknife, ``(M, B)``, in one pass over the weights.

    Args:
        blocks: log weights of each block, ``(M, k, B)``.
        shares: its weights, normalised, ``(M, k, B)``.
        log_total: log of the sum of its weights, ``(M, B)``.
    """
    size = shares.shape[1]
    if size == 1:
        return torch.full_like(log_total, math.nan)
    # Without weight j the sum is smaller by the factor 1 - share_j; if that share is large, the others are summed.
    others = shares - F.hardshrink(shares, _LARGE)  # of which the large share, if there is one, is zero
    rest = others.sum(1)
    left_out = (1 - others).prod(1).log() + torch.where(rest < 1 - _LARGE, rest, 1.0).log()
    lost = rest < SMALLEST_SUM
    if bool(lost.any()):
        log_shares = blocks.movedim(1, -1)[lost] - log_total[lost][:, None]
        left_out[lost] = log_shares.masked_fill(log_shares.exp() > _LARGE, -math.inf).logsumexp(-1)
    return (size - 1) / size * left_out + (size - 1) * math.log(size / (size - 1))
