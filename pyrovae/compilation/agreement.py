"""Whether two ways to run a step come to the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["StepResults", "relative_distance"]


class StepResults(NamedTuple):
    """Hold what a step computes: loss, reconstruction and KL, gradients, and buffers after it."""

    loss: float
    terms: Tensor
    grads: Sequence[Tensor | None]
    buffers: Sequence[Tensor]

    def agree_with(self, others: StepResults, rounding: float) -> bool:
        """Tell whether others are the same, gradients and buffers to a share of their norm or, if it is 0, to the bit.

        Losses may differ by rounding always: Pyro adds the sites' terms up as Python floats, a recording as tensors.
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
    """Return by how much tensors differ, as a share of the norm of all together: 0 if they are the same to the bit.

    It is infinite where something is missing, is not finite, or is an integer, and differs.
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
