"""Conditioners: networks that compute the parameters of flows, with or without a context."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["Autoregressive", "Dense", "LinearConditioner", "hidden_widths"]


class Autoregressive(ConditionalAutoRegressiveNN):
    """Pyro's autoregressive network, also without a context, for parameters of any type, and for one component.

    Args:
        features: number D of components; the parameters of each depend on the components before it.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer.
        sizes: size of each parameter, per component.
    """

    def __init__(
        self, features: int, context_features: int, hidden_features: Sequence[int], sizes: Sequence[int]
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input_dim = 1")  # parameters then depend on the context alone
            order = torch.arange(features)
            super().__init__(features, context_features, list(hidden_features), list(sizes), permutation=order)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Sequence[Tensor]:
        """Return the parameters, each ``(*, size, D)``, or ``(*, D)`` where all sizes are 1."""
        x = x.to(self.layers[0].weight.dtype)  # Pyro starts inversions from zeros of the default type
        return self._forward(x) if context is None else super().forward(x, context)


class Dense(ConditionalDenseNN):
    """Pyro's dense network, also without a context.

    Args:
        features: number of components of the input.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer.
        sizes: size of each parameter.
    """

    def __init__(
        self, features: int, context_features: int, hidden_features: Sequence[int], sizes: Sequence[int]
    ) -> None:
        super().__init__(features, context_features, list(hidden_features), list(sizes))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Sequence[Tensor]:
        """Return the parameters, each ``(*, size)``."""
        return self._forward(x) if context is None else super().forward(x, context)


class LinearConditioner(nn.Module):
    """Parameters as a linear function of the context, or as learned constants without one.

    Args:
        context_features: number C of features of the context; 0 for none.
        sizes: size of each parameter.
    """

    def __init__(self, context_features: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        if context_features:
            self.linear = nn.Linear(context_features, sum(sizes))
        else:
            self.values = nn.Parameter(torch.empty(sum(sizes)).uniform_(-1, 1))

    def forward(self, context: Tensor | None = None) -> Sequence[Tensor]:
        """Return the parameters, each ``(*, size)``, or ``(size,)`` without a context."""
        return (self.values if context is None else self.linear(context)).split(self.sizes, -1)


def hidden_widths(hidden_features: Sequence[int] | None, features: int, minimum: int = 1) -> list[int]:
    """Return the width of each hidden layer, by default two layers of ``max(64, 2 * features)``.

    Raises:
        ValueError: if a width is below ``minimum``, or there is none.
    """
    if hidden_features is None:
        return [max(64, 2 * features)] * 2
    if not hidden_features:
        raise checks.InputError("hidden_features of a flow must have at least one layer, but () was given")
    return list(checks.integers("hidden_features of a flow", hidden_features, minimum))
