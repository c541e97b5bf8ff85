"""The autoencoder: one code a datum, without noise."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pyro
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.networks import MLP, NetworkFactory
from pyrovae.posteriors import PointPosterior
from pyrovae.priors import Prior, PriorFactory, StandardNormal
from pyrovae.vae.standard import VAE, check_data

__all__ = ["Autoencoder"]


class Autoencoder(VAE):
    r"""Encode each datum as one point: the deterministic baseline that a VAE is compared with.

    Training maximises :math:`\log p(x|z(x)) + \lambda \log p(z(x))`. With :math:`\lambda = 0` this is the plain
    autoencoder, whose prior is not trained at all. With a standard normal prior,
    :math:`-\lambda \log p(z) = \lambda \|z\|^2 / 2` and a constant: the regularised autoencoder, RAE (Ghosh et al.,
    2020, arXiv:1903.12436), whose decay of the decoder's weights is the network's option ``weight_decay``.

    A point has no density, so that there is no marginal likelihood, and what training reports as ELBO bounds
    nothing: it is the reconstruction :math:`\log p(x|z(x))` minus the KL, which is :math:`-\log p(z(x))` unweighted, or
    0 if :math:`\lambda = 0`. Nor are codes of data like draws from the prior: to sample, let
    :func:`~pyrovae.training.refit_prior` fit one to the codes after training.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        prior: p(z), from which new codes are drawn.
        likelihood: p(x|z), whose negative logarithm is the reconstruction loss.
        encoder: z(x), from ``data_shape`` to D features.
        z_penalty: :math:`\lambda`, how many times the logarithm of the prior counts.

    Raises:
        ValueError: if a size is not positive, or ``z_penalty`` is negative.

    Example:
        >>> rae = Autoencoder((1, 8, 8), 2, z_penalty=0.1)
        >>> rae.guide(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        prior: PriorFactory = StandardNormal,
        likelihood: LikelihoodFactory = Bernoulli,
        encoder: NetworkFactory = MLP,
        z_penalty: float = 0.0,
    ) -> None:
        super().__init__(
            checks.make("prior", prior, Prior, latent_dim, like="StandardNormal"),
            checks.make("likelihood", likelihood, Likelihood, data_shape, latent_dim, like="Bernoulli"),
            PointPosterior(data_shape, latent_dim, encoder),
        )
        self.z_penalty = checks.number("z_penalty", z_penalty)

    def model(self, x: Tensor) -> Tensor:
        """Sample ``z`` from the prior, as much as it counts, and observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.likelihood.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            with self._weight():
                z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self.likelihood(z), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor) -> Tensor:
        """Put ``z``, ``(B, D)``, where the encoder says, given ``x`` of shape ``(B, *data_shape)``."""
        pyro.module("vae", self)
        # A point's log q is 0, whatever its weight: this is for objectives that ask the guide how much its KL counts.
        with pyro.plate("data", len(x)), self._weight():
            return pyro.sample("z", self.posterior(x))  # (B, D)

    def _weight(self) -> AbstractContextManager[Any]:
        # A scale must be positive, in Pyro.
        return poutine.scale(scale=self.z_penalty) if self.z_penalty else poutine.mask(mask=False)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"z_penalty={self.z_penalty:g}"
