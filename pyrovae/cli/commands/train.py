"""``pyrovae train``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Literal

import pyro
import torch
import yaml

from pyrovae import checks, distributed
from pyrovae.cli.commands.device import device_named
from pyrovae.compilation import ObjectiveFactory
from pyrovae.data import DataSet, Digits
from pyrovae.evaluation.health import findings
from pyrovae.likelihoods import Bernoulli, LikelihoodFactory
from pyrovae.matmul import Precision
from pyrovae.objectives import NonFiniteLoss, Trace_ELBO
from pyrovae.optimizers import OptimizerFactory, SchedulerFactory
from pyrovae.posteriors import DiagonalNormal, PosteriorFactory
from pyrovae.priors import PriorFactory, StandardNormal
from pyrovae.runs import CheckpointWriter, DataFactory, DataRecord, ProgramFactory, Run, assemble, first_data
from pyrovae.training import Callback, History, State, fit, tensorboard_writer

__all__ = ["train"]

# Options that a resumed run can change, because the weights after a given epoch do not depend on them.
_CHANGEABLE_ON_RESUME = {"epochs", "resume", "run", "device", "patience", "tensorboard"}


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
    max_norm: float | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    compile: Literal["auto", "off", "graph", "inductor"] = "auto",
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
    run: str = "runs/vae",
    resume: bool = False,
    tensorboard: bool = False,
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
        epochs: number of passes over the training images.
        batch_size: number of images per batch, over all processes.
        beta: weight of the KL.
        kl_warmup: epochs over which it grows from 0 to beta; by default three tenths of all, but 0 for MMD, RWS and
            deterministic encoders.
        max_norm: largest norm of the gradients.
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
        tensorboard: also write TensorBoard's log into the folder.
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
    logs: list[Callback] = []
    writer = CheckpointWriter(folder, new_program)

    def save(history: History, state: Callable[..., State]) -> None:
        writer.epoch(history, state)
        for write in logs:
            write(history, state)

    with ExitStack() as stack:
        before, state = distributed.on_rank_zero(lambda: _open_run(folder, config, dataset, resume, stack))
        try:
            print(f"{dataset!r} on {where}; the run is kept in {folder.folder}")
            if tensorboard:
                distributed.on_rank_zero(lambda: logs.append(tensorboard_writer(folder.folder / "tensorboard")))
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
                max_norm=max_norm,
                patience=patience,
                accumulate=accumulate,
                compile=compile,
                precision=precision,
                callback=save,
                state=state,
            )
        except (Exception, KeyboardInterrupt) as error:
            if distributed.rank() > 0:
                raise
            writer.flush()
            if before is None or isinstance(error, NonFiniteLoss):
                folder.discard()  # if it ended before its first weights, there is nothing to keep
            elif isinstance(error, checks.InputError) and writer.num_epochs == 0:
                with suppress(checks.InputError):  # the disk may be full
                    folder.rewrite_config(before)
            raise
        distributed.on_rank_zero(writer.flush)
        distributed.on_rank_zero(lambda: folder.save_metrics(history))
    for sentence in _health(new_program, dataset, history):
        print(f"  {sentence}")
    print(
        f"epochs done: {len(history.epochs)}; best validation ELBO {history.best_value:.2f} nats per datum "
        f"(epoch {history.best_epoch}). Next: pyrovae evaluate {folder.folder}"
    )


def _health(program: Any, data: DataSet, history: History) -> list[str]:
    """Return what is wrong with the curves and with the program, in sentences."""
    if distributed.rank() > 0:
        return []
    found = findings(program.model, program.guide, first_data(program, data.validation, 1000))
    return list({**found, **history.findings()}.values())


def _open_run(
    folder: Run, config: str, dataset: DataSet, resume: bool, stack: ExitStack
) -> tuple[str | None, State | None]:
    """Lock the folder, and write the configuration and the record of the data.

    If a run is resumed, its data must be those that it was trained on, in whatever place; return its previous
    configuration and its state, or else None for both.
    """
    stack.enter_context(folder.locked())
    if not (resume and folder.exists):
        folder.create(config, DataRecord.of(dataset))
        return None, None
    before, state, record = folder.config_text(), folder.state(), folder.data_record()
    difference = folder.difference(dataset)
    known = record is not None and difference is None
    _refuse_changes(folder.config(), yaml.safe_load(config), _CHANGEABLE_ON_RESUME | ({"data"} if known else set()))
    if difference is not None:
        raise checks.InputError(
            f"data must be those that the run was trained on when it is resumed, but they are not: {difference}"
        )
    if record is None:
        folder.save_data_record(DataRecord.of(dataset))  # from now on
    folder.rewrite_config(config)
    return before, state


def _refuse_changes(before: dict[str, Any], now: dict[str, Any], free: set[str]) -> None:
    keys = (before.keys() | now.keys()) - free
    for key in sorted(keys, key=lambda key: (key != "program", key)):  # first, because other options depend on it
        found = _difference(key, before.get(key), now.get(key))
        if found is not None:
            name, was, given = found
            raise checks.InputError(f"{name} must stay as it was when a run is resumed, {was}, but {given} was given")


def _difference(name: str, before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return the outermost option in which two configurations differ, its old value and its new value."""
    if before == now:
        return None
    was, given = (part.get("class_path", part) if isinstance(part, dict) else part for part in (before, now))
    if was != given or not isinstance(before, dict) or not isinstance(now, dict):
        return name, was, given
    options, others = before.get("init_args", {}), now.get("init_args", {})
    differences = (_difference(f"{name}.{key}", options.get(key), others.get(key)) for key in options | others)
    return next((found for found in differences if found is not None), (name, was, given))
