"""Let a discriminator say what is similar: the VAE-GAN of Larsen et al. beside the VAE that it begins as.

"Variational Autoencoders Explained" calls a VAE's pictures blurrier than a GAN's, and points to Larsen et al. (2016,
arXiv:1512.09300): in the place of pixels, a Gaussian of unit scale explains what a layer of a discriminator makes of
them. The encoder minimises the KL and minus its logarithm, the decoder a share of that and what gives it away as a
forger, the discriminator its error in telling images from reconstructions and samples. Sharpness is the mean change
from pixel to pixel, which blur makes small. ``python scripts/examples/vae_gan.py --data.root DIR`` writes
``reconstructions.png``, ``samples.png`` and ``results.json``.
"""

from __future__ import annotations

import copy
import json
import sys
from itertools import chain, count

import pyro
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae import (
    MNIST,
    VAE,
    Bernoulli,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
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
from pyrovae.data import observed, or_digits
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def sharpness(x: Tensor) -> float:
    """Return the mean absolute change from one pixel to the next, of x, (N, C, H, W)."""
    return sum(x.diff(dim=dim).abs().mean().item() for dim in (-1, -2)) / 2


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 4,
    iterations: PositiveInt = 1500,
    batch_size: int = 64,
    lr: float = 3e-4,
    gamma: float = 0.1,
    seed: int = 0,
    out: str = "runs/vae_gan",
) -> None:
    """Train a VAE by pixels and one by the features of a discriminator, and show both side by side.

    Args:
        data: the data set, whose grey values are taken as they are.
        latent_dim: number of latents.
        epochs: passes of the VAE over the training images.
        iterations: steps of the VAE-GAN, which begins as the VAE.
        batch_size: images in a batch.
        lr: learning rate of the VAE-GAN.
        gamma: share of the likelihood of features in the decoder's loss.
        seed: of weights, batches and noise.
        out: folder of the pictures and the figures.
    """
    checks.number("lr", lr, open_below=True)
    checks.number("gamma", gamma)
    images = observed(or_digits(data))
    shape = images.data_shape

    pyro.set_rng_seed(checks.seed(seed))
    decoder = Bernoulli(shape, latent_dim, ConvolutionalDecoder)
    vae = VAE(StandardNormal(latent_dim), decoder, DiagonalNormal(shape, latent_dim, ConvolutionalEncoder))
    fit(vae.model, vae.guide, images, epochs=epochs, batch_size=batch_size)
    gan = copy.deepcopy(vae).train()

    judge = ConvolutionalEncoder(shape, 1, activation=nn.LeakyReLU)
    groups = [list(part.parameters()) for part in (gan.posterior, gan.likelihood, judge)]
    optimizer = torch.optim.Adam(chain(*groups), lr, betas=(0.5, 0.999))
    batches = chain.from_iterable(images.train.batches(batch_size, shuffle=True) for _ in count())
    for _ in progress.over(range(iterations), "VAE-GAN", "step"):
        x = next(batches)
        B = len(x)
        q = gan.posterior(x)
        z = torch.cat((q.rsample(), torch.randn(B, latent_dim)))  # (2 B, D) codes, then draws from the prior
        features = judge.layers[:-1](torch.cat((x, gan.likelihood(z).mean)))  # (3 B, ...)
        real, forged = judge.layers[-1](features).flatten().split((B, 2 * B))  # logits of being real
        kl = (q.log_prob(z[:B]) - gan.prior().log_prob(z[:B])).mean()
        unlike = 0.5 * (features[:B].detach() - features[B : 2 * B]).square().flatten(1).sum(1).mean()  # nats
        losses = (
            kl + unlike,
            gamma * unlike + softplus(-forged).mean(),
            softplus(-real).mean() + softplus(forged).mean(),
        )
        for group, loss in zip(groups, losses, strict=True):
            for weight, gradient in zip(group, torch.autograd.grad(loss, group, retain_graph=True), strict=True):
                weight.grad = gradient
        optimizer.step()

    x = images.test[:500]
    rows, samples, results = {"data": x[:12]}, {"data": x[12:36]}, {"data": {"sharpness": sharpness(x)}}
    for name, one in {"VAE, by pixels": vae, "VAE-GAN, by features": gan}.items():
        means, drawn = reconstruct(one.model, one.guide, x), generate(one.model, 500, x)
        error = (means - x).square().mean().sqrt().item()
        results[name] = {"rmse": error, "sharpness": sharpness(means), "sharpness_of_samples": sharpness(drawn)}
        rows[name], samples[name] = means[:12], drawn[:24]
    halves = {f"{name}{' ' * i}": part[12 * i :][:12] for name, part in samples.items() for i in range(2)}
    for name, parts in {"reconstructions": rows, "samples": halves}.items():
        figures.save(figures.labelled_rows(parts, f"{name.capitalize()}: blur and sharpness"), f"{out}/{name}.png")
    print(json.dumps(results, indent=1))
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
