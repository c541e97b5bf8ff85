"""The variational autoencoder whose codes are directions."""

from __future__ import annotations

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.posteriors import Posterior, PosteriorFactory, VonMisesFisher
from pyrovae.priors import Prior, PriorFactory, SphericalUniform
from pyrovae.vae.standard import VAE

__all__ = ["SphericalVAE"]


class SphericalVAE(VAE):
    r"""Take codes from the unit sphere in D dimensions: a von Mises-Fisher posterior, a uniform prior.

    A uniform prior does not pull all codes to one place, as a normal one does to the origin
    (Davidson et al., 2018, arXiv:1804.00891).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of components of a code; the sphere itself has D - 1 dimensions.
        prior: p(z), over the sphere.
        likelihood: p(x|z).
        posterior: q(z|x), over the sphere.

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
