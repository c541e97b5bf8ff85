"""``pyrovae refit_prior``."""

from __future__ import annotations

import torch

from pyrovae.optimizers import OptimizerFactory
from pyrovae.priors import GaussianMixture, PriorFactory
from pyrovae.runs import DataFactory, Run, refit_run

__all__ = ["refit_prior"]


def refit_prior(
    run: str,
    config: str,
    data: DataFactory | None = None,
    prior: PriorFactory = GaussianMixture,
    out: str = "runs/refit",
    epochs: int = 50,
    batch_size: int = 256,
    optimizer: OptimizerFactory = torch.optim.Adam,
    patience: int = 5,
    seed: int = 0,
) -> None:
    """Fit another prior to the codes of a trained run, and keep the result as a new run.

    Encoder and decoder are not changed (ex-post density estimation); a deterministic autoencoder gets a prior to sample
    from.

    Args:
        run: the trained run's folder.
        config: the options of this command as YAML.
        data: the run's data at their present place, or other data.
        prior: p(z), such as GaussianMixture or FlowPrior.
        out: the new run's folder.
        epochs: largest number of passes over the codes of the training images.
        batch_size: number of codes in a batch.
        optimizer: any torch optimizer.
        patience: number of epochs without a better log p(z) of the validation codes after which it stops.
        seed: seed of the codes, the prior's initial weights and the order of batches.
    """
    new = Run(out)
    found = refit_run(
        Run(run),
        new,
        config,
        prior,
        data=data,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        patience=patience,
        seed=seed,
    )
    print(
        f"mean log p(z) of validation codes {found.log_prior:.2f} nats, {found.gain:+.2f} against the old prior"
        + (f": the bound changes by as much. Next: pyrovae evaluate {new.folder}" if found.has_density else "")
        + ("" if found.has_density else f". Next: pyrovae sample {new.folder}")
    )
