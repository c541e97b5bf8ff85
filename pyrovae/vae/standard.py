"""Variational autoencoder: one prior, one likelihood, one posterior."""

from __future__ import annotations

import pyro
from torch import Tensor

from pyrovae import checks
from pyrovae.likelihoods import Likelihood
from pyrovae.missing import draw_missing
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs import Program

__all__ = ["VAE", "check_data", "connect"]


class VAE(Program):
    r"""A variational autoencoder: Pyro's ``model`` and ``guide``, composed of a prior, a likelihood and a posterior.

    The model is :math:`p(x, z) = p(z)\,p(x|z)`, the guide :math:`q(z|x)`; training maximises
    :math:`\mathrm{E}_{q(z|x)}[\log p(x, z) - \log q(z|x)] \le \log p(x)`
    (Kingma & Welling, 2014, arXiv:1312.6114; Rezende et al., 2014, arXiv:1401.4082).

    Args:
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x).

    Raises:
        ValueError: if the three differ in the number of latents or the shape of the data.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
        >>> vae.guide(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 2])
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior) -> None:
        super().__init__()
        checks.instance("prior", prior, Prior)
        checks.instance("likelihood", likelihood, Likelihood)
        checks.instance("posterior", posterior, Posterior)
        latent_dims = prior.latent_dim, likelihood.latent_dim, posterior.latent_dim
        if len(set(latent_dims)) != 1:
            raise checks.InputError(
                "prior, likelihood and posterior must have one latent_dim, but have "
                f"{latent_dims[0]}, {latent_dims[1]} and {latent_dims[2]}"
            )
        if likelihood.data_shape != posterior.data_shape:
            raise checks.InputError(
                "likelihood and posterior must have one data_shape, but have "
                f"{likelihood.data_shape} and {posterior.data_shape}"
            )
        connect(prior, posterior)
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior

    def initialize(self, x: Tensor) -> None:
        """Initialize prior and likelihood from the data, which saves the first epochs of training.

        Args:
            x: training data, ``(N, *data_shape)``; missing values are replaced by others of the same cell.
        """
        x = draw_missing(x)
        self.prior.initialize(x)
        self.likelihood.initialize(x)

    def model(self, x: Tensor) -> Tensor:
        """Sample ``z`` from the prior and observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.likelihood.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self.likelihood(z), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor) -> Tensor:
        """Sample ``z`` of shape ``(B, D)`` from the posterior given ``x`` of shape ``(B, *data_shape)``."""
        check_data(x, self.posterior.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x))  # (B, D)


def check_data(x: Tensor, data_shape: tuple[int, ...]) -> None:
    """Refuse data of another shape than ``(B, *data_shape)``, of which a network might mistake rows for data.

    Args:
        x: the data.
        data_shape: shape of one datum.

    Raises:
        ValueError: naming both shapes.

    Example:
        >>> check_data(torch.zeros(3, 4), (4,))
    """
    if tuple(x.shape[1:]) != data_shape:
        expected = ", ".join(map(str, ("B", *data_shape)))
        raise checks.InputError(f"x must have the shape ({expected}), but has {tuple(x.shape)}")


def connect(prior: Prior, posterior: Posterior) -> None:
    """Connect a prior with a posterior of the same support.

    Args:
        prior: p(z).
        posterior: q(z|x).

    Raises:
        ValueError: if they have different supports.

    Example:
        >>> connect(StandardNormal(2), DiagonalNormal((4,), 2))
    """
    if not checks.same_constraint(prior.support, posterior.support):
        raise checks.InputError(
            "prior and posterior must have one support, but that of "
            f"{type(prior).__name__} is {checks.constraint_name(prior.support)} "
            f"and that of {type(posterior).__name__} is {checks.constraint_name(posterior.support)}"
        )
    prior.connect(posterior)
