"""Train a convolutional VAE of 20 latents: reconstructions early and late beside the originals, samples from the prior.

Network and training are those of "Deep Learning: Variational Autoencoders": 1-16-32 channels by 3x3 convolutions of
stride 2 with ReLU, then 7x7, and the mirror image; batches of 100, Adam at 1e-3. The pictures after epochs 1 and 9 are
those of "Variational Autoencoders Explained" (2016). ``python scripts/examples/convolutional_vae.py --data.root DIR``
writes ``reconstructions.png``, ``samples.png``, ``training.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from pyrovae import (
    MNIST,
    VAE,
    Bernoulli,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DiagonalNormal,
    History,
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
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 20,
    shown: tuple[int, ...] = (1, 9, 20),
    num_data: PositiveInt = 500,
    seed: int = 0,
    out: str = "runs/convolutional_vae",
) -> None:
    """Train a convolutional VAE: reconstructions early and late beside the originals, samples from the prior.

    Args:
        data: the data set; the embedded digits where its files are missing.
        latent_dim: number of latents.
        epochs: passes over the training images.
        shown: epochs after which test images are reconstructed.
        num_data: test images whose log-likelihood is estimated.
        seed: of all that is random.
        out: folder for the pictures and results.
    """
    torch.manual_seed(checks.seed(seed))
    images = or_digits(data)
    vae = VAE(
        StandardNormal(latent_dim),
        Bernoulli(images.data_shape, latent_dim, ConvolutionalDecoder),
        DiagonalNormal(images.data_shape, latent_dim, ConvolutionalEncoder),
    )
    x = images.test[:12]
    rows: dict[str, Tensor] = {"test images": x}

    def look(history: History, state: object) -> None:
        epoch = len(history.epochs)
        if epoch in shown:
            rows[f"epoch {epoch}"] = reconstruct(vae.model, vae.guide, x)

    history = fit(vae.model, vae.guide, images, epochs=epochs, batch_size=100, callback=look)

    figures.save(figures.labelled_rows(rows, "reconstructions"), f"{out}/reconstructions.png")
    figures.save(figures.samples(generate(vae.model, 96, like=x), columns=12), f"{out}/samples.png")
    figures.save(figures.training_curves(history), f"{out}/training.png")
    evidence = log_marginal(vae.model, vae.guide, images.test[:num_data], num_samples=200, num_draws=0)
    results = {
        "validation_elbo": [row.validation_elbo for row in history.epochs],
        "validation_kl": [row.validation_kl for row in history.epochs],
        "num_data": len(evidence.log_prob),
        "nll": evidence.nll,
        "nll_error": evidence.sampling_error,
    }
    write_text(f"{out}/results.json", json.dumps(results, indent=2))
    for row in history.epochs:
        print(
            f"epoch {row.epoch}: validation ELBO {row.validation_elbo:.2f} nats, KL in it {row.validation_kl:.2f} nats"
        )
    print(f"NLL of {results['num_data']} test images {evidence.nll:.2f} ± {evidence.sampling_error:.2f} nats")


if __name__ == "__main__":
    sys.exit(script(main))
