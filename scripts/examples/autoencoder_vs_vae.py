"""Compare a plain autoencoder and a VAE of 2 latents on the same network: maps, decoder grids, holes and overlaps.

The autoencoder's map and grid, and their faults, are from "Data compression and variational inference with VAEs", with
three hidden layers; its codes are not squashed into a square here. ``python scripts/examples/autoencoder_vs_vae.py
--data.root DIR`` writes ``comparison.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import torch
from jsonargparse.typing import PositiveInt
from torch.distributions import Bernoulli as Coin
from torch.distributions import MultivariateNormal

from pyrovae import (
    MLP,
    MNIST,
    VAE,
    Autoencoder,
    Bernoulli,
    DiagonalNormal,
    StandardNormal,
    checks,
    decode,
    encode,
    figures,
    fit,
    prior_grid,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.evaluation import cluster_purity, coverage, linear_probe, neighbour_probe
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    hidden_features: tuple[int, ...] = (400, 200, 100),
    epochs: int = 12,
    num_data: PositiveInt = 5000,
    columns: PositiveInt = 15,
    seed: int = 0,
    out: str = "runs/autoencoder_vs_vae",
) -> None:
    """Compare a plain autoencoder and a VAE of 2 latents on the same network: maps, decoder grids, holes and overlaps.

    Args:
        data: the data set, with labels; the embedded digits where its files are missing.
        hidden_features: width of each hidden layer of the encoder, and in reverse of the decoder.
        epochs: passes over the training images.
        num_data: test images on the maps, and training images from which probes learn.
        columns: images in a row and a column of the grids.
        seed: of all that is random.
        out: folder for the picture and results.
    """
    images = or_digits(data, labelled=True)
    shape = images.data_shape
    encoder = partial(MLP, hidden_features=hidden_features)
    likelihood = partial(Bernoulli, network=partial(MLP, hidden_features=hidden_features[::-1]))
    torch.manual_seed(checks.seed(seed))
    programs = {
        "autoencoder": Autoencoder(shape, 2, likelihood=likelihood, encoder=encoder),
        "VAE": VAE(StandardNormal(2), likelihood(shape, 2), DiagonalNormal(shape, 2, encoder)),
    }
    x, labels = images.test[:num_data], images.test.labels[:num_data]
    some, some_labels = images.train[:num_data], images.train.labels[:num_data]
    frames, results = [], {}
    for name, program in programs.items():
        history = fit(program.model, program.guide, images, epochs=epochs, batch_size=128)
        codes, learned = encode(program.guide, x)["z"], encode(program.guide, some)["z"]
        if name == "VAE":
            grid = prior_grid(program.model, x[:1], columns)
            prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
        else:  # it has no prior: the square that holds 98 % of the codes' range, and a normal fitted to them
            low, high = codes.quantile(torch.tensor([0.01, 0.99]), dim=0)
            square = torch.cartesian_prod(*[torch.linspace(0, 1, columns)] * 2).flip(1)
            grid = decode(program.model, {"z": low + square * (high - low)}, shape)
            prior = MultivariateNormal(codes.mean(0), codes.T.cov())
        frames.append(figures.Frame(name, codes, grid))
        drawn = prior.sample(x.shape[:1])
        with torch.no_grad():
            sampled = program.posterior(x).sample()  # of the autoencoder, the codes themselves
        results[name] = {
            "reconstruction": history.epochs[-1].validation_reconstruction,
            "linear_probe": linear_probe(learned, some_labels, codes, labels),
            "neighbour_probe": neighbour_probe(learned, some_labels, codes, labels),
            "cluster_purity": cluster_purity(codes, labels),
            "coverage": coverage(drawn, sampled),
            "entropy_of_samples": Coin(decode(program.model, {"z": drawn}, shape))
            .entropy()
            .flatten(1)
            .sum(1)
            .mean()
            .item(),
            "largest_code": codes.abs().max().item(),
        }
        print(f"{name}:", ", ".join(f"{what} {value:.3f}" for what, value in results[name].items()))
    figures.save(figures.film_strip(frames, labels, one_scale=False), f"{out}/comparison.png")
    write_text(f"{out}/results.json", json.dumps(results, indent=2))


if __name__ == "__main__":
    sys.exit(script(main))
