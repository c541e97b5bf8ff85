"""Show that squared error is a Gaussian likelihood, and what its scale is worth.

A decoder that is trained by squared error has a Gaussian likelihood of fixed scale, σ² = 1/2, whether one says so or
not. Here the scale is fixed, learned, learned for each pixel or given by the decoder, on dequantised grey values,
beside the continuous Bernoulli of the same values and a Bernoulli of binarised ones. All but the last are densities of
the same data, so that their bits/dim compare; a probability of binarised pixels is one of other data. Readers of
"Variational Autoencoders Explained" ask for this; "Data compression and variational inference with VAEs" complains of
decoders that fix their covariance. The map is of another program, with two latents and a learned scale. Layers are ELU:
where the decoder starts at the data's mean, the noise of the code drives all ReLUs of a narrow Gaussian to zero.
``python scripts/examples/gaussian_decoder.py --data.root DIR``, or ``--data FreyFaces --data.path FILE --epochs 150``,
writes ``reconstructions.png``, ``samples.png``, ``map.png``, ``manifold.png`` and ``results.json``.
"""

from __future__ import annotations

import json
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
    ContinuousBernoulli,
    DiagonalNormal,
    Gaussian,
    StandardNormal,
    checks,
    encode,
    figures,
    fit,
    generate,
    log_marginal,
    prior_grid,
    progress,
    reconstruct,
)
from pyrovae.cli import script
from pyrovae.data import observed, or_digits
from pyrovae.evaluation import rate_distortion
from pyrovae.files import write_text
from pyrovae.likelihoods import LikelihoodFactory
from pyrovae.runs import DataFactory

ADAM = partial(torch.optim.Adam, lr=2e-3)
NETWORK = partial(MLP, hidden_features=(200, 200), activation=torch.nn.ELU)
LEARNED = partial(Gaussian, network=NETWORK, scale="shared", initial_scale=0.1)
LIKELIHOODS: dict[str, LikelihoodFactory] = {
    "squared error, σ = 0.71": partial(Gaussian, network=NETWORK, scale="fixed", initial_scale=0.5**0.5),
    "Gaussian, σ = 0.1": partial(Gaussian, network=NETWORK, scale="fixed", initial_scale=0.1),
    "Gaussian, σ learned": LEARNED,
    "Gaussian, σ of each pixel": partial(Gaussian, network=NETWORK, scale="pixel", initial_scale=0.1),
    "Gaussian, σ from the decoder": partial(Gaussian, network=NETWORK, scale="network", initial_scale=0.1),
    "continuous Bernoulli": partial(ContinuousBernoulli, network=NETWORK),
    "Bernoulli, binarised data": partial(Bernoulli, network=NETWORK),
}


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 10,
    epochs: int = 6,
    num_data: PositiveInt = 500,
    num_samples: PositiveInt = 500,
    seed: int = 0,
    out: str = "runs/gaussian_decoder",
) -> None:
    """Compare a Gaussian decoder of fixed, learned and per-pixel scale with Bernoulli and continuous Bernoulli.

    Args:
        data: the data set, whose grey values are dequantised.
        latent_dim: number of latents; the map is of another program, which has two.
        epochs: passes over the training images, for each likelihood.
        num_data: test images to evaluate.
        num_samples: importance samples for each.
        seed: of weights, batches and noise.
        out: folder of the pictures and the figures.
    """
    made = or_digits(data)
    grey, binary = observed(made, dequantize=True), observed(made, "dynamic")
    shape, x = grey.data_shape, grey.test[:num_data]
    reconstructions, samples, results = {"data": x[:10]}, {}, []
    for name, likelihood in LIKELIHOODS.items():
        pyro.set_rng_seed(checks.seed(seed))
        seen = binary if "binarised" in name else grey
        progress.note(f"{name}:")
        vae = VAE(StandardNormal(latent_dim), likelihood(shape, latent_dim), DiagonalNormal(shape, latent_dim, NETWORK))
        vae.initialize(seen.train[:])
        fit(vae.model, vae.guide, seen, epochs=epochs, optimizer=ADAM)
        test = seen.test[:num_data]
        means = reconstruct(vae.model, vae.guide, test)
        nll = log_marginal(vae.model, vae.guide, test, num_samples=num_samples).nll
        results.append(
            {
                "likelihood": name,
                "nll": nll,
                "bits_per_dim": grey.bits_per_dim(nll) if seen is grey else None,
                "rate": rate_distortion(vae.model, vae.guide, test).rate.mean().item(),
                "rmse": (means - x).square().mean().sqrt().item(),
            }
        )
        reconstructions[name], samples[name] = means[:10], generate(vae.model, 10, x)
    figures.save(
        figures.labelled_rows(reconstructions, "Test images and their reconstructions"), f"{out}/reconstructions.png"
    )
    figures.save(figures.labelled_rows(samples, "Samples from the prior (means of p(x|z))"), f"{out}/samples.png")

    pyro.set_rng_seed(checks.seed(seed))
    progress.note("the map, σ learned:")
    vae = VAE(StandardNormal(2), LEARNED(shape, 2), DiagonalNormal(shape, 2, NETWORK))
    vae.initialize(grey.train[:])
    fit(vae.model, vae.guide, grey, epochs=epochs, optimizer=ADAM)
    codes = encode(vae.guide, x)["z"]
    figures.save(figures.thumbnail_map(codes, x), f"{out}/map.png")
    figures.save(figures.manifold(prior_grid(vae.model, x, 15).clamp(0, 1), 15), f"{out}/manifold.png")

    print(f"{'likelihood':30} {'NLL, nats':>10} {'bits/dim':>9} {'rate, nats':>11} {'RMSE':>7}")
    for row in results:
        bits = "other data" if row["bits_per_dim"] is None else f"{row['bits_per_dim']:.3f}"
        print(f"{row['likelihood']:30} {row['nll']:10.1f} {bits:>9} {row['rate']:11.2f} {row['rmse']:7.4f}")
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
