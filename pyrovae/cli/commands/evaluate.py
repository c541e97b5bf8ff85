"""``pyrovae evaluate``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Literal

import torch
from tqdm.auto import tqdm

from pyrovae import checks
from pyrovae.cli.commands.device import device_named
from pyrovae.data import Split
from pyrovae.evaluation import log_marginal
from pyrovae.handlers import Batch, uses_labels
from pyrovae.runs import Run, caveats_of, labels_of

__all__ = ["evaluate"]


def evaluate(
    run: str,
    split: Literal["test", "validation", "train"] = "test",
    num_samples: int = 5000,
    method: Literal["importance"] = "importance",
    num_images: int | None = None,
    weights: Literal["best", "last"] = "best",
    num_draws: int = 10,
    chunk_size: int = 2000,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Estimate the marginal likelihood of a run's data, with its errors, and say whether to trust it.

    Args:
        run: the run's folder.
        split: which part of the data.
        num_samples: importance samples K for each image.
        method: importance, for importance sampling from the posterior.
        num_images: take only the first so many images.
        weights: those of the best validation ELBO, or of the last epoch.
        num_draws: posterior draws of each image to keep in the netCDF file.
        chunk_size: latents that go through the decoder at a time.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: of the samples.
    """
    folder = Run(run)
    checks.integer("num_samples", num_samples)
    checks.seed(seed)
    dataset, program = folder.load(weights)
    where = device_named(device)
    part: Split = getattr(dataset.to(where), split)
    program.to(where)
    count = len(part) if num_images is None else min(checks.integer("num_images", num_images), len(part))
    name = f"{split}-{method}-{num_samples}"
    name += f"-first{count}" if count < len(part) else ""
    name += "-last" if weights == "last" else ""

    with_labels = uses_labels(program.model) == "always"

    def batches() -> Iterator[Batch]:
        # It waits for the first batch, which says whether there will be any.
        with tqdm(total=count, desc=f"{split}, K = {num_samples}", unit="image", delay=1e-3) as bar:
            for position in torch.arange(count).split(50):
                yield (part[position], labels_of(part)[position]) if with_labels else part[position]
                bar.update(len(position))

    torch.manual_seed(seed)
    start = time.perf_counter()
    result = log_marginal(
        program.model, program.guide, batches(), num_samples, method, num_draws=num_draws, chunk_size=chunk_size
    )
    caveats = caveats_of(program, dataset)
    summary = {
        "split": split,
        **result.summary(),
        "bits_per_dim": None if caveats else dataset.bits_per_dim(result.nll),
        "caveats": caveats,
        "weights": weights,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    path = folder.save_evaluation(name, summary, result)
    bits = "" if summary["bits_per_dim"] is None else f", {summary['bits_per_dim']:.4f} bits/dim"
    print(f"{split} NLL {result.nll:.2f} nats per image{bits} ({count} images, K = {num_samples})")
    print(f"  standard error {result.sampling_error:.2f} over test images, {result.monte_carlo_error:.4f} Monte Carlo")
    print(f"  ELBO {summary['elbo']:.2f} nats per image")
    for sentence in (result.verdict, *caveats):
        print(f"  {sentence}")
    print(f"written to {path} and {path.with_suffix('.nc')}")
