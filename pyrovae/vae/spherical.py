"""Variational autoencoder with codes on the unit sphere."""

from __future__ import annotations

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.posteriors import Posterior, PosteriorFactory, VonMisesFisher
from pyrovae.priors import Prior, PriorFactory, SphericalUniform
from pyrovae.vae.standard import VAE

__all__ = ["SphericalVAE"]


class SphericalVAE(VAE):
    r"""A VAE with codes on the unit sphere: a von Mises-Fisher posterior and a uniform prior.

    Unlike a normal prior, which pulls codes to the origin, a uniform prior has no preferred place
    (Davidson et al., 2018, arXiv:1804.00891).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of components of a code; the sphere itself has D - 1 dimensions.
        prior: makes p(z), on the sphere.
        likelihood: makes p(x|z).
        posterior: makes q(z|x), on the sphere.

    Example:
        >>> vae = SphericalVAE((1, 8, 8), 3)
        >>> torch.allclose(vae.guide(torch.zeros(4, 1, 8, 8)).norm(dim=-1), torch.ones(4))
        True
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        prior: PriorFactory = SphericalUniform,
        likelihood: LikelihoodFactory = Bernoulli,
        posterior: PosteriorFactory = VonMisesFisher,
    ) -> None:
        super().__init__(
            checks.make("prior", prior, Prior, latent_dim, like="SphericalUniform"),
            checks.make("likelihood", likelihood, Likelihood, data_shape, latent_dim, like="Bernoulli"),
            checks.make("posterior", posterior, Posterior, data_shape, latent_dim, like="VonMisesFisher"),
        )
