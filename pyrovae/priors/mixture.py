"""Mixtures of normals as priors."""

from __future__ import annotations

import warnings

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions import NormalMixture
from pyrovae.networks import Positive
from pyrovae.priors.base import Prior

__all__ = ["GaussianMixture"]


class GaussianMixture(Prior):
    r"""A learned mixture of normals: :math:`p(z) = \sum_k \pi_k\, \mathcal{N}(z; \mu_k, \mathrm{diag}\,\sigma_k^2)`.

    Weights, means and scales are trained with the other parameters (Dilokthanakul et al., 2016, arXiv:1611.02648, and
    Jiang et al., 2017, arXiv:1611.05148, use such priors).

    Args:
        latent_dim: number D of latent dimensions.
        num_components: number K of components.

    Raises:
        ValueError: if ``num_components`` is not positive.

    Example:
        >>> prior = GaussianMixture(2, num_components=3)
        >>> prior().log_prob(torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, latent_dim: int, num_components: int = 10) -> None:
        super().__init__(latent_dim)
        self.num_components = checks.integer("num_components", num_components)
        self.positive = Positive()
        shape = self.num_components, self.latent_dim
        # Half of the variance is between components and half within, so that the total is about 1.
        self.logits = nn.Parameter(torch.zeros(self.num_components))
        self.loc = nn.Parameter(torch.randn(shape) * 0.5**0.5)
        self.raw_scale = nn.Parameter(self.positive.inverse(torch.full(shape, 0.5**0.5)))

    def forward(self) -> TorchDistributionMixin:
        """Return the mixture over ``(D,)``."""
        return NormalMixture(self.logits, self.loc, self.positive(self.raw_scale))

    @torch.no_grad()
    def initialize_from_codes(self, z: Tensor) -> None:
        """Set the parameters to the mixture that expectation-maximisation fits to the codes ``z``, ``(N, D)``.

        Raises:
            ValueError: if there are fewer codes than components.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Fitted

        if len(z) < self.num_components:
            raise checks.InputError(
                f"num_components must be at most the number of codes, {len(z)}, but {self.num_components} was given"
            )
        fitted = Fitted(self.num_components, covariance_type="diag", random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a starting point need not be converged
            fitted.fit(z.detach().double().cpu().numpy())
        self.logits.copy_(torch.from_numpy(fitted.weights_).log())
        self.loc.copy_(torch.from_numpy(fitted.means_))
        scale = torch.from_numpy(fitted.covariances_).sqrt().clamp(min=2 * self.positive.minimum)
        self.raw_scale.copy_(self.positive.inverse(scale))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, num_components={self.num_components}"
