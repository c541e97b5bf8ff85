"""Train VAEs of few and of many latents: reconstruction, samples, NLL, rate and active units against their number.

An answer to what readers of "Variational Autoencoders Explained" (2016) ask: does the size of the latent space matter
for new samples? ``python scripts/examples/latent_size.py --data.root DIR`` writes ``images.png``, ``figures.png`` and
``results.json``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict

import torch
from jsonargparse.typing import PositiveInt

from pyrovae import (
    MNIST,
    VAE,
    Bernoulli,
    DiagonalNormal,
    StandardNormal,
    checks,
    figures,
    fit,
    generate,
    log_marginal,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.evaluation import rate_distortion
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dims: tuple[int, ...] = (2, 5, 10, 20, 50),
    epochs: int = 12,
    num_data: PositiveInt = 500,
    num_samples: PositiveInt = 1000,
    seed: int = 0,
    out: str = "runs/latent_size",
) -> None:
    """Train VAEs of few and of many latents: reconstruction, samples, NLL, rate and active units against their number.

    Args:
        data: the data set; the embedded digits where its files are missing.
        latent_dims: numbers of latents, one VAE each.
        epochs: passes over the training images of each.
        num_data: test images that are measured.
        num_samples: samples of each for its log-likelihood.
        seed: of all that is random.
        out: folder for the pictures and results.
    """
    images = or_digits(data)
    shape, x = images.data_shape, images.test[:num_data]
    rows = {"test images": x[:12]}
    results = defaultdict(list)
    for latent_dim in latent_dims:
        torch.manual_seed(checks.seed(seed))
        vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim))
        fit(vae.model, vae.guide, images, epochs=epochs, batch_size=128)
        rows[f"{latent_dim} latents: reconstructions"] = reconstruct(vae.model, vae.guide, x[:12])
        rows[f"{latent_dim} latents: samples"] = generate(vae.model, 12, like=x)
        evidence = log_marginal(vae.model, vae.guide, x, num_samples=num_samples, num_draws=0)
        found = rate_distortion(vae.model, vae.guide, x, num_samples=50)
        for name, value in {
            "NLL": evidence.nll,
            "NLL_error": evidence.sampling_error,
            "negative ELBO": -found.elbo.mean().item(),
            "distortion": found.distortion.mean().item(),
            "rate": found.rate.mean().item(),
            "active units": int(found.active["z"].sum()),
        }.items():
            results[name].append(value)
        print(f"{latent_dim} latents:", ", ".join(f"{name} {values[-1]:.2f}" for name, values in results.items()))
    figures.save(figures.labelled_rows(rows), f"{out}/images.png")
    panels = {
        "nats per image": {name: results[name] for name in ("negative ELBO", "NLL", "distortion")},
        "rate, nats per image": {"rate": results["rate"]},
        "active units": {"active units": results["active units"]},
    }
    figures.save(figures.line_panels(latent_dims, panels, "latents", log=True), f"{out}/figures.png")
    write_text(f"{out}/results.json", json.dumps({"latent_dims": latent_dims, **results}, indent=2))


if __name__ == "__main__":
    sys.exit(script(main))
