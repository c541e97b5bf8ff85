"""Von Mises-Fisher posterior on the unit sphere."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks, distributions
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network
from pyrovae.posteriors.base import Posterior

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Posterior):
    r"""A von Mises-Fisher distribution on the unit sphere: :math:`q(z|x) \propto e^{\kappa(x) \mu(x)^\top z}`.

    It is used with :class:`~pyrovae.SphericalUniform` (Davidson et al., 2018, arXiv:1804.00891).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of components, at least 2; the sphere itself has D - 1 dimensions.
        network: encoder, from ``data_shape`` to D + 1 features.
        link: map that keeps the concentration positive: ``softplus`` or ``exp``.
        min_concentration: smallest concentration :math:`\kappa`; at 0, all directions are equally likely.

    Raises:
        ValueError: if ``latent_dim`` is less than 2.

    Example:
        >>> VonMisesFisher((64,), 3)(torch.zeros(5, 64)).sample().norm(dim=-1).round(decimals=3)
        tensor([1., 1., 1., 1., 1.])
    """

    support = constraints.sphere
    at_lower_bound = (
        "its directions are spread as widely as the bound on the concentration allows; a smaller bound "
        "(min_concentration) may help"
    )

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        link: Literal["softplus", "exp"] = "softplus",
        min_concentration: float = 1.0,
    ) -> None:
        super().__init__(data_shape, checks.integer("latent_dim of a sphere", latent_dim, minimum=2))
        self.network = make_network(network, self.data_shape, self.latent_dim + 1)
        self.positive = Positive(link, checks.number("min_concentration", min_concentration))

    def forward(self, x: Tensor) -> TorchDistributionMixin:
        """Return q(z|x) for ``x`` of shape ``(*, *data_shape)``."""
        loc, raw_concentration = self.network(x).split([self.latent_dim, 1], -1)
        return distributions.VonMisesFisher(F.normalize(loc, dim=-1), self.positive(raw_concentration).squeeze(-1))
