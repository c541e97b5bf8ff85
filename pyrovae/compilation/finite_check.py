"""Whether losses are finite, asked without waiting for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.objectives.terms import NonFiniteLoss

__all__ = ["LossMonitor"]

_LATE = 100  # steps on a GPU after which their losses are looked at
_KEPT = 2**28  # bytes of batches that are kept meanwhile, to find out whose fault a loss is


class LossMonitor:
    """Look at each loss: at once on CPU, some steps later on a GPU, which would have to be waited for.

    Until then :attr:`found_inf` keeps an optimizer from updating anything.

    Args:
        every: steps after which losses are looked at; if it is not given, 1 on CPU and 100 on a GPU.

    Attributes:
        found_inf: None while every loss is looked at, else a scalar tensor, 1 from the first loss that is not finite.

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
        self._late: list[tuple[Tensor, Callable[[], str]]] = []
        self._kept = 0

    def add(self, loss: Tensor, site_of: Callable[[], str], size: int = 0) -> float:
        """Return a loss as a number, or NaN if it is not waited for.

        Args:
            loss: of the next step.
            site_of: names the site whose fault it is, should it not be finite.
            size: bytes that are kept for that.

        Raises:
            FloatingPointError: if it, or an earlier one that was not waited for, is not finite.
        """
        every = self.every or (1 if loss.device.type == "cpu" else _LATE)
        if every == 1:
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteLoss(f"{value} at {site_of()}")
            return value
        bad = (~loss.isfinite()).to(torch.float32)
        self.found_inf = bad if self.found_inf is None else torch.maximum(self.found_inf, bad, out=self.found_inf)
        self._late.append((loss.clone(), site_of))  # the next replay of a CUDA graph writes over it
        self._kept += size
        if len(self._late) == every or self._kept > _KEPT:
            self.flush()
        return math.nan

    def flush(self, since: int = 0) -> None:
        """Look at the losses that were not waited for.

        Args:
            since: steps that were begun after the last of them.

        Raises:
            FloatingPointError: if one is not finite; its ``steps_ago`` counts the steps after it.
        """
        late, self._late, self._kept = self._late, [], 0
        if self.found_inf is None or not bool(self.found_inf):
            return
        self.found_inf = None
        for i, (loss, site_of) in enumerate(late):
            if not bool(loss.isfinite()):
                error = NonFiniteLoss(f"{loss.item()} at {site_of()}")
                error.steps_ago = len(late) - 1 - i + since
                raise error
        raise NonFiniteLoss("finite, but the norm of its gradients is not")
