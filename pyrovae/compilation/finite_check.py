"""Check that losses are finite, without waiting for the GPU at every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.objectives.terms import NonFiniteLoss

__all__ = ["LossMonitor"]

_GPU_STEPS = 100  # steps between checks on a GPU, each of which waits for it; set by hand
_MAX_KEPT = 2**28  # bytes of batches kept between checks, to find the site at which a loss is not finite


class LossMonitor:
    """A check that losses are finite: at once on a CPU; some steps later on a GPU, to avoid waiting for it.

    Until the check, :attr:`found_inf` prevents the optimizer from updating anything.

    Args:
        every: number of steps between checks; by default 1 on a CPU and 100 on a GPU.

    Attributes:
        found_inf: None while every loss is checked at once; else a scalar tensor, 1 from the first loss that is not
            finite.

    Example:
        >>> losses = LossMonitor(every=3)
        >>> [losses.add(torch.tensor(loss), lambda: "site 'x'") for loss in (1.0, torch.inf)], losses.found_inf
        ([nan, nan], tensor(1.))
        >>> losses.flush()
        Traceback (most recent call last):
        ...
        pyrovae.objectives.terms.NonFiniteLoss: inf at site 'x'
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self.found_inf: Tensor | None = None
        self._unchecked: list[tuple[Tensor, Callable[[], str]]] = []
        self._kept = 0

    def add(self, loss: Tensor, site_of: Callable[[], str], size: int = 0) -> float:
        """Return a loss as a number, or NaN if it is checked later.

        Args:
            loss: loss of the next step.
            site_of: returns the name of the site that made the loss not finite.
            size: bytes that ``site_of`` keeps alive.

        Raises:
            FloatingPointError: if this loss, or an earlier one that was not checked, is not finite.
        """
        every = self.every or (1 if loss.device.type == "cpu" else _GPU_STEPS)
        if every == 1:
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteLoss(f"{value} at {site_of()}")
            return value
        bad = (~loss.isfinite()).to(torch.float32)
        self.found_inf = bad if self.found_inf is None else torch.maximum(self.found_inf, bad, out=self.found_inf)
        self._unchecked.append((loss.clone(), site_of))  # the next replay of a CUDA graph overwrites it
        self._kept += size
        if len(self._unchecked) == every or self._kept > _MAX_KEPT:
            self.flush()
        return math.nan

    def flush(self, since: int = 0) -> None:
        """Check the losses that were not checked yet.

        Args:
            since: number of steps begun after the last of them.

        Raises:
            FloatingPointError: if one is not finite; ``steps_ago`` is the number of steps after it.
        """
        late, self._unchecked, self._kept = self._unchecked, [], 0
        if self.found_inf is None or not bool(self.found_inf):
            return
        self.found_inf = None
        for i, (loss, site_of) in enumerate(late):
            if not bool(loss.isfinite()):
                error = NonFiniteLoss(f"{loss.item()} at {site_of()}")
                error.steps_ago = len(late) - 1 - i + since
                raise error
        raise NonFiniteLoss("finite, but the norm of its gradients is not")
