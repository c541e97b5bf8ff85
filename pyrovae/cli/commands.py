"""The commands: one function each, whose signature and docstring are its options and their help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyro
import torch
import yaml
from tqdm.auto import tqdm

from pyrovae import checks, figures
from pyrovae.data import DataSet, Digits, Split
from pyrovae.evaluation import generate, log_marginal
from pyrovae.files import writing
from pyrovae.likelihoods import Bernoulli
from pyrovae.objectives import Compile, NonFiniteLoss, ObjectiveFactory, Trace_ELBO
from pyrovae.optimizers import OptimizerFactory, SchedulerFactory
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import StandardNormal
from pyrovae.report import write_report
from pyrovae.runs import DataFactory, LikelihoodFactory, PosteriorFactory, PriorFactory, Run, assemble
from pyrovae.training import History, State, fit, tensorboard_writer

__all__ = ["data", "evaluate", "report", "sample", "train"]

# What a resumed run may change, because the weights after a given epoch do not depend on it.
_FREE_ON_RESUME = {"epochs", "resume", "run", "device", "patience", "tensorboard"}


def train(
    config: str,
    data: DataFactory = Digits,
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    objective: ObjectiveFactory = Trace_ELBO,
    optimizer: OptimizerFactory = torch.optim.Adam,
    scheduler: SchedulerFactory | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    kl_warmup: int = 0,
    max_norm: float | None = None,
    patience: int | None = None,
    compile: Compile = "graph",
    device: str = "auto",
    seed: int = 0,
    run: str = "runs/vae",
    resume: bool = False,
    tensorboard: bool = False,
) -> None:
    """Train a VAE by stochastic variational inference and keep everything in a folder.

    Components are chosen by class: one of pyrovae's by name, or any by import path; their own options follow
    with a dot, as in --data MNIST --data.root DIR, and --data.help MNIST lists them.

    Args:
        config: the whole configuration as YAML, which the run keeps.
        data: the data set.
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x).
        latent_dim: number of latents.
        objective: the ELBO: Trace_ELBO, or TraceMeanField_ELBO for the analytic KL.
        optimizer: any torch optimizer.
        scheduler: any torch learning-rate scheduler; it steps once an epoch.
        epochs: passes over the training images.
        batch_size: images in a batch.
        kl_warmup: epochs over which the weight of the KL grows from 0 to 1.
        max_norm: largest norm of the gradients.
        patience: epochs without a better validation ELBO after which training stops.
        compile: graph records the training step and replays it, off runs Pyro at every step.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: of initial weights, order of batches and all noise; data sets have their own.
        run: the folder; it must be new unless the run is resumed.
        resume: go on with the run in the folder, exactly as if it had never stopped (or begin, if there is none).
        tensorboard: also write TensorBoard's log into the folder.
    """
    folder = Run(run)
    torch.manual_seed(checks.seed(seed))
    pyro.set_rng_seed(seed)
    dataset, vae = assemble(data, prior, likelihood, posterior, latent_dim)
    where = _device(device)
    dataset.to(where)
    vae.to(where)
    vae.initialize(dataset.train[torch.linspace(0, len(dataset.train) - 1, 4096).long()])
    before = folder.config_text() if resume and folder.exists else None
    state = None if before is None else folder.state()
    if before is not None:
        _refuse_changes(folder.config(), yaml.safe_load(config))
        folder.rewrite_config(config)
    else:
        folder.create(config)

    def save(history: History, state: Callable[[], State]) -> None:
        folder.save_epoch(vae, history, state())
        for write in logs:
            write(history, state)

    print(f"{dataset!r} on {where}; the run is kept in {folder.folder}")
    try:
        logs = [tensorboard_writer(folder.folder / "tensorboard")] if tensorboard else []
        history = fit(
            vae.model,
            vae.guide,
            dataset,
            epochs=epochs,
            batch_size=batch_size,
            objective=objective,
            optimizer=optimizer,
            scheduler=scheduler,
            kl_warmup=kl_warmup,
            max_norm=max_norm,
            patience=patience,
            compile=compile,
            callback=save,
            state=state,
        )
    except NonFiniteLoss:
        folder.discard()  # if it diverged before its first checkpoint, there is nothing to keep
        raise
    except checks.InputError:
        if before is None:
            folder.discard()
        else:
            folder.rewrite_config(before)
        raise
    folder.save_metrics(history)
    print(
        f"epochs done: {len(history.epochs)}; best validation ELBO {history.best_value:.2f} nats per image "
        f"(epoch {history.best_epoch}). Next: pyrovae evaluate {folder.folder}"
    )


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
    dataset, vae = folder.load(weights)
    where = _device(device)
    part: Split = getattr(dataset.to(where), split)
    vae.to(where)
    count = len(part) if num_images is None else min(checks.integer("num_images", num_images), len(part))
    name = f"{split}-{method}-{num_samples}"
    name += f"-first{count}" if count < len(part) else ""
    name += "-last" if weights == "last" else ""

    def batches() -> Iterator[torch.Tensor]:
        with tqdm(total=count, desc=f"{split}, K = {num_samples}", unit="image") as bar:
            for position in torch.arange(count).split(50):
                yield part[position]
                bar.update(len(position))

    torch.manual_seed(seed)
    start = time.perf_counter()
    result = log_marginal(
        vae.model, vae.guide, batches(), num_samples, method, num_draws=num_draws, chunk_size=chunk_size
    )
    caveats = _caveats(vae.likelihood.discrete, dataset)
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


def sample(run: str, num_samples: int = 64, out: str = "samples.png", noise: bool = False, seed: int = 0) -> None:
    """Draw new images from a run's model, as a picture or as an array.

    Args:
        run: the run's folder.
        num_samples: how many.
        out: a .png file for a picture, or a .npy file for an array (N, ...).
        noise: draw x from p(x|z) instead of taking its mean.
        seed: of the samples.
    """
    path = Path(out)
    checks.choice("out's ending", path.suffix, (".png", ".npy"))
    checks.integer("num_samples", num_samples)
    dataset, vae = Run(run).load()
    torch.manual_seed(checks.seed(seed))
    x = generate(vae.model, num_samples, dataset.test[:1], noise=noise)
    with writing(path) as file:
        if path.suffix == ".npy":
            np.save(file, x.numpy())
        else:
            figures.samples(x).savefig(file, format="png", dpi=150)
    print(f"{num_samples} samples written to {path}")


def report(run: str, seed: int = 0) -> None:
    """Draw a run's pictures and write its page, report.html, which needs no network and no other file.

    Args:
        run: the run's folder.
        seed: of the samples that are drawn.
    """
    print(f"the page is {write_report(run, seed=checks.seed(seed))}")


def data(data: DataFactory = Digits, out: str | None = None) -> None:
    """Say what a data set holds, and draw some of it.

    Args:
        data: the data set.
        out: a .png file for a picture of training images as the likelihood sees them.
    """
    dataset = data()
    path = None if out is None else Path(out)
    if path is not None:
        checks.choice("out's ending", path.suffix, (".png",))
    print(repr(dataset))
    for name in ("train", "validation", "test"):
        part: Split = getattr(dataset, name)
        x = part[:10_000]
        classes = "no labels" if part.labels is None else f"{len(part.labels.unique())} classes"
        print(
            f"  {name:10} {len(part):6} images, {classes}; batches in [{x.min().item():g}, {x.max().item():g}], "
            f"mean {x.mean().item():.4f}"
        )
    if path is not None:
        with writing(path) as file:
            figures.image_grid(dataset.train[:100], columns=10).savefig(file, format="png", dpi=120)
        print(f"picture written to {path}")


def _refuse_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    for key in sorted((before.keys() | now.keys()) - _FREE_ON_RESUME):
        if before.get(key) != now.get(key):
            raise checks.InputError(
                f"{key} must stay as it was when a run is resumed, {before.get(key)!r}, but {now.get(key)!r} was given"
            )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checks.choice("device", name.partition(":")[0], ("auto", "cpu", "cuda"))
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise checks.InputError(f"device must be one that this machine has, but {name} was given") from error
    return torch.device(name)


def _caveats(discrete: bool, dataset: DataSet) -> list[str]:
    if discrete and dataset.kind != "binary":
        return [
            "The data are grey, so that this is a cross-entropy and no log-likelihood: binarise them to publish it."
        ]
    if not discrete and dataset.kind in ("binary", "scaled"):
        return [
            "The data are discrete and the likelihood is a density, which has no bound there: "
            "dequantise them to publish it."
        ]
    return []
