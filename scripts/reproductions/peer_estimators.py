"""Estimators of log p(x) that share as little as can be: pyrovae's, one by hand, Pyro's and pythae's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeAlias

import numpy as np
import pyro
import torch
from numpy_estimator import Array, ByHand, log_mean
from pyro.infer.importance import vectorized_importance_weights
from torch import Tensor, nn

from pyrovae import VAE, log_marginal

Estimate: TypeAlias = Callable[[Tensor], Array]
"""Of images: log p(x) of each, and the error that its weights tell, ``(N, 2)``, in nats."""

PYTHAE_BATCH = 1000  # samples at a time


def ours(vae: VAE, K: int) -> Estimate:
    def estimate(x: Tensor) -> Array:
        result = log_marginal(vae.model, vae.guide, x, num_samples=K)
        return torch.stack((result.log_prob, result.standard_error), 1).numpy()

    return estimate


def by_hand(reference: ByHand, K: int, noise: np.random.Generator) -> Estimate:
    return lambda x: np.array([reference.log_marginal(image, K, noise) for image in x.flatten(1).double().numpy()])


def of_pyro(vae: VAE, K: int) -> Estimate:
    @torch.no_grad()
    def estimate(x: Tensor) -> Array:
        found = []
        with pyro.get_param_store().scope():
            for image in x.split(1):  # of more, Pyro's weights are joint
                log_weights, *_ = vectorized_importance_weights(
                    vae.model, vae.guide, image, num_samples=K, max_plate_nesting=1
                )
                found.append(log_mean(log_weights.double().numpy()))
        return np.array(found)

    return estimate


def of_pythae(vae: VAE) -> nn.Module:
    """Return pythae's model of the same networks."""
    from pythae.models import VAE as TheirVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Tensor) -> ModelOutput:
            q = vae.posterior(x).base_dist
            return ModelOutput(embedding=q.loc, log_covariance=2 * q.scale.log())

    class Decoder(BaseDecoder):
        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=vae.likelihood.network(z).sigmoid())

    config = VAEConfig(
        input_dim=vae.likelihood.data_shape, latent_dim=vae.likelihood.latent_dim, reconstruction_loss="bce"
    )
    return TheirVAE(config, encoder=Encoder(), decoder=Decoder()).eval()


def contenders(
    vae: VAE, reference: ByHand, K: int, noise: np.random.Generator
) -> dict[str, tuple[Estimate, nn.Module | None]]:
    """Return the estimators by name, ours first, each with the module that is given its samples, if there is one."""
    found: dict[str, tuple[Estimate, nn.Module | None]] = {
        "pyrovae, log_marginal": (ours(vae, K), vae.likelihood),
        f"by hand in float64, NumPy {np.__version__}": (by_hand(reference, K, noise), None),
        f"Pyro {version('pyro-ppl')}, vectorized_importance_weights": (of_pyro(vae, K), vae.likelihood),
    }
    try:
        theirs = of_pythae(vae)
    except ImportError as error:
        print(f"pythae is left out: {error}", file=sys.stderr)
        return found
    size = math.gcd(K, PYTHAE_BATCH)  # it draws whole batches only: 100 for K = 50 or 150, if left to itself

    @torch.no_grad()
    def estimate(x: Tensor) -> Array:
        return np.array(
            [(theirs.get_nll(image, K, size), math.nan) for image in x.split(1)]
        )  # it has the sign of log p(x)

    return {**found, f"pythae {version('pythae')}, get_nll": (estimate, theirs.decoder)}


def shift(estimate: Estimate, decoder: nn.Module, reference: ByHand, x: Tensor, K: int) -> Array:
    """Return by how much an estimator's NLL of each image is above the one by hand of the same samples, in nats.

    Args:
        estimate: the estimator.
        decoder: the module that is given its samples.
        reference: the one by hand.
        x: images, ``(N, *data_shape)``.
        K: the number of samples.
    """
    shifts, given = [], []
    hook = decoder.register_forward_pre_hook(lambda _, z: given.append(z[0].detach().flatten(0, -2)))
    for image in x.split(1):
        log_prob = estimate(image)[0, 0]
        z = torch.cat(given)[-K:].double().numpy()  # what was tried before comes first
        shifts.append(log_mean(reference.log_weights(image.flatten().double().numpy(), z))[0] - log_prob)
        given.clear()
    hook.remove()
    return np.array(shifts)
