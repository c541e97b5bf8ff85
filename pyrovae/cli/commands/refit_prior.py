"""``pyrovae refit_prior``."""

from __future__ import annotations

import torch
import yaml

from pyrovae import checks
from pyrovae.optimizers import OptimizerFactory
from pyrovae.priors import GaussianMixture, PriorFactory
from pyrovae.runs import DataFactory, Run
from pyrovae.training import refit_prior as refit

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
        epochs: largest number of passes over the codes of the training data.
        batch_size: number of codes in a batch.
        optimizer: any torch optimizer.
        patience: number of epochs without a better log p(z) of the validation codes after which it stops.
        seed: seed of the codes, the prior's initial weights and the order of batches.
    """
    folder, new = Run(run), Run(out)
    torch.manual_seed(checks.seed(seed))
    new.refuse_existing("out must be a new folder")
    dataset, program = folder.load(data=data)
    with new.locked():
        history, gain = refit(
            program, dataset, prior, epochs=epochs, batch_size=batch_size, optimizer=optimizer, patience=patience
        )
        settings = folder.config()
        place = settings if settings.get("program") is None else settings["program"].setdefault("init_args", {})
        place["prior"] = yaml.safe_load(config)["prior"]
        origin = {"run": str(folder.folder), "log_prior": history.best_value, "gain": gain, "seed": seed}
        try:
            new.create(yaml.safe_dump(settings, sort_keys=False), folder.data_record())
            new.save_refitted(program, folder.history(), origin)
        except (Exception, KeyboardInterrupt):
            new.discard()
            raise
    bounded = getattr(getattr(program, "posterior", None), "has_density", True)
    print(
        f"mean log p(z) of validation codes {history.best_value:.2f} nats, {gain:+.2f} against the old prior"
        + (f": the bound changes by as much. Next: pyrovae evaluate {new.folder}" if bounded else "")
        + ("" if bounded else f". Next: pyrovae sample {new.folder}")
    )
