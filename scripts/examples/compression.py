"""See a VAE as a compressor: bits that a code costs against the error that it leaves, for β from 0.1 to 10.

"Variational Autoencoders" (2018) and "Data compression and variational inference with VAEs" begin with compression.
With a weight β of the KL, training minimises distortion + β rate, and each β is one point of the rate-distortion curve
(Alemi et al., 2018, arXiv:1711.00464). The rate is the mean KL(q(z|x) ‖ p(z)): what it takes to send a code by bits
back, without rounding; the distortion is -E log p(x|z), what it takes to send the image once its code is known. Their
sum is minus the ELBO, which β = 1 minimises. β grows from 0 in the first half of training: a large one from the start
would drive all codes to the prior before the decoder can use them. ``python scripts/examples/compression.py --data.root
DIR`` writes ``rate_distortion.png``, ``images.png``, ``samples.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import math
import sys
from functools import partial

import pyro
import torch
from jsonargparse.typing import PositiveInt

from pyrovae import (
    MLP,
    MNIST,
    VAE,
    Bernoulli,
    DiagonalNormal,
    StandardNormal,
    checks,
    figures,
    fit,
    generate,
    progress,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.evaluation import rate_distortion
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 6,
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0),
    num_data: PositiveInt = 1000,
    seed: int = 0,
    out: str = "runs/compression",
) -> None:
    """Train a VAE for each weight of the KL, and draw what its codes cost against the error that they leave.

    Args:
        data: the data set.
        latent_dim: number of latents.
        epochs: passes over the training images, for each β.
        betas: weights β of the KL.
        num_data: test images to measure.
        seed: of weights, batches and noise.
        out: folder of the pictures and the figures.
    """
    images = or_digits(data)
    shape, x = images.data_shape, images.test[:num_data]
    rows, samples, results = {"data": x[:12]}, {}, []
    network = partial(MLP, hidden_features=(300, 300), activation=torch.nn.ELU)
    for beta in betas:
        pyro.set_rng_seed(checks.seed(seed))
        progress.note(f"β = {beta:g}")
        likelihood, posterior = Bernoulli(shape, latent_dim, network), DiagonalNormal(shape, latent_dim, network)
        vae = VAE(StandardNormal(latent_dim), likelihood, posterior)
        fit(vae.model, vae.guide, images, epochs=epochs, beta=beta, kl_warmup=epochs // 2)
        found, means = rate_distortion(vae.model, vae.guide, x, 50), reconstruct(vae.model, vae.guide, x)
        rate, distortion = (part.mean().item() / math.log(2) for part in (found.rate, found.distortion))
        results.append(
            {
                "beta": beta,
                "rate": rate,
                "distortion": distortion,
                "total": rate + distortion,
                "rmse": (means - x).square().mean().sqrt().item(),
                "active_units": int(found.active["z"].sum()),
            }
        )
        name = f"β = {beta:g}: {rate:.0f} bits"
        rows[name], samples[name] = means[:12], generate(vae.model, 12, x)

    names = [f"β = {beta:g}" for beta in betas]
    errors = {
        "distortion, bits per image": [row["distortion"] for row in results],
        "RMSE of the reconstruction": [row["rmse"] for row in results],
    }
    plane = figures.rate_distortion_plane(
        [row["rate"] for row in results], errors, names, "What a code costs, and leaves"
    )
    figures.save(plane, f"{out}/rate_distortion.png")
    figures.save(figures.labelled_rows(rows, "Test images and their reconstructions"), f"{out}/images.png")
    figures.save(figures.labelled_rows(samples, "Samples from the prior (means of p(x|z))"), f"{out}/samples.png")
    print(f"{'β':>5} {'rate, bits':>11} {'distortion, bits':>17} {'sum':>7} {'RMSE':>7} {'active':>7}")
    for row in results:
        print(
            f"{row['beta']:5g} {row['rate']:11.1f} {row['distortion']:17.1f} {row['total']:7.1f} "
            f"{row['rmse']:7.4f} {row['active_units']:7}"
        )
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
