"""Deterministic autoencoders, plain and regularised."""

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
    r"""A deterministic autoencoder, as a baseline for VAEs: each datum has one code.

    Training maximises :math:`\log p(x|z(x)) + \lambda \log p(z(x))`. With :math:`\lambda = 0` this is the plain
    autoencoder, whose prior is not trained. With a standard normal prior,
    :math:`-\lambda \log p(z) = \lambda \|z\|^2 / 2` and a constant: the regularised autoencoder, RAE (Ghosh et al.,
    2020, arXiv:1903.12436); its weight decay of the decoder is the network's option ``weight_decay``.

    A point has no density, so there is no marginal likelihood, and the ELBO that training reports is no bound: it is
    the reconstruction :math:`\log p(x|z(x))` minus the KL, which is :math:`-\log p(z(x))` without a weight, or 0 if
    :math:`\lambda = 0`. The codes of data are not distributed as the prior: to sample, fit a prior to the codes after
    training, by :func:`~pyrovae.training.refit_prior`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        prior: p(z), from which new codes are drawn.
        likelihood: p(x|z), whose negative logarithm is the reconstruction loss.
        encoder: z(x), from ``data_shape`` to D features.
        z_penalty: weight :math:`\lambda` of the log prior.

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
        """Sample ``z`` from the prior, weighted by the penalty, and observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.likelihood.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            with self._weight():
                z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self.likelihood(z), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor) -> Tensor:
        """Set ``z``, ``(B, D)``, to the code of ``x``, of shape ``(B, *data_shape)``."""
        pyro.module("vae", self)
        # log q of a point is 0 with any weight, but objectives read the weight of the KL from the guide.
        with pyro.plate("data", len(x)), self._weight():
            return pyro.sample("z", self.posterior(x))  # (B, D)

    def _weight(self) -> AbstractContextManager[Any]:
        # Pyro requires scales to be positive, so weight 0 is a mask.
        return poutine.scale(scale=self.z_penalty) if self.z_penalty else poutine.mask(mask=False)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"z_penalty={self.z_penalty:g}"
