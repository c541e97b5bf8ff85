"""Spline flows: a monotone rational spline for each component."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions.transforms as T
import torch
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from pyrovae import checks
from pyrovae.flows.base import Flow
from pyrovae.flows.conditioners import Autoregressive, Dense, LinearConditioner, hidden_widths

__all__ = ["Spline", "SplineAutoregressive", "SplineCoupling"]


class _SplineFlow(Flow):
    """Base class of flows by linear rational splines on [-bound, bound], and the identity outside.

    Pyro has quadratic splines too, but an assertion in their inverse can fail by rounding.
    """

    def __init__(self, features: int, context_features: int, count_bins: int, bound: float) -> None:
        super().__init__(features, context_features)
        self.count_bins = checks.integer("count_bins", count_bins, minimum=2)
        self.bound = checks.number("bound", bound, open_below=True)
        # Widths and heights of the pieces, derivatives at the knots, and the point that divides each piece.
        self.sizes = [count_bins, count_bins, count_bins - 1, count_bins]

    def spline(self, network: Any, features: int) -> _ConditionalSpline:
        """Return a spline of ``features`` components, with parameters from the network."""
        return _ConditionalSpline(network, features, self.count_bins, self.bound)

    def extra_repr(self) -> str:
        """Show the sizes and options."""
        return f"{super().extra_repr()}, count_bins={self.count_bins}, bound={self.bound:g}"


class Spline(_SplineFlow):
    r"""A spline flow: each component has its own monotone rational spline (Durkan et al., 2019, arXiv:1906.04032).

    One pass in either direction.

    Args:
        features: number D of components.
        context_features: number C of features of the context, on which the splines depend linearly; 0 for none.
        count_bins: number of pieces of a spline, at least 2.
        bound: b; a spline is the identity outside :math:`[-b, b]`.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> Spline(3)().inv(torch.zeros(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """

    def __init__(
        self,
        features: int,
        context_features: int = 0,
        count_bins: int = 8,
        bound: float = 4.0,
    ) -> None:
        super().__init__(features, context_features, count_bins, bound)
        self.parameters_of = LinearConditioner(context_features, [features * size for size in self.sizes])

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return self.spline(self.parameters_of, self.features).condition(context)


class SplineAutoregressive(_SplineFlow):
    r"""An autoregressive spline flow: :math:`y_d = g(x_d; x_{<d})`, a spline that depends on the components before.

    The map takes one pass, its inverse D passes (Durkan et al., 2019, arXiv:1906.04032; linear pieces: Dolatabadi et
    al., 2020, arXiv:2001.05168).

    Args:
        features: number D of components.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer, at least D; two layers of ``max(64, 2 * D)`` by default.
        count_bins: number of pieces of a spline, at least 2.
        bound: b; a spline is the identity outside :math:`[-b, b]`.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> SplineAutoregressive(3, count_bins=4)()(torch.zeros(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """

    def __init__(
        self,
        features: int,
        context_features: int = 0,
        hidden_features: tuple[int, ...] | None = None,
        count_bins: int = 8,
        bound: float = 4.0,
    ) -> None:
        super().__init__(features, context_features, count_bins, bound)
        widths = hidden_widths(hidden_features, features, features)
        self.network: nn.Module = Autoregressive(features, context_features, widths, self.sizes)

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        network = partial(self.network, context=context)
        transform = T.SplineAutoregressive(self.features, network, self.count_bins, self.bound)
        transform.spline = self.spline(network, self.features)
        return transform


class SplineCoupling(_SplineFlow):
    r"""A spline coupling: splines of the second half depend on the first half, which is not changed.

    One pass in either direction (Durkan et al., 2019, arXiv:1906.04032).

    Args:
        features: number D of components, at least 2.
        context_features: number C of features of the context; 0 for none.
        hidden_features: width of each hidden layer; two layers of ``max(64, 2 * D)`` by default.
        count_bins: number of pieces of a spline, at least 2.
        bound: b; a spline is the identity outside :math:`[-b, b]`.

    Raises:
        ValueError: if a size is too small.

    Example:
        >>> SplineCoupling(3)()(torch.ones(2, 4, 3))[0, 0, 0].item()
        1.0
    """

    def __init__(
        self,
        features: int,
        context_features: int = 0,
        hidden_features: tuple[int, ...] | None = None,
        count_bins: int = 8,
        bound: float = 4.0,
    ) -> None:
        checks.integer("features of a coupling", features, minimum=2)
        super().__init__(features, context_features, count_bins, bound)
        self.kept = features // 2
        sizes = [(features - self.kept) * size for size in self.sizes]
        self.network: nn.Module = Dense(self.kept, context_features, hidden_widths(hidden_features, features), sizes)

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return a new transform of ``(*, D)``, given the context ``(*, C)`` if there is one."""
        return _Coupling(self.spline(partial(self.network, context=context), self.features - self.kept), self.kept)


class _BoundedSpline(ConditionedSpline):
    """Pyro's spline without boolean indexing of values outside: their number would be fixed in a recording."""

    def spline_op(self, x: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        y, log_derivative = super().spline_op(x.clamp(-self.bound, self.bound), **kwargs)
        inside = x.abs() <= self.bound
        return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)


class _ConditionalSpline(T.ConditionalSpline):
    def condition(self, context: Tensor | None) -> _BoundedSpline:
        return _BoundedSpline(partial(self._params, context), bound=self.bound)


class _Coupling(Transform):
    """A coupling with given splines: the first components are kept. Pyro's coupling has parameters of its own."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, spline: T.ConditionalSpline, kept: int) -> None:
        super().__init__(cache_size=1)
        self._spline = spline
        self._kept = kept

    def _call(self, x: Tensor) -> Tensor:
        first, second = x[..., : self._kept], x[..., self._kept :]
        spline = self._spline.condition(first)
        y = torch.cat((first, spline(second)), -1)
        self._log_derivative = spline._cache_log_detJ
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        first, second = y[..., : self._kept], y[..., self._kept :]
        spline = self._spline.condition(first)
        x = torch.cat((first, spline.inv(second)), -1)
        self._log_derivative = spline._cache_log_detJ
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if x is not self._cached_x_y[0] or y is not self._cached_x_y[1]:
            self(x)
        return self._log_derivative.sum(-1)
