"""Compress test data by a VAE, and compare the length of the file with what the ELBO and log p(x) promise.

"Data compression and variational inference with VAEs" calls a VAE a compressor; here is the file (bits-back coding:
Townsend et al., 2019, arXiv:1901.04866; with several particles: Ruan et al., 2021, arXiv:2102.11086). Beside it are
gzip, bz2, xz and zstd of the data, as bytes or packed bits, and, for images, PNG and WebP without loss, of each image
or of all together, whichever is shorter. The likelihood is that of the data: ``Bernoulli``, ``DiscretizedLogistic`` or
``NegativeBinomial``. ``python scripts/benchmarks/compression.py --data.root DIR`` writes ``particles.png`` and
``results.json``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import shutil
import subprocess
import sys
import time

import numpy as np
import pyro
import torch
from jsonargparse.typing import PositiveInt
from PIL import Image

from pyrovae import (
    MNIST,
    VAE,
    Annealed,
    Bernoulli,
    DiagonalNormal,
    DiscretizedLogistic,
    NegativeBinomial,
    StandardNormal,
    checks,
    figures,
    fit,
    load,
    log_marginal,
    log_weights,
)
from pyrovae.cli import script
from pyrovae.codec import compress, decompress
from pyrovae.data import DataSet, or_digits
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    run: str | None = None,
    latent_dim: int = 40,
    epochs: int = 20,
    particles: tuple[int, ...] = (1, 2, 5, 10),
    num_data: PositiveInt = 10_000,
    num_by_particles: PositiveInt = 2000,
    num_annealed: PositiveInt = 100,
    seed: int = 0,
    out: str = "runs/compression",
) -> None:
    """Compress test data by a VAE, and compare the length of the file with what the ELBO and log p(x) promise.

    Args:
        data: the data set.
        run: a trained run of these data to use; a VAE is trained if none is given.
        latent_dim: number of latents.
        epochs: passes over the training data.
        particles: numbers of particles to compress by.
        num_data: test data to compress by one particle.
        num_by_particles: test data to compress by each number of particles.
        num_annealed: test data whose log p(x) is estimated by annealing.
        seed: of weights, batches and noise.
        out: folder of the picture and the figures.
    """
    pyro.set_rng_seed(checks.seed(seed))
    dataset = or_digits(data)
    vae = trained(dataset, latent_dim, epochs) if run is None else load(run).program
    x, few = dataset.test[:num_data], dataset.test[:num_by_particles]
    in_bits = 1 / (math.log(2) * math.prod(dataset.data_shape))
    start = time.process_time()
    file = compress(vae, x, verify=False)
    seconds = time.process_time() - start
    if not torch.equal(decompress(vae, file), x):
        raise RuntimeError("the data are not restored")
    found = {"file, 1 particle": len(file), **others(x, dataset)}
    bits = {name: 8 * length / x.numel() for name, length in found.items()}
    log_w = log_weights(vae.model, vae.guide, few, num_samples=10 * math.lcm(*particles))  # (S, N)
    bits["negative ELBO"] = -in_bits * log_weights(vae.model, vae.guide, x, num_samples=10).mean().item()
    annealed = log_marginal(vae.model, vae.guide, few[:num_annealed], Annealed(num_temperatures=50, num_chains=8))
    rows = [
        {
            "particles": K,
            "file": 8 * len(compress(vae, few, num_particles=K, verify=False)) / few.numel(),
            "bound": -in_bits * (log_w.unflatten(0, (-1, K)).logsumexp(1) - math.log(K)).mean().item(),
        }
        for K in particles
    ]
    results = {
        "num_data": len(x),
        "bits_per_dim": bits,
        "num_by_particles": len(few),
        "by_particles": rows,
        "annealed": {"num_data": len(few[:num_annealed]), "nll": annealed.nll * in_bits},
        "annealed_bound": -in_bits * (log_w[:, :num_annealed].logsumexp(0) - math.log(len(log_w))).mean().item(),
        "data_per_second": len(x) / seconds,
    }
    lines = {"the file": [row["file"] for row in rows], "minus the bound L_K": [row["bound"] for row in rows]}
    picture = figures.line_panels(particles, {"bits per dimension": lines}, "particles K", log=True)
    figures.save(picture, f"{out}/particles.png")
    print("\n".join(f"{name:22} {value:.4f} bits/dim" for name, value in sorted(bits.items(), key=lambda row: row[1])))
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


def trained(dataset: DataSet, latent_dim: int, epochs: int) -> VAE:
    shape, levels = dataset.data_shape, dataset.observed_levels
    likelihood: torch.nn.Module = NegativeBinomial(shape, latent_dim)
    if levels is not None:
        grey = DiscretizedLogistic(shape, latent_dim, scale="network", levels=levels)
        likelihood = Bernoulli(shape, latent_dim) if levels == 2 else grey
    vae = VAE(StandardNormal(latent_dim), likelihood, DiagonalNormal(shape, latent_dim))
    fit(vae.model, vae.guide, dataset, epochs=epochs)
    return vae


def others(x: torch.Tensor, dataset: DataSet) -> dict[str, int]:
    """Lengths of what other compressors make of the data."""
    levels = dataset.observed_levels
    whole = (x * ((levels or 2) - 1)).round().numpy()
    values = whole.astype(np.uint8 if whole.max() < 256 else np.uint16)
    forms = [values.tobytes(), *([np.packbits(values.astype(bool)).tobytes()] if levels == 2 else [])]
    tools = {
        "gzip": lambda part: gzip.compress(part, 9),
        "bz2": bz2.compress,
        "xz": lambda part: lzma.compress(part, preset=9),
    }
    if shutil.which("zstd"):
        tools["zstd"] = lambda part: (
            subprocess.run(["zstd", "-19", "-c"], input=part, capture_output=True, check=True).stdout
        )
    found = {name: min(len(tool(form)) for form in forms) for name, tool in tools.items()}
    if levels is None or len(dataset.data_shape) != 3 or dataset.data_shape[0] != 1:
        return found
    grey = values[:, 0] * (255 if levels == 2 else 1)
    per_sheet = max(1, 16_000 // grey.shape[1])
    sheets = [np.concatenate(grey[i : i + per_sheet]) for i in range(0, len(grey), per_sheet)]
    for name, options in {
        "PNG": {"format": "PNG", "optimize": True},
        "WebP": {"format": "WebP", "lossless": True},
    }.items():
        found[name] = min(sum(saved(part, levels, options) for part in parts) for parts in (grey, sheets))
    return found


def saved(grey: np.ndarray, levels: int, options: dict[str, object]) -> int:
    image, file = Image.fromarray(grey), io.BytesIO()
    (image.convert("1") if levels == 2 and options["format"] == "PNG" else image).save(file, **options)
    return len(file.getvalue())


if __name__ == "__main__":
    sys.exit(script(main))
