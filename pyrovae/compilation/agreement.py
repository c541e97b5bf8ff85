"""Comparison of the results of two ways to run a training step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["StepResults", "relative_distance"]


class StepResults(NamedTuple):
    """Results of a training step: loss, reconstruction and KL, gradients, and the buffers after it."""

    loss: float
    terms: Tensor
    grads: Sequence[Tensor | None]
    buffers: Sequence[Tensor]

    def agree_with(self, others: StepResults, rounding: float) -> bool:
        """Tell whether other results are the same up to rounding.

        Losses may always differ by rounding, since Pyro sums the terms of sites as Python floats, a recording as
        tensors.

        Args:
            others: results to compare with.
            rounding: allowed difference of gradients and buffers, as a share of their norm; at 0 they must be equal.
        """
        slack = 1e-4 * self.terms.abs().sum().item()
        learned = [
            pair for pair in zip(self.grads, others.grads, strict=True) if pair[0] is not None or pair[1] is not None
        ]
        return (
            math.isclose(self.loss, others.loss, rel_tol=1e-4, abs_tol=slack)
            and bool(((self.terms - others.terms).abs() <= slack).all())
            and relative_distance([a for a, _ in learned], [b for _, b in learned]) <= rounding
            and all(relative_distance([a], [b]) <= rounding for a, b in zip(self.buffers, others.buffers, strict=True))
        )


def relative_distance(before: Sequence[Tensor | None], after: Sequence[Tensor | None]) -> float:
    """Return the difference of two lists of tensors, as a share of the norm of the first; 0 if they are identical.

    It is infinite if a tensor is missing, or tensors that differ are not finite or are integers.
    """
    difference = scale = 0.0
    for a, b in zip(before, after, strict=True):
        if a is None or b is None:
            return math.inf
        if a.is_floating_point():
            known = torch.where(a.isfinite(), a, 0).double()
            scale += known.square().sum().item()
        if not torch.equal(a, b):
            if not a.is_floating_point() or not bool((a.isfinite() & b.isfinite()).all()):
                return math.inf
            difference += (known - b.double()).square().sum().item()
    if difference == 0:
        return 0.0
    return math.sqrt(difference / scale) if scale > 0 else math.inf
