"""Base class of flows, and a chain of flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from pyro.distributions.transforms import Permute
from torch import Tensor, nn
from torch.distributions.transforms import Transform

from pyrovae import checks

__all__ = ["Flow", "FlowChain", "FlowFactory"]


class Flow(nn.Module, ABC):
    """Base class of flows; a subclass defines ``forward(context)``.

    Args:
        features: number D of components of the vectors.
        context_features: number C of features of the context, on which the map depends too; 0 for none.

    Raises:
        ValueError: if ``features`` is not positive or ``context_features`` is negative.
    """

    invertible: bool = True
    """True if the inverse can be computed, so that the density is known at every vector."""

    def __init__(self, features: int, context_features: int = 0) -> None:
        super().__init__()
        self.features = checks.integer("features", features)
        self.context_features = checks.integer("context_features", context_features, minimum=0)

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"features={self.features}, context_features={self.context_features}"


FlowFactory: TypeAlias = Callable[[int, int], Flow]
"""Makes a flow from two numbers: features, and features of the context."""


class FlowChain(nn.Module):
    """Several flows in sequence, with the order of the components reversed between them.

    Args:
        flow: makes each flow.
        features: number D of components.
        context_features: number C of features of the context, which all flows share; 0 for none.
        num_layers: number of flows.

    Raises:
        ValueError: if ``num_layers`` is not positive.

    Example:
        >>> len(FlowChain(AffineCoupling, features=3, num_layers=4)())
        7
    """

    def __init__(self, flow: FlowFactory, features: int, context_features: int = 0, num_layers: int = 2) -> None:
        super().__init__()
        count = checks.integer("num_layers", num_layers)
        self.flows = nn.ModuleList(
            checks.make("flow", flow, Flow, features, context_features, like="SplineCoupling") for _ in range(count)
        )
        self.register_buffer("reversal", torch.arange(features).flip(0), persistent=False)

    @property
    def invertible(self) -> bool:
        """True if all flows are invertible."""
        return all(flow.invertible for flow in self.flows)

    def forward(self, context: Tensor | None = None) -> list[Transform]:
        """Return new transforms of ``(*, D)``, in the order of application.

        Args:
            context: the context ``(*, C)``, if there is one.
        """
        transforms: list[Transform] = []
        for flow in self.flows:
            if transforms:
                transforms.append(Permute(self.reversal))
            transforms.append(flow(context))
        return transforms
