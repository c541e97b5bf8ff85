"""Flows that shift and scale."""

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
    r"""Shift and scale each component, as those before it say: :math:`y_d = \mu_d(x_{<d}) + \sigma_d(x_{<d})\, x_d`.

    One pass forward, D passes back. Forward to sample, it is the inverse autoregressive flow (Kingma et al., 2016,
    arXiv:1606.04934); forward to score, the masked autoregressive flow (Papamakarios et al., 2017, arXiv:1705.07057).

    Args:
        features: number D of components.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer, at least D; two of ``max(64, 2 * D)`` unless told.

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
        """Return a fresh transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        network: Any = partial(self.network, context=context)
        network.permutation = range(self.features)  # in which order to go back, as numbers: tensors cannot be recorded
        return T.AffineAutoregressive(network)


class AffineCoupling(Flow):
    r"""Shift and scale the second half by what the first half says, which stays (Dinh et al., 2017, arXiv:1605.08803).

    One pass in either direction.

    Args:
        features: number D of components, at least 2.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer; two of ``max(64, 2 * D)`` unless told.

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
        """Return a fresh transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return T.ConditionalAffineCoupling(self.features // 2, self.network).condition(context)
