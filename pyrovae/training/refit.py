"""Ex-post density estimation: a new prior for the codes of a trained program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae import checks
from pyrovae.data import DataSet, Split, as_data_set
from pyrovae.execution import see_zeros
from pyrovae.handlers import InDataPlate
from pyrovae.missing import draw_missing
from pyrovae.optimizers import OptimizerFactory
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior, PriorFactory
from pyrovae.programs import Batch, PyroFunction, concise_errors, mode, private_modules
from pyrovae.training.batching import Labels, batches, labels_for
from pyrovae.training.history import History
from pyrovae.training.loop import fit

__all__ = ["refit_prior"]


def refit_prior(
    program: Any,
    data: DataSet | Batch | Dataset[Any],
    prior: PriorFactory,
    *,
    epochs: int = 50,
    batch_size: int = 256,
    optimizer: OptimizerFactory = torch.optim.Adam,
    patience: int = 5,
    progress: bool = True,
) -> tuple[History, float]:
    r"""Fit a prior to the aggregate posterior of a trained program, and replace the program's prior by it.

    Maximises :math:`\mathrm{E}_{x}\,\mathrm{E}_{q(z|x)} \log p(z)` over the prior alone, which is the part of the ELBO
    that depends on it; encoder and decoder are not changed (Ghosh et al., 2020, arXiv:1903.12436). One code is sampled
    for each datum.

    Args:
        program: a module with ``prior``, ``model`` and ``guide``, such as :class:`~pyrovae.VAE` or
            :class:`~pyrovae.Autoencoder`.
        data: data that it was trained on, as they were given to :func:`~pyrovae.fit`.
        prior: makes the new prior from the number of latents.
        epochs: largest number of passes over the codes of the training data.
        batch_size: number of codes per batch.
        optimizer: makes the torch optimizer.
        patience: number of epochs without a better log p(z) of validation codes after which fitting stops.
        progress: True to show a progress bar.

    Returns:
        the history, whose ELBO is the mean log p(z) of the codes, in nats; and the improvement of that of the
        validation codes over the old prior.

    Raises:
        ValueError: if the program has no prior to replace, or the new one does not fit its codes.

    Example:
        >>> data, vae = assemble(latent_dim=2)
        >>> history, gain = refit_prior(vae, data, LearnedNormal, epochs=1, progress=False)
        >>> type(vae.prior).__name__
        'LearnedNormal'
    """
    old = getattr(program, "prior", None)
    if not isinstance(old, Prior):
        raise checks.InputError(f"program must have a prior to refit, but {type(program).__name__} has none")
    data = as_data_set(data, program.model, program.guide)
    data.check_trainable()
    new = checks.make("prior", prior, Prior, old.latent_dim, like="GaussianMixture").to(data.train.device)
    if not checks.same_constraint(new.support, old.support):
        raise checks.InputError(
            f"prior must have the support of the codes, {checks.constraint_name(old.support)}, "
            f"but that of {type(new).__name__} is {checks.constraint_name(new.support)}"
        )
    labels = labels_for(program.model, program.guide, data)
    parts = [_codes(program, labels, part, batch_size, old.latent_dim) for part in (data.train, data.validation)]
    codes = DataSet(torch.cat(parts))
    codes.train, codes.validation = _split(parts[0]), _split(parts[1])
    with _constant_parameters(program):
        with torch.no_grad():
            before = old().log_prob(parts[1]).mean().item()
        _initialize(new, program, data)
        new.initialize_from_codes(parts[0])
        model, guide = _model_of_codes(new)
        history = fit(
            model,
            guide,
            codes,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            patience=patience,
            restore_best=True,
            progress=progress,
        )
    program.prior = new
    return history, history.best_value - before


def _initialize(new: Prior, program: Any, data: DataSet) -> None:
    """Initialize a prior by training data, and connect it to the program's posterior if there is one for these data.

    Raises:
        ValueError: if the prior needs a posterior that the program lacks, or has nothing to learn.
    """
    posterior = getattr(program, "posterior", None)
    if isinstance(posterior, Posterior) and posterior.data_shape == data.data_shape:
        new.connect(posterior)
        new.to(data.train.device)
        new.initialize(draw_missing(data.train[torch.arange(min(4096, len(data.train)))]))
    try:
        new()
    except checks.InputError as error:
        raise checks.InputError(
            f"prior must need codes alone, but {type(new).__name__} was given for {type(program).__name__}: {error}"
        ) from error
    if not any(True for _ in new.parameters()):
        raise checks.InputError(
            f"prior must have something to learn, as GaussianMixture has, but {type(new).__name__} has nothing"
        )


def _model_of_codes(prior: Prior) -> tuple[PyroFunction, PyroFunction]:
    """Return a model that observes codes under a prior, and a guide without latents."""

    def model(z: Tensor) -> None:
        pyro.module("prior", prior)
        with pyro.plate("data", len(z)):
            pyro.sample("z", prior(), obs=z)

    def guide(z: Tensor) -> None:
        """Sample nothing, since the codes are observed."""

    return model, guide


@contextmanager
def _constant_parameters(program: Any) -> Iterator[None]:
    """Keep a program's parameters constant, even if the new prior uses some of them."""
    learned = [parameter for parameter in program.parameters() if parameter.requires_grad]
    with mode(program.model, program.guide, training=False):
        for parameter in learned:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in learned:
                parameter.requires_grad_(True)


def _codes(program: Any, labels: Labels, split: Split, batch_size: int, latent_dim: int) -> Tensor:
    """Sample a code of each datum, ``(N, D)``, at the site of the prior."""
    codes = []
    seen_by = see_zeros(program.guide) if split.has_missing else program.guide
    with private_modules(), mode(program.model, program.guide, training=False), torch.no_grad():
        for arguments in batches("always" if labels == "always" else "no", split, batch_size):
            with concise_errors(arguments[0]), InDataPlate(len(arguments[0])):
                model = poutine.trace(program.model).get_trace(*arguments)
                guide = poutine.trace(seen_by).get_trace(*arguments)
            shape = (len(arguments[0]), latent_dim)
            latents = [name for name, site in guide.nodes.items() if site["type"] == "sample"]
            names = [name for name in model.nodes if name in latents and guide.nodes[name]["value"].shape == shape]
            if not names:
                raise checks.InputError(f"program must have a latent site of shape ({latent_dim},), as its prior has")
            codes.append(guide.nodes[names[0]]["value"])  # the first in the model, if there are several
    return torch.cat(codes)


def _split(codes: Tensor) -> Split:
    index = torch.arange(len(codes), device=codes.device)
    split = Split(codes, None, index, binarization="none", dequantize=False, levels=None, seed=0, fresh=True)
    return split.to(codes.device)
