"""Base class of likelihoods p(x|z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.construction import record_arguments
from pyrovae.missing import is_missing

__all__ = ["Likelihood", "LikelihoodFactory", "caveat_of"]


class Likelihood(nn.Module, ABC):
    """Base class of likelihoods p(x|z); a subclass defines ``forward(z)``.

    Args:
        data_shape: shape of one datum, such as ``(1, 28, 28)`` or ``(64,)``.
        latent_dim: number D of latent dimensions.

    Raises:
        ValueError: if either is not positive.
    """

    support: constraints.Constraint = constraints.real
    """The set of each component of x; the real numbers by default."""

    discrete: bool = False
    """True if p(x|z) is a probability of discrete data, rather than a density."""

    levels: int | None = None
    """Number of levels of x, evenly spaced from 0 to 1; None for other data."""

    at_lower_bound: str | None = None
    """Words on the consequence and remedy of ``Positive`` numbers at their lower bound; None if that does no harm."""

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        record_arguments(self)
        self.data_shape = checks.shape("data_shape", data_shape)
        self.latent_dim = checks.integer("latent_dim", latent_dim)

    @abstractmethod
    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``: batch shape ``(*)``, event shape ``data_shape``."""

    def check(self, x: Tensor) -> None:
        """Raise unless every component of ``x``, of shape ``(*, *data_shape)``, lies in the support, or is missing.

        Raises:
            ValueError: naming the likelihood, its support, and the range of ``x`` or, if discrete, a number outside.
        """
        inside = self.support.check(x) | is_missing(x)
        if not bool(inside.all()):
            x, inside = (part[~is_missing(x)] for part in (x, inside))
            found = f"go from {x.min().item():g} to {x.max().item():g}"
            if self.support.is_discrete:
                found = f"hold {x[~inside][0].item():g}"
            raise checks.InputError(
                f"{type(self).__name__} takes data in {checks.constraint_name(self.support)}, but these {found}"
            )

    def check_levels(self, levels: int | None) -> None:
        """Raise if data and p(x|z) both have a number of levels, and these differ.

        Raises:
            ValueError: naming both numbers.
        """
        if levels is not None and self.levels not in (None, levels):
            raise checks.InputError(
                f"levels of {type(self).__name__} must be those of the data, {levels}, but {self.levels} was given"
            )

    def initialize(self, x: Tensor) -> None:
        """Initialize parameters from the data before training; by default, none are.

        Args:
            x: training data, ``(N, *data_shape)``.
        """

    def caveat(self, kind: str) -> str | None:
        """Return a warning if p(x|z) is no proper likelihood of data of this kind, else None.

        Args:
            kind: kind of the data, as :attr:`DataSet.kind`: ``binary``, ``dequantized``, ``scaled``,
                ``counts``, ``discrete`` or ``real``.
        """
        return caveat_of(self.discrete, kind)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"data_shape={self.data_shape}, latent_dim={self.latent_dim}"


def caveat_of(discrete: bool, kind: str) -> str | None:
    """Return a warning if p(x|z), a probability or a density, is no proper likelihood of data of a kind, else None.

    Args:
        discrete: True if p(x|z) is a probability.
        kind: kind of the data, as :attr:`DataSet.kind`.
    """
    quantised = kind in ("binary", "scaled", "counts", "discrete")
    if discrete and not quantised:
        return "The likelihood is a probability of discrete data, and the data are continuous: it has no meaning."
    if not discrete and kind == "discrete":
        return (
            "The data are discrete, integers or at most 256 evenly spaced numbers, and the likelihood is a density, "
            "which has no bound there: give them as integers with their levels, and dequantise them to publish it."
        )
    if not discrete and quantised:
        return (
            "The data are discrete and the likelihood is a density, which has no bound there: "
            "dequantise them to publish it."
        )
    return None


LikelihoodFactory: TypeAlias = Callable[[tuple[int, ...], int], Likelihood]
"""Makes a likelihood from the shape of a datum and the number of latent dimensions."""
