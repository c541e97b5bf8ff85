"""Convergence of the bound on log p(x) with the number of samples, from the weights of one run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.bias import halved_bounds, unseen_tail
from pyrovae.evaluation.likelihood.diagnostics import monte_carlo_error, tail_size
from pyrovae.reprs import json_number, short_repr

__all__ = ["Convergence", "convergence"]


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
    total = blocks.logsumexp(1)  # (M, B)
    bounds = total - math.log(size)
    return bounds.mean(0), _error(blocks, bounds), _jackknife(blocks, total).mean(0)


def _error(blocks: Tensor, bounds: Tensor) -> Tensor:
    """Return the error of the blocks' mean from their spread; for few blocks, at least that of the delta method."""
    num_blocks = len(blocks)
    between = bounds.var(0) if num_blocks > 1 else torch.full_like(bounds[0], math.nan)
    if num_blocks < 10:
        within = monte_carlo_error(blocks.transpose(0, 1)).square().mean(0)  # (B,)
        between = between.fmax(within)
    return (between / num_blocks).sqrt()


def _jackknife(blocks: Tensor, total: Tensor) -> Tensor:
    """Return the jackknife of each block in one pass over its weights, ``(M, B)``."""
    size = blocks.shape[1]
    if size == 1:
        return torch.full_like(total, math.nan)
    # Without weight j the sum is total + log1p(-share_j); if weight j is over half of it, the others are summed.
    share = (blocks - total[:, None]).exp()  # (M, k, B)
    large = share > 0.5
    rest = blocks.masked_fill(large, -math.inf).logsumexp(1)  # (M, B)
    left_out = torch.log1p(-share.masked_fill(large, 0.0)).sum(1) + torch.where(large.any(1), rest - total, 0.0)
    correction = (size - 1) / size * left_out + size * math.log(size) - (size - 1) * math.log(size - 1)
    jackknife = total - correction
    return torch.where(jackknife.isfinite(), jackknife, math.nan)
