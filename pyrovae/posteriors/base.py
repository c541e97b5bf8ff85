"""Base class of posteriors q(z|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.construction import record_arguments

__all__ = ["Posterior", "PosteriorFactory"]


class Posterior(nn.Module, ABC):
    """Base class of posteriors q(z|x); a subclass defines ``forward(x)``.

    Args:
        data_shape: shape of one datum, such as ``(1, 28, 28)`` or ``(64,)``.
        latent_dim: number D of latent dimensions.

    Raises:
        ValueError: if either is not positive.
    """

    support: constraints.Constraint = constraints.real_vector
    """The set of z; the prior used with the posterior must have the same."""

    has_density: bool = True
    """True if the density q(z|x) is known at every z, rather than only at the latest draws."""

    at_lower_bound: str | None = (
        "its codes have next to no noise there, so that each datum is stored as a point; a larger or learned scale of "
        "the likelihood, a larger beta, or a smaller bound (min_scale) may help"
    )
    """Words on the consequence and remedy of ``Positive`` numbers at their lower bound; None if that does no harm."""

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        record_arguments(self)
        self.data_shape = checks.shape("data_shape", data_shape)
        self.latent_dim = checks.integer("latent_dim", latent_dim)

    @abstractmethod
    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``: batch shape ``(*)``, event shape ``(D,)``."""

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"data_shape={self.data_shape}, latent_dim={self.latent_dim}"


PosteriorFactory: TypeAlias = Callable[[tuple[int, ...], int], Posterior]
"""Makes a posterior from the shape of a datum and the number of latent dimensions."""
