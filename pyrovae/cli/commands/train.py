"""``pyrovae train``."""

from __future__ import annotations

from typing import Literal

import pyro
import torch

from pyrovae import checks, distributed
from pyrovae.cli.commands.device import device_named
from pyrovae.compilation import ObjectiveFactory
from pyrovae.data import Digits
from pyrovae.likelihoods import Bernoulli, LikelihoodFactory
from pyrovae.matmul import Precision
from pyrovae.objectives import Trace_ELBO
from pyrovae.optimizers import OptimizerFactory, SchedulerFactory
from pyrovae.posteriors import DiagonalNormal, PosteriorFactory
from pyrovae.priors import PriorFactory, StandardNormal
from pyrovae.runs import DataFactory, DataRecord, ProgramFactory, Run, assemble, open_training, training_health
from pyrovae.tracking import LoggerFactory
from pyrovae.training import fit

__all__ = ["train"]


def train(
    config: str,
    data: DataFactory = Digits,
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    program: ProgramFactory | None = None,
    objective: ObjectiveFactory = Trace_ELBO,
    optimizer: OptimizerFactory = torch.optim.Adam,
    scheduler: SchedulerFactory | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    beta: float = 1.0,
    kl_warmup: int | None = None,
    kl_cycles: int = 1,
    max_norm: float | None = None,
    ema_decay: float | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    compile: Literal["auto", "off", "graph", "inductor"] = "auto",
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
    run: str = "runs/vae",
    resume: bool = False,
    logger: LoggerFactory | None = None,
) -> None:
    """Train a VAE, or another program, by stochastic variational inference, and keep everything in a folder.

    Components are chosen by class: one of pyrovae's by name, or any by import path; their own options follow
    with a dot, as in --data MNIST --data.root DIR, and --data.help MNIST lists them.

    Args:
        config: the whole configuration as YAML, which is kept in the run's folder.
        data: the data set.
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x).
        latent_dim: number of latents.
        program: a whole program in place of the VAE of these three, a subclass of pyrovae.Program; its conditionals
            are its own options.
        objective: objective to maximise: one of Pyro's ELBOs, such as TraceMeanField_ELBO for the analytic KL, or of
            pyrovae's, such as IWAE.
        optimizer: any torch optimizer.
        scheduler: any torch learning-rate scheduler; it steps once an epoch.
        epochs: number of passes over the training data.
        batch_size: number of data per batch, over all processes.
        beta: weight of the KL.
        kl_warmup: epochs over which it grows from 0 to beta; by default three tenths of all, but 0 for MMD, RWS and
            deterministic encoders.
        kl_cycles: number of equal parts of the run in each of which the weight grows from 0 again, by default in half
            of the part.
        max_norm: largest norm of the gradients.
        ema_decay: decay of an exponential moving average of the weights, such as 0.999, which is validated and kept in
            place of the weights; by default there is none.
        patience: number of epochs without a better validation ELBO after which training stops, not counting the KL
            warm-up.
        accumulate: number of parts in which a batch is processed one after the other, to save memory; statistics of a
            batch, such as batch normalisation, are computed for each part.
        compile: graph records the training step and replays it, inductor compiles it too, off runs Pyro at every step;
            auto takes inductor if the run is long enough to pay for compiling, else graph.
        precision: precision of matrix products: float32, tf32 (a mantissa of 10 bits, on a GPU) or bfloat16 (7 bits).
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of initial weights, order of batches and all noise; data sets have their own.
        run: the run's folder, which must be new unless the run is resumed.
        resume: continue the run in the folder exactly as if it had not stopped, or start it if there is none.
        logger: tracker of options, curves, figures and evaluations.
    """
    folder = Run(run)
    torch.manual_seed(checks.seed(seed))
    pyro.set_rng_seed(seed)
    dataset, new_program = distributed.rank_zero_first(
        lambda: assemble(data, prior, likelihood, posterior, latent_dim, program)
    )
    where = device_named(device)
    dataset.to(where)
    new_program.to(where)
    if hasattr(new_program, "initialize"):
        new_program.initialize(dataset.train[torch.linspace(0, len(dataset.train) - 1, 4096).long()])
    with open_training(folder, new_program, config, DataRecord.of(dataset), resume=resume, logger=logger) as opened:
        print(f"{dataset!r} on {where}; the run is kept in {folder.folder}")
        history = fit(
            new_program.model,
            new_program.guide,
            dataset,
            epochs=epochs,
            batch_size=batch_size,
            objective=objective,
            optimizer=optimizer,
            scheduler=scheduler,
            beta=beta,
            kl_warmup=kl_warmup,
            kl_cycles=kl_cycles,
            max_norm=max_norm,
            ema_decay=ema_decay,
            patience=patience,
            accumulate=accumulate,
            compile=compile,
            precision=precision,
            callback=opened.save,
            state=opened.state,
        )
        distributed.on_rank_zero(lambda: folder.save_metrics(history))
    for sentence in distributed.on_rank_zero(lambda: training_health(new_program, dataset, history)):
        print(f"  {sentence}")
    if ema_decay is not None:
        print(f"  the weights that are kept are averages, with ema_decay {ema_decay:g}")
    print(
        f"epochs done: {len(history.epochs)}; best validation ELBO {history.best_value:.2f} nats per datum "
        f"(epoch {history.best_epoch}). Next: pyrovae evaluate {folder.folder}"
    )
