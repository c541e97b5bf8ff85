"""Integers as binary decisions: bisection of their range by a cumulative distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from pyrovae.codec.stack import GRID, Stack

__all__ = ["Below", "Decide", "Recorder", "Visit", "bisect", "pop", "uniform"]

Below: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps integers i, as floats, to P(index < i) and P(index >= i); both, because each is exact in one tail only."""

Decide: TypeAlias = Callable[[np.ndarray, np.ndarray, slice], np.ndarray]
"""Tells from which middle on each index lies: maps weights, middles, and the columns that these are of, to booleans."""

Visit: TypeAlias = Callable[[Decide], np.ndarray]
"""Asks for all decisions that determine some indices, and returns the indices, ``(B, n)`` int64."""


def bisect(below: Below, num_bits: int, shape: tuple[int, ...], decide: Decide, columns: slice) -> np.ndarray:
    r"""Determine integers from 0 to 2^num_bits - 1 by one decision per bit, the highest bit first.

    A decision has the probability :math:`P(i \ge m \mid l \le i < h)` with m in the middle of l and h, rounded to
    a multiple of 1/GRID. So every integer has a positive probability, whatever the cumulative distribution, and the
    probabilities sum to 1.

    Args:
        below: the cumulative distribution.
        num_bits: number of bits.
        shape: shape of the integers.
        decide: makes the decisions.
        columns: columns of the array of indices that these are.

    Returns:
        the integers, int64.
    """
    low, high = np.zeros(shape), np.full(shape, 2.0**num_bits)
    at_low, at_high = below(low), below(high)
    for bit in reversed(range(num_bits)):
        middle = low + 2.0**bit
        at_middle = below(middle)
        lower, upper = _mass(at_low, at_middle), _mass(at_middle, at_high)
        total = lower + upper
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(total > 0, upper / total, 0.5)
        weights = np.clip(np.rint(share * GRID), 1, GRID - 1).astype(np.int32)
        above = decide(weights, middle, columns)
        low = np.where(above, middle, low)
        at_low = np.where(above, at_middle[0], at_low[0]), np.where(above, at_middle[1], at_low[1])
        at_high = np.where(above, at_high[0], at_middle[0]), np.where(above, at_high[1], at_middle[1])
    return low.astype(np.int64)


def _mass(at_low: tuple[np.ndarray, np.ndarray], at_high: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the probability between two integers, from the tail in which nothing cancels."""
    mass = np.where(at_low[0] > 0.5, at_low[1] - at_high[1], at_high[0] - at_low[0])
    return np.nan_to_num(np.maximum(mass, 0.0), nan=0.0)


def uniform(count: int) -> Below:
    """Return the cumulative distribution of 0 to ``count - 1``, equally probable."""

    def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share = np.minimum(i / count, 1.0)
        return share, 1.0 - share

    return below


class Recorder:
    """The decisions that known indices stand for, recorded to be pushed, and their probability.

    Args:
        visit: asks for the decisions.
        index: the indices, ``(B, n)``.
    """

    def __init__(self, visit: Visit, index: np.ndarray) -> None:
        self._index = index
        self._record: list[tuple[np.ndarray, np.ndarray]] = []
        visit(self._decide)

    def _decide(self, weights: np.ndarray, middle: np.ndarray, columns: slice) -> np.ndarray:
        above = self._index[:, columns] >= middle
        self._record.append((above, weights))
        return above

    def log_prob(self) -> np.ndarray:
        """Return the log-probability of each row with which it is coded, ``(B,)``, in nats."""
        total = np.zeros(len(self._index))
        for above, weights in self._record:
            total += np.log(np.where(above, weights, GRID - weights) / GRID).sum(-1)
        return total

    def push(self, stack: Stack, rows: np.ndarray) -> None:
        """Push the decisions of some rows, given by booleans ``(B,)``."""
        for above, weights in reversed(self._record):
            stack.push(above[rows], weights[rows])


def pop(stack: Stack, visit: Visit, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pop the indices of some rows.

    Args:
        stack: the stack.
        visit: asks for the decisions.
        rows: booleans ``(B,)``.
        known: indices of the other rows, ``(B, n)``; the rows to pop are ignored.

    Returns:
        the indices of all rows, ``(B, n)``.
    """

    def decide(weights: np.ndarray, middle: np.ndarray, columns: slice) -> np.ndarray:
        above = known[:, columns] >= middle
        above[rows] = stack.pop(weights[rows])
        return above

    return visit(decide)
