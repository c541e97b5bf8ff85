"""What flows read their parameters from: networks that take a context or none."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["Autoregressive", "Dense", "Linear", "hidden_widths"]


class Autoregressive(ConditionalAutoRegressiveNN):
    """Let Pyro's autoregressive network do without a context, follow its own type and take one component.

    Args:
        features: number D of components; each is seen by those after it.
        context_features: number C of features that all see; 0 for none.
        hidden_features: width of each hidden layer.
        sizes: how many numbers each parameter has, for each component.
    """

    def __init__(
        self, features: int, context_features: int, hidden_features: Sequence[int], sizes: Sequence[int]
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input_dim = 1")  # then it has nothing to see but the context
            order = torch.arange(features)
            super().__init__(features, context_features, list(hidden_features), list(sizes), permutation=order)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Sequence[Tensor]:
        """Return the parameters, each ``(*, size, D)``, or ``(*, D)`` where all sizes are 1."""
        x = x.to(self.layers[0].weight.dtype)  # Pyro starts inversions from zeros of the default type
        return self._forward(x) if context is None else super().forward(x, context)


class Dense(ConditionalDenseNN):
    """Let Pyro's network of vectors do without a context.

    Args:
        features: number of components that it sees.
        context_features: number C of features that it sees beside; 0 for none.
        hidden_features: width of each hidden layer.
        sizes: how many numbers each parameter has.
    """

    def __init__(
        self, features: int, context_features: int, hidden_features: Sequence[int], sizes: Sequence[int]
    ) -> None:
        super().__init__(features, context_features, list(hidden_features), list(sizes))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Sequence[Tensor]:
        """Return the parameters, each ``(*, size)``."""
        return self._forward(x) if context is None else super().forward(x, context)


class Linear(nn.Module):
    """Hold parameters, or make them of a context by a linear map.

    Args:
        context_features: number C of features of the context; 0 for none.
        sizes: how many numbers each parameter has.
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
    """Return the width of each hidden layer, or of two by default, if each is at least ``minimum``.

    Raises:
        ValueError: if one is not, or if there is none.
    """
    if hidden_features is None:
        return [max(64, 2 * features)] * 2
    if not hidden_features:
        raise checks.InputError("hidden_features of a flow must have at least one layer, but () was given")
    return list(checks.integers("hidden_features of a flow", hidden_features, minimum))
