"""Train a fully connected VAE of 50 latents and show test images, with their reconstructions below.

Network and training are those of "Introducing Variational Autoencoders (in Prose and Code)" (2016): 784-500-500-50 and
back, ELU, dropout that keeps 0.9, L2 of 1e-5, batches of 128, Adam at 1e-3, 20,000 iterations.
``python scripts/examples/fully_connected_vae.py --data.root DIR`` writes ``reconstructions.png``, ``samples.png``,
``training.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from math import ceil

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
    log_marginal,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 50,
    hidden_features: tuple[int, ...] = (500, 500),
    dropout: float = 0.1,
    weight_decay: float = 1e-5,
    iterations: PositiveInt = 20_000,
    most_epochs: PositiveInt = 100,
    num_data: PositiveInt = 500,
    seed: int = 0,
    out: str = "runs/fully_connected_vae",
) -> None:
    """Train a fully connected VAE and show test images above, their reconstructions below.

    Args:
        data: the data set; the embedded digits where its files are missing.
        latent_dim: number of latents.
        hidden_features: width of each hidden layer of the encoder, and in reverse of the decoder.
        dropout: probability that a hidden feature is set to zero in training.
        weight_decay: L2 penalty of the weights.
        iterations: steps of training, rounded to whole epochs.
        most_epochs: passes over the images at most, which few images come to first.
        num_data: test images whose log-likelihood is estimated.
        seed: of all that is random.
        out: folder for the pictures and results.
    """
    torch.manual_seed(checks.seed(seed))
    images = or_digits(data)
    network = partial(MLP, activation=torch.nn.ELU, dropout=dropout, weight_decay=weight_decay)
    vae = VAE(
        StandardNormal(latent_dim),
        Bernoulli(images.data_shape, latent_dim, partial(network, hidden_features=hidden_features[::-1])),
        DiagonalNormal(images.data_shape, latent_dim, partial(network, hidden_features=hidden_features)),
    )
    epochs = min(most_epochs, max(1, round(iterations / ceil(len(images.train) / 128))))
    history = fit(vae.model, vae.guide, images, epochs=epochs, batch_size=128)

    x = images.test[:30]
    figures.save(figures.reconstructions(x, reconstruct(vae.model, vae.guide, x)), f"{out}/reconstructions.png")
    figures.save(figures.samples(generate(vae.model, 60, like=x), columns=10), f"{out}/samples.png")
    figures.save(figures.training_curves(history), f"{out}/training.png")
    evidence = log_marginal(vae.model, vae.guide, images.test[:num_data], num_samples=500, num_draws=0)
    last = history.epochs[-1]
    results = {
        "epochs": epochs,
        "validation_elbo": last.validation_elbo,
        "validation_kl": last.validation_kl,
        "num_data": len(evidence.log_prob),
        "nll": evidence.nll,
        "nll_error": evidence.sampling_error,
    }
    write_text(f"{out}/results.json", json.dumps(results, indent=2))
    print(f"epochs {epochs}, validation ELBO {last.validation_elbo:.2f} nats, KL in it {last.validation_kl:.2f} nats")
    print(f"NLL of {results['num_data']} test images {evidence.nll:.2f} ± {evidence.sampling_error:.2f} nats")


if __name__ == "__main__":
    sys.exit(script(main))
