"""Show what a VAE of clean images makes of noisy ones, as it is and when it is told of the noise.

Readers of "Variational Autoencoders Explained" ask whether a VAE is good for noisy input. Pixels are flipped with a
probability that grows; the VAE has seen clean images alone. As it is, its encoder reads the noise as part of the image.
Told of the noise, its model is p(z) p(x|z) followed by the flips, which needs no training: codes are drawn from the
posterior of that model by annealing (Neal, 2001), and what is decoded is the mean of the clean image. Both are measured
by the share of pixels that differ from the clean image; log p(x) says how strange the noisy image is to each model.
``python scripts/examples/denoising.py --data.root DIR`` writes ``images.png``, ``curves.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys

import pyro
import pyro.distributions as dist
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from pyrovae import (
    MNIST,
    VAE,
    Annealed,
    Bernoulli,
    DiagonalNormal,
    StandardNormal,
    checks,
    decode,
    figures,
    fit,
    log_marginal,
    progress,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import observed, or_digits
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 15,
    flips: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3),
    num_data: PositiveInt = 100,
    num_temperatures: PositiveInt = 100,
    seed: int = 0,
    out: str = "runs/denoising",
) -> None:
    """Reconstruct ever noisier images by a VAE of clean ones, as it is and told of the noise.

    Args:
        data: the data set, whose pixels are rounded to black and white.
        latent_dim: number of latents.
        epochs: passes over the training images.
        flips: probabilities that a pixel is flipped.
        num_data: test images to take.
        num_temperatures: of the annealing.
        seed: of weights, batches and noise.
        out: folder of the pictures and the figures.
    """
    pyro.set_rng_seed(checks.seed(seed))
    flips = tuple(checks.number("flips", flip, 0.0, 1.0) for flip in flips)
    clean = observed(or_digits(data), "threshold")
    shape, x = clean.data_shape, clean.test[:num_data]
    vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim))
    vae.initialize(clean.train[:])
    fit(vae.model, vae.guide, clean, epochs=epochs)

    def noisy_model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            on = vae.likelihood(z).mean * (1 - 2 * flip) + flip  # (B, *shape)
            pyro.sample("x", dist.Bernoulli(on).to_event(len(shape)), obs=x)

    vae.eval().requires_grad_(False)
    chains = Annealed(num_temperatures=num_temperatures, num_chains=4)
    rows, results = {"clean": x[:12]}, []
    for flip in flips:
        progress.note(f"{flip:.0%} of the pixels flipped")
        noisy = torch.where(torch.rand_like(x) < flip, 1 - x, x)
        as_it_is = reconstruct(vae.model, vae.guide, noisy)
        plain = log_marginal(vae.model, vae.guide, noisy, chains, num_draws=0)
        told = log_marginal(noisy_model, vae.guide, noisy, chains, num_draws=8)
        codes = told.draws["z"].flatten(0, 1)  # (B * S, D)
        mean = decode(vae.model, {"z": codes}, shape).unflatten(0, (len(x), -1)).mean(1)  # (B, *shape)
        wrong = [(guess.round() != x).double().mean().item() for guess in (noisy, as_it_is, mean)]
        results.append(
            {
                "flipped": flip,
                **dict(zip(("noisy image", "VAE as it is", "VAE told of the noise"), wrong, strict=True)),
                "log_prob": -plain.nll,
                "log_prob_told": -told.nll,
            }
        )
        if flip in flips[1::2]:
            rows[f"{flip:.0%} flipped"] = noisy[:12]
            rows[f"as it is ({flip:.0%})"], rows[f"told of the noise ({flip:.0%})"] = as_it_is[:12], mean[:12]

    figures.save(figures.labelled_rows(rows, "Noisy test images, and what the VAE makes of them"), f"{out}/images.png")
    names = ("noisy image", "VAE as it is", "VAE told of the noise")
    panels = {
        "share of pixels that are wrong": {name: [row[name] for row in results] for name in names},
        "log p(noisy image), nats": {
            "VAE as it is": [row["log_prob"] for row in results],
            "VAE told of the noise": [row["log_prob_told"] for row in results],
        },
    }
    figures.save(figures.line_panels(flips, panels, "share of pixels that are flipped"), f"{out}/curves.png")
    for row in results:
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
