"""Base class of priors p(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.construction import record_arguments

__all__ = ["Prior", "PriorFactory"]


class Prior(nn.Module, ABC):
    """Base class of priors p(z); a subclass defines ``forward()``.

    Args:
        latent_dim: number D of latent dimensions.

    Raises:
        ValueError: if ``latent_dim`` is not a positive integer.
    """

    support: constraints.Constraint = constraints.real_vector
    """The set of z; the posterior used with the prior must have the same."""

    at_lower_bound: str | None = (
        "it has narrowed to points, planes or lines of codes; fewer latents or components, or a prior of fixed scale, "
        "may help"
    )
    """Words on the consequence and remedy of ``Positive`` numbers at their lower bound; None if that does no harm."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        record_arguments(self)
        self.latent_dim = checks.integer("latent_dim", latent_dim)

    @abstractmethod
    def forward(self) -> TorchDistributionMixin:
        """Return p(z), of batch shape ``()`` and event shape ``(D,)``."""

    def connect(self, posterior: nn.Module) -> None:
        """Receive the posterior that the prior is used with; ignored by default.

        Args:
            posterior: q(z|x), which has a ``data_shape``; it must not be registered as a submodule of the prior.
        """

    def initialize(self, x: Tensor) -> None:
        """Initialize parameters from the data before training; by default, none are.

        Args:
            x: training data, ``(N, *data_shape)``.
        """

    def initialize_from_codes(self, z: Tensor) -> None:
        """Initialize parameters from codes, before the prior is fitted to them; by default, none are.

        Args:
            z: codes of training data, ``(N, D)``.
        """

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"latent_dim={self.latent_dim}"


PriorFactory: TypeAlias = Callable[[int], Prior]
"""Makes a prior from the number of latent dimensions."""
