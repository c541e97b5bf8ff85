"""Variational autoencoders as programs: a model and a guide, composed of conditionals."""

from pyrovae.vae.autoencoder import Autoencoder
from pyrovae.vae.conditional import ConditionalVAE
from pyrovae.vae.functional import FunctionalVAE
from pyrovae.vae.hierarchical import GaussianLayer, HierarchicalVAE
from pyrovae.vae.semi_supervised import SemiSupervisedVAE
from pyrovae.vae.spherical import SphericalVAE
from pyrovae.vae.standard import VAE, connect

__all__ = [
    "VAE",
    "Autoencoder",
    "ConditionalVAE",
    "FunctionalVAE",
    "GaussianLayer",
    "HierarchicalVAE",
    "SemiSupervisedVAE",
    "SphericalVAE",
    "connect",
]
