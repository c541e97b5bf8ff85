"""Refitting of a run's prior: the same program with a new prior, as a new run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import yaml

from pyrovae import checks
from pyrovae.optimizers import OptimizerFactory
from pyrovae.priors import GaussianMixture, PriorFactory
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.training import refit_prior

__all__ = ["Refit", "refit_run"]


@dataclass(frozen=True)
class Refit:
    """The result of refitting a run's prior.

    Attributes:
        log_prior: mean log p(z) of validation codes under the new prior, in nats.
        gain: increase of it over the old prior, in nats.
        has_density: True if the posterior has a density, so that the ELBO increases by ``gain``.
    """

    log_prior: float
    gain: float
    has_density: bool


def refit_run(
    run: Run,
    new: Run,
    config: str,
    prior: PriorFactory = GaussianMixture,
    *,
    data: DataFactory | None = None,
    epochs: int = 50,
    batch_size: int = 256,
    optimizer: OptimizerFactory = torch.optim.Adam,
    patience: int = 5,
    seed: int = 0,
) -> Refit:
    """Fit another prior to the codes of a trained run, and write the program with it as a new run.

    Args:
        run: the trained run, which is not changed.
        new: the new run, whose folder must not contain a run.
        config: configuration of the new prior as YAML: a mapping with the key ``prior``.
        prior: class that makes the new prior from the number of latents.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        epochs: largest number of passes over the codes of the training data.
        batch_size: number of codes in a batch.
        optimizer: class of the torch optimizer.
        patience: number of epochs without a better log p(z) of the validation codes after which it stops.
        seed: seed of the codes, the prior's initial weights and the order of batches.

    Raises:
        ValueError: if the new folder contains a run, the run cannot be loaded, or the prior does not fit its codes.
    """
    torch.manual_seed(checks.seed(seed))
    new.refuse_existing("out must be a new folder")
    dataset, program = run.load(data=data)
    with new.locked():
        history, gain = refit_prior(
            program, dataset, prior, epochs=epochs, batch_size=batch_size, optimizer=optimizer, patience=patience
        )
        settings = run.config()
        options = settings if settings.get("program") is None else settings["program"].setdefault("init_args", {})
        options["prior"] = yaml.safe_load(config)["prior"]
        origin = {"run": str(run.folder), "log_prior": history.best_value, "gain": gain, "seed": seed}
        try:
            new.create(yaml.safe_dump(settings, sort_keys=False), run.data_record(), own=run.is_own)
            new.save_refitted(program, run.history(), origin)
        except (Exception, KeyboardInterrupt):
            new.discard()
            raise
    return Refit(history.best_value, gain, getattr(getattr(program, "posterior", None), "has_density", True))
