"""Evaluate a VAE of two fully connected networks by hand, in float64: the reference of ``peer.py``.

By NumPy alone: it reads the weights from a run's file, and shares neither code nor random numbers with pyrovae, Pyro or
torch. p(z) is standard normal, q(z|x) a diagonal normal, p(x|z) a coin a pixel, all networks have tanh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array: TypeAlias = NDArray[np.float64]
Layers: TypeAlias = list[tuple[Array, Array]]  # weight and bias of each

MIN_SCALE = 1e-4  # of q(z|x), as documented
TOGETHER = 100  # samples, which fit the cache


@dataclass(frozen=True)
class ByHand:
    """Hold the layers of the encoder and of the decoder."""

    encoder: Layers
    decoder: Layers

    @classmethod
    def read(cls, path: Path) -> ByHand:
        """Read the layers from a run's ``weights.safetensors``."""
        tensors = {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}

        def layers(start: str) -> Layers:
            places = sorted({int(name.removeprefix(start).split(".")[0]) for name in tensors if name.startswith(start)})
            return [(tensors[f"{start}{i}.weight"], tensors[f"{start}{i}.bias"]) for i in places]

        return cls(layers("posterior.network.layers."), layers("likelihood.network.layers."))

    def encoded(self, x: Array) -> tuple[Array, Array]:
        """Return the posterior's mean and standard deviation for one image, ``(P,)``."""
        loc, raw = np.split(through(self.encoder, x), 2)
        return loc, np.log1p(np.exp(raw)) + MIN_SCALE

    def log_weights(self, x: Array, z: Array) -> Array:
        """Return log p(x, z) - log q(z|x) of one image, ``(P,)``, and its latents, ``(K, D)``: ``(K,)``, in nats."""
        loc, scale = self.encoded(x)
        log_prior = -(z**2) / 2 - math.log(2 * math.pi) / 2
        log_q = -(((z - loc) / scale) ** 2) / 2 - np.log(scale) - math.log(2 * math.pi) / 2
        logits = through(self.decoder, z)
        log_likelihood = x * logits - np.maximum(logits, 0) - np.log1p(np.exp(-np.abs(logits)))
        return log_likelihood.sum(-1) + log_prior.sum(-1) - log_q.sum(-1)

    def log_marginal(self, x: Array, num_samples: int, noise: np.random.Generator) -> tuple[float, float]:
        """Estimate log p(x) of one image, ``(P,)``, with the error that the weights tell, in nats."""
        loc, scale = self.encoded(x)
        z = loc + scale * noise.standard_normal((num_samples, len(loc)))
        parts = np.array_split(z, math.ceil(num_samples / TOGETHER))
        return log_mean(np.concatenate([self.log_weights(x, part) for part in parts]))


def through(layers: Layers, h: Array) -> Array:
    """Map ``(*, I)`` to ``(*, O)``."""
    for weight, bias in layers[:-1]:
        h = np.tanh(h @ weight.T + bias)
    weight, bias = layers[-1]
    return h @ weight.T + bias


def log_mean(log_weights: Array) -> tuple[float, float]:
    """Return the logarithm of the weights' mean, and its standard error by the delta method, in nats."""
    w = np.exp(log_weights - log_weights.max())
    return float(log_weights.max() + math.log(w.mean())), float(w.std(ddof=1) / w.mean() / math.sqrt(len(w)))
