"""Stack of bits, on which binary decisions are pushed and popped with given probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae import checks

__all__ = ["GRID", "Stack", "require_constriction"]

GRID = 2**16
"""Probabilities are multiples of 1/GRID, and none is 0 or 1."""


class Stack:
    """A stack of bits by asymmetric numeral systems (Duda et al., 2015), the entropy coder of ``constriction``.

    Popping decisions from any bits gives decisions of the given probabilities, and pushing them back restores the
    bits exactly: this is what bits-back coding needs.

    Args:
        words: bits to begin with, uint32, of which the last is not 0; none if not given.

    Raises:
        ValueError: if constriction is not installed, or the last word is 0.

    Example:
        >>> stack = Stack(np.array([5, 7], dtype=np.uint32))
        >>> decisions = stack.pop(np.array([100, GRID // 2]))
        >>> stack.push(decisions, np.array([100, GRID // 2]))
        >>> stack.words.tolist()
        [5, 7]
    """

    def __init__(self, words: np.ndarray | None = None) -> None:
        constriction = require_constriction()
        given = np.zeros(0, np.uint32) if words is None else np.ascontiguousarray(words, np.uint32)
        if len(given) and given[-1] == 0:
            raise checks.InputError("words of a stack must not end with 0, but do")
        self._coder = constriction.stream.stack.AnsCoder(given)
        self._family = constriction.stream.model.Bernoulli(perfect=False)

    @property
    def num_bits(self) -> int:
        """Number of bits on the stack."""
        return int(self._coder.num_valid_bits())

    @property
    def is_empty(self) -> bool:
        """True if there are no bits."""
        return bool(self._coder.is_empty())

    @property
    def words(self) -> np.ndarray:
        """The bits as uint32, of which the last is not 0."""
        return np.asarray(self._coder.get_compressed())

    def push(self, decisions: np.ndarray, weights: np.ndarray) -> None:
        """Push decisions, so that popping them returns them in their order.

        Args:
            decisions: booleans of any shape.
            weights: of the same shape, the probability of True in units of 1/GRID: integers from 1 to GRID - 1.
        """
        if decisions.size:
            self._coder.encode_reverse(decisions.ravel().astype(np.int32), self._family, _probabilities(weights))

    def pop(self, weights: np.ndarray) -> np.ndarray:
        """Pop decisions, booleans of the shape of their ``weights``, the probability of True in units of 1/GRID."""
        if not weights.size:
            return np.zeros(weights.shape, bool)
        return np.asarray(self._coder.decode(self._family, _probabilities(weights))).astype(bool).reshape(weights.shape)


def _probabilities(weights: np.ndarray) -> np.ndarray:
    return weights.ravel().astype(np.float32) / np.float32(GRID)  # exact


def require_constriction() -> Any:
    """Import constriction.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise checks.InputError(
            "constriction must be installed to compress: pip install 'pyrovae[compress]'"
        ) from error
    return constriction
