"""Weighted sums of draws that certify an adaptive estimate: the weight of a draw is fixed before it is drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["NUM_ALTERNATIVES", "add_draw"]

_LARGEST_BIAS = (math.inf, 0.3, 0.1, 0.03, 0.01, 0.003)  # nats, of each alternative
_INSURANCE = 1e-3  # share of the rest that is given to a draw that is expected to be replaced by a better one

NUM_ALTERNATIVES = len(_LARGEST_BIAS)
"""Number S of alternative sums of each datum."""


def add_draw(log_sum: Tensor, unspent: Tensor, log_mean: Tensor, predicted_bias: Tensor) -> tuple[Tensor, Tensor]:
    r"""Add the mean weight of a new draw of each datum to its sums, :math:`\sum_r \lambda_r \bar w_r`.

    The number of draws of a datum, and of the weights in them, depends on earlier weights of all data, so that their
    mean is not unbiased. These sums are, as far as they go: :math:`\lambda_r` is known before draw r, and all of them
    sum to 1 at most. ``docs/math.md`` has the proof. In each alternative, nearly all goes to the first draw whose
    predicted bias is small enough; a mean over the alternatives, taken over all data together, costs the logarithm of
    their number once, not for each datum.

    Args:
        log_sum: log of the sums so far, ``(S, B)``, in nats.
        unspent: what is left of the sum of the :math:`\lambda`, ``(S, B)``.
        log_mean: log of the mean weight of the new draw, ``(B,)``, in nats.
        predicted_bias: bias of the new estimate, as it was predicted before the draw, ``(B,)``, in nats.

    Returns:
        the new ``log_sum`` and ``unspent``.

    Example:
        >>> start = torch.full((NUM_ALTERNATIVES, 1), -math.inf), torch.ones(NUM_ALTERNATIVES, 1)
        >>> log_sum, unspent = add_draw(*start, torch.tensor([-90.0]), torch.tensor([0.2]))
        >>> log_sum.flatten()[:3], unspent.flatten()[:3]
        (tensor([-90.0000, -90.0000, -96.9078]), tensor([0.0000, 0.0000, 0.9990]))
    """
    largest = log_sum.new_tensor(_LARGEST_BIAS)[:, None]
    share = torch.where(predicted_bias <= largest, 1.0, _INSURANCE).to(unspent)  # (S, B)
    return torch.logaddexp(log_sum, log_mean + (unspent * share).log()), unspent * (1 - share)
