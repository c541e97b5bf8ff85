"""Means and standard deviations of columns, from parts of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]


class Moments:
    """Mean and standard deviation of columns, from parts, by the update of Chan et al. (1979).

    A part may have no value of a column. scikit-learn's ``StandardScaler`` has a NaN then, which stays.

    Args:
        count: number of columns.

    Attributes:
        n: number of values of each column, ``(C,)``.
        mean: their mean, ``(C,)``.
        square: sum of squared deviations from it, ``(C,)``.
    """

    def __init__(self, count: int) -> None:
        self.n, self.mean, self.square = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, x: NDArray[np.float64]) -> None:
        """Add rows, ``(n, C)``, NaN if missing."""
        there = ~np.isnan(x)
        n = there.sum(0)
        mean = np.where(there, x, 0).sum(0) / np.maximum(n, 1)
        square = np.square(np.where(there, x - mean, 0.0)).sum(0)
        total, shift = np.maximum(self.n + n, 1), mean - self.mean
        self.square += square + shift**2 * self.n * n / total
        self.mean = self.mean + shift * n / total
        self.n = self.n + n

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation; 1 for a column of one value."""
        std = np.sqrt(self.square / np.maximum(self.n, 1))
        return np.where(std > 1e-12 * np.abs(self.mean), std, 1.0)
