"""VampPrior: a mixture of posteriors of learned pseudo-data."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions import NormalMixture
from pyrovae.priors.base import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    r"""A mixture of the posteriors of learned pseudo-data: :math:`p(z) = \frac1K \sum_k q(z|u_k)`.

    The prior that maximises the ELBO is the mixture of the posteriors of all data; the K pseudo-data approximate it
    (Tomczak & Welling, 2018, arXiv:1705.07120). They are initialized with random data and stay in the data's range.

    Args:
        latent_dim: number D of latent dimensions.
        num_components: number K of pseudo-data.

    Raises:
        ValueError: if ``num_components`` is not positive, or the prior is used before ``connect``.

    Example:
        >>> vae = VAE(VampPrior(2, num_components=5), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> vae.initialize(torch.rand(100, 4))
        >>> vae.prior.pseudo_data.shape
        torch.Size([5, 4])
    """

    low: Tensor
    high: Tensor
    logits: Tensor
    pseudo_data: nn.Parameter | None

    def __init__(self, latent_dim: int, num_components: int = 500) -> None:
        super().__init__(latent_dim)
        self.num_components = checks.integer("num_components", num_components)
        self.register_buffer("low", torch.tensor(-math.inf))
        self.register_buffer("high", torch.tensor(math.inf))
        self.register_buffer("logits", torch.zeros(self.num_components), persistent=False)
        self.register_parameter("pseudo_data", None)  # made by connect, when the shape of the data is known
        # In a tuple, so that nn.Module does not register it: it is already a submodule of the program.
        self._posterior: tuple[nn.Module, ...] = ()

    def connect(self, posterior: Any) -> None:
        """Use a posterior for the mixture.

        Args:
            posterior: q(z|x), which must have a density everywhere.

        Raises:
            ValueError: if it has none.
        """
        if not posterior.has_density:
            raise checks.InputError(
                "posterior must score every code to be mixed by a VampPrior, as DiagonalNormal does, "
                f"but {type(posterior).__name__} scores its own draws alone"
            )
        self._posterior = (posterior,)
        shape = self.num_components, *posterior.data_shape
        if self.pseudo_data is None or self.pseudo_data.shape != shape:
            self.pseudo_data = nn.Parameter(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the pseudo-data to random data from ``x``, ``(N, *data_shape)``, without repetition if possible."""
        index = torch.randperm(len(x)).repeat(-(-self.num_components // len(x)))[: self.num_components]
        self._connected()[1].copy_(x[index.to(x.device)])
        self.low.copy_(x.min())
        self.high.copy_(x.max())

    def forward(self) -> TorchDistributionMixin:
        """Return the mixture over ``(D,)``.

        Raises:
            ValueError: if no posterior is connected.
        """
        posterior, pseudo_data = self._connected()
        q = posterior(pseudo_data.clamp(self.low, self.high))  # of batch shape (K,)
        normal = getattr(q, "base_dist", None)
        if isinstance(q, dist.Independent) and isinstance(normal, dist.Normal):  # NormalMixture is much faster
            return NormalMixture(self.logits, normal.loc, normal.scale)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), q)

    def _connected(self) -> tuple[nn.Module, nn.Parameter]:
        if not self._posterior or self.pseudo_data is None:
            raise checks.InputError(
                "posterior must be given to a VampPrior by connect(posterior), as VAE does, but none was given"
            )
        return self._posterior[0], self.pseudo_data

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, num_components={self.num_components}"
