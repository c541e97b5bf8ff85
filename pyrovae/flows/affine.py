"""Affine flows: shifts and scales of each component."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions.transforms as T
from torch import Tensor, nn
from torch.distributions.transforms import Transform

from pyrovae import checks
from pyrovae.flows.base import Flow
from pyrovae.flows.conditioners import Autoregressive, Dense, hidden_widths

__all__ = ["AffineAutoregressive", "AffineCoupling"]


class AffineAutoregressive(Flow):
    r"""An affine autoregressive flow: :math:`y_d = \mu_d(x_{<d}) + \sigma_d(x_{<d})\, x_d`.

    The map takes one pass, its inverse D passes. Used to sample, the map is the inverse autoregressive flow (Kingma et
    al., 2016, arXiv:1606.04934); used to score, the masked autoregressive flow (Papamakarios et al., 2017,
    arXiv:1705.07057).

    Args:
        features: number D of components.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer, at least D; two layers of ``max(64, 2 * D)`` by default.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> AffineAutoregressive(3, 5)(torch.zeros(4, 5))(torch.zeros(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """

    def __init__(
        self, features: int, context_features: int = 0, hidden_features: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(features, context_features)
        self.network: nn.Module = Autoregressive(
            features, context_features, hidden_widths(hidden_features, features, features), [1, 1]
        )

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        network: Any = partial(self.network, context=context)
        network.permutation = range(self.features)  # order of the inverse; numbers, since tensors cannot be recorded
        return T.AffineAutoregressive(network)


class AffineCoupling(Flow):
    r"""An affine coupling: shift and scale of the second half depend on the first, which is not changed.

    (Dinh et al., 2017, arXiv:1605.08803.) One pass in either direction.

    Args:
        features: number D of components, at least 2.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer; two layers of ``max(64, 2 * D)`` by default.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> AffineCoupling(3)()(torch.ones(2, 4, 3))[0, 0, 0].item()
        1.0
    """

    def __init__(
        self, features: int, context_features: int = 0, hidden_features: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(checks.integer("features of a coupling", features, minimum=2), context_features)
        kept = features // 2
        widths = hidden_widths(hidden_features, features)
        self.network: nn.Module = Dense(kept, context_features, widths, [features - kept, features - kept])

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return T.ConditionalAffineCoupling(self.features // 2, self.network).condition(context)
