"""Film a VAE of 2 latents in training: the encoder's map of the data and the decoder's plane, side by side.

The pictures of "Introducing Variational Autoencoders (in Prose and Code)" (2016), over logarithmic time; the plane is
at evenly spaced percentiles of the prior. ``python scripts/examples/latent_film.py --data.root DIR`` writes
``film.gif``, stills of it ``stills.png``, the last plane ``manifold.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from math import ceil

import numpy as np
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
    encode,
    figures,
    fit,
    prior_grid,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.files import write_text
from pyrovae.rng import forked_rng
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    hidden_features: tuple[int, ...] = (500, 500),
    iterations: PositiveInt = 10_000,
    most_epochs: PositiveInt = 100,
    num_frames: PositiveInt = 40,
    num_stills: PositiveInt = 6,
    num_data: PositiveInt = 3000,
    columns: PositiveInt = 12,
    seed: int = 0,
    out: str = "runs/latent_film",
) -> None:
    """Film a VAE of 2 latents in training: the encoder's map of the data and the decoder's plane, side by side.

    Args:
        data: the data set; the embedded digits where its files are missing.
        hidden_features: width of each hidden layer of the encoder, and in reverse of the decoder.
        iterations: steps of training, rounded to whole epochs.
        most_epochs: passes over the images at most, which few images come to first.
        num_frames: moments to film, evenly spaced in the logarithm of the iteration.
        num_stills: of these to show in one picture.
        num_data: training images on the map.
        columns: images in a row and a column of the plane.
        seed: of all that is random.
        out: folder for the film, the pictures and results.
    """
    torch.manual_seed(checks.seed(seed))
    images = or_digits(data)
    network = partial(MLP, activation=torch.nn.ELU)
    vae = VAE(
        StandardNormal(2),
        Bernoulli(images.data_shape, 2, partial(network, hidden_features=hidden_features[::-1])),
        DiagonalNormal(images.data_shape, 2, partial(network, hidden_features=hidden_features)),
    )
    per_epoch = ceil(len(images.train) / 128)
    epochs = min(most_epochs, max(1, round(iterations / per_epoch)))
    moments = set(np.geomspace(1, epochs * per_epoch, num_frames).round().astype(int).tolist())
    x = images.train[:num_data]
    labels = None if images.train.labels is None else images.train.labels[:num_data]
    frames: list[figures.Frame] = []
    steps = iter(range(1, epochs * per_epoch + 1))

    class Watched(torch.optim.Adam):  # a class of its own, whose steps no compiled graph takes over
        def step(self, closure: None = None) -> None:
            super().step(closure)
            step = next(steps)
            if step in moments:
                with forked_rng(x.device):  # so that filming changes nothing
                    torch.manual_seed(seed)  # the plane's percentiles are drawn: the same codes in all frames
                    codes, means = encode(vae.guide, x)["z"], prior_grid(vae.model, x[:1], columns)
                frames.append(figures.Frame(f"iteration {step:,}", codes, means))

    history = fit(vae.model, vae.guide, images, epochs=epochs, batch_size=128, optimizer=Watched)

    figures.film(frames, labels, f"{out}/film.gif")
    stills = [frames[i] for i in np.linspace(0, len(frames) - 1, num_stills).round().astype(int)]
    figures.save(figures.film_strip(stills, labels), f"{out}/stills.png", dpi=110)
    figures.save(figures.manifold(frames[-1].means, columns), f"{out}/manifold.png")
    last = history.epochs[-1]
    results = {"frames": len(moments), "validation_elbo": last.validation_elbo, "validation_kl": last.validation_kl}
    write_text(f"{out}/results.json", json.dumps(results, indent=2))
    print(
        f"{len(frames)} frames; validation ELBO {last.validation_elbo:.2f} nats, KL in it {last.validation_kl:.2f} nats"
    )


if __name__ == "__main__":
    sys.exit(script(main))
