"""Climb the ladder of "Variational Autoencoders Explained": from one image in the weights to codes with noise.

1. One image is stored in the weights of a decoder whose input is constant.
2. Several images, each with a one-hot code.
3. The same images, each with one real number as its code, 1 apart; between the numbers lie images of nothing.
4. The numbers are read through noise, the post's thought experiment. What then comes through is at most
   log2(number of images) bits, and far less where the noise is as large as the distance of the codes: the decoder
   learns the mean of the images that a noisy number may stand for.
5. An encoder chooses the codes and their noise, of a VAE with one latent: the KL to a unit Gaussian is the price of
   little noise, and the more it weighs (β), the more images share a code.

``python scripts/examples/memorise.py --data.root DIR`` writes ``images.png``, ``information.png``, ``between.png`` and
``results.json``.
"""

from __future__ import annotations

import json
import math
import sys

import pyro
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from pyrovae import (
    MNIST,
    VAE,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    StandardNormal,
    checks,
    figures,
    fit,
    progress,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import observed, or_digits
from pyrovae.evaluation import rate_distortion
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def store(x: Tensor, codes: Tensor, steps: int, noise: float = 0.0) -> Bernoulli:
    """Train a decoder to give images x, (N, *data_shape), for their codes, (N, D), read through noise."""
    decoder = Bernoulli(tuple(x.shape[1:]), codes.shape[1])
    decoder.initialize(x)
    optimizer = torch.optim.Adam(decoder.parameters(), 2e-3)
    for _ in progress.over(range(steps), f"{len(x)} images, codes of {codes.shape[1]}, noise {noise:g}", "step"):
        optimizer.zero_grad()
        z = codes + noise * torch.randn(4, *codes.shape)  # (4, N, D)
        (-decoder(z).log_prob(x).mean()).backward()
        optimizer.step()
    return decoder.requires_grad_(False)


def main(
    data: DataFactory = MNIST,
    steps: PositiveInt = 2000,
    noises: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    betas: tuple[float, ...] = (0.1, 1.0, 10.0),
    epochs: int = 150,
    seed: int = 0,
    out: str = "runs/memorise",
) -> None:
    """Store images in weights, by one-hot codes, by numbers, by numbers read through noise, by a VAE of one latent.

    Args:
        data: the data set, of which the first training image of each class is taken.
        steps: steps of training of each decoder without an encoder.
        noises: standard deviations of the noise on the codes, which are 1 apart.
        betas: weights of the KL of the VAEs.
        epochs: passes of each over 16 copies of the images.
        seed: of weights and noise.
        out: folder of the pictures and the figures.
    """
    pyro.set_rng_seed(checks.seed(seed))
    noises = tuple(checks.number("noises", noise, open_below=True) for noise in noises)
    images = observed(or_digits(data, labelled=True))
    labels = images.train.labels
    x = images.train[torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])]  # (N, *shape)
    N = len(x)
    _ = [checks.number("pixels of data", value.item(), 0.0, 1.0) for value in x.aminmax()]
    numbers = torch.arange(float(N))[:, None] - (N - 1) / 2  # so that ReLUs bend among them

    rows = {"data": x, "1. in the weights": store(x[:1], torch.ones(1, 1), steps)(torch.ones(1, 1)).mean}
    rows["2. one-hot codes"] = store(x, torch.eye(N), steps)(torch.eye(N)).mean
    between, results = {}, []
    for noise in (0.0, *noises):
        decoder = store(x, numbers, steps, noise)
        rows["3. numbers, 1 apart" if noise == 0 else f"4. read with noise of {noise:g}"] = decoder(numbers).mean
        between[f"noise of {noise:g}"] = decoder(torch.linspace(-2.5, 0.5, 13)[:, None]).mean
        read = numbers + noise * torch.randn(5000)  # (N, 5000)
        log_prob = -((read[..., None] - numbers[:, 0]) ** 2) / (2 * max(noise, 1e-3) ** 2)  # (N, 5000, N)
        told = log_prob.log_softmax(-1).diagonal(dim1=0, dim2=2).mean().item() + math.log(N)  # I(image; what is read)
        error = (decoder(read.T[:500, :, None]).mean - x).square().mean().sqrt().item()
        results.append({"kind": "numbers", "noise": noise, "bits": told / math.log(2), "rmse": error})

    copies = DataSet(x.repeat(20, *[1] * (x.dim() - 1)), validation_size=2 * N, test_size=2 * N)
    for beta in betas:
        vae = VAE(StandardNormal(1), Bernoulli(images.data_shape, 1), DiagonalNormal(images.data_shape, 1))
        vae.initialize(x)
        fit(vae.model, vae.guide, copies, epochs=epochs, beta=beta)
        rows[f"5. a VAE's codes, β = {beta:g}"] = reconstruct(vae.model, vae.guide, x)
        found = rate_distortion(vae.model, vae.guide, x)
        rate, told = found.rate.mean().item() / math.log(2), found.mutual_information.value / math.log(2)
        error = (vae.likelihood(vae.posterior(x).sample((500,))).mean - x).square().mean().sqrt().item()
        results.append({"kind": "VAE", "beta": beta, "bits": told, "rate": rate, "rmse": error})

    figures.save(figures.labelled_rows(rows, "One image of each class, decoded"), f"{out}/images.png")
    figures.save(figures.labelled_rows(between, "Between four images: numbers in steps of 1/4"), f"{out}/between.png")
    read = [row for row in results if row.get("noise")]
    most = f"bits that are read, of log2({N}) = {math.log2(N):.2f}"
    panels = {most: {"": [row["bits"] for row in read]}, "RMSE of what is decoded": {"": [row["rmse"] for row in read]}}
    axis = "standard deviation of the noise, codes are 1 apart"
    figures.save(figures.line_panels([row["noise"] for row in read], panels, axis, log=True), f"{out}/information.png")
    for row in results:
        what = f"noise {row['noise']:g}" if row["kind"] == "numbers" else f"β = {row['beta']:g}"
        print(
            f"{row['kind']:8} {what:12} {row['bits']:5.2f} bits, RMSE {row['rmse']:.4f}"
            + (f", rate {row['rate']:.2f} bits" if "rate" in row else "")
        )
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
