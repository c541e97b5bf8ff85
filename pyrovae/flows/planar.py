"""Planar and radial flows, whose inverse has no closed form."""

from __future__ import annotations

from pyro.distributions.transforms.planar import ConditionedPlanar
from pyro.distributions.transforms.radial import ConditionedRadial
from torch import Tensor
from torch.distributions.transforms import Transform

from pyrovae.flows.base import Flow
from pyrovae.flows.conditioners import LinearConditioner

__all__ = ["Planar", "Radial"]


class Planar(Flow):
    r"""A planar flow: :math:`y = x + u \tanh(w^\top x + b)` (Rezende & Mohamed, 2015, arXiv:1505.05770).

    The density is known only at the vectors that it has just mapped.

    Args:
        features: number D of components.
        context_features: number C of features of the context, on which u, w and b depend linearly; 0 for none.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> Planar(3, 5)(torch.zeros(4, 5))(torch.zeros(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """

    invertible = False

    def __init__(self, features: int, context_features: int = 0) -> None:
        super().__init__(features, context_features)
        self.parameters_of = LinearConditioner(context_features, [1, features, features])

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return ConditionedPlanar(self.parameters_of(context))


class Radial(Flow):
    r"""A radial flow: :math:`y = x + \beta (x - x_0) / (\alpha + \|x - x_0\|)`.

    (Rezende & Mohamed, 2015, arXiv:1505.05770.) The density is known only at the vectors that it has just mapped.

    Args:
        features: number D of components.
        context_features: number C of features of the context, on which :math:`x_0`, :math:`\alpha` and :math:`\beta`
            depend linearly; 0 for none.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> Radial(3)()(torch.zeros(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """

    invertible = False

    def __init__(self, features: int, context_features: int = 0) -> None:
        super().__init__(features, context_features)
        self.parameters_of = LinearConditioner(context_features, [features, 1, 1])

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return ConditionedRadial(self.parameters_of(context))
