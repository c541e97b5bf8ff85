"""Dry run of objective and programs before training, so that misfits are reported in one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import nn

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.execution import check_masks, check_sites, check_takes_missing, evaluating
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.handlers import in_data_plate
from pyrovae.objectives.terms import Traces, collect_traces, estimate_elbo_terms
from pyrovae.programs import Arguments, PyroFunction, arguments_of, concise_errors, mode
from pyrovae.rng import forked_rng
from pyrovae.training.batching import Labels, batches

__all__ = ["check_amortized", "dry_run"]


def dry_run(
    elbo: ELBO,
    model: PyroFunction,
    guide: PyroFunction,
    modules: list[nn.Module],
    labels: Labels,
    data: DataSet,
    batch_size: int,
) -> Traces:
    """Run the programs once on each kind of batch, to find errors and all parameters; generators are restored.

    Args:
        elbo: the objective.
        model: program of p(x, z).
        guide: program of q(z|x).
        modules: the programs' modules, whose buffers are restored.
        labels: use of labels by the programs.
        data: data to train on.
        batch_size: number of data per batch.

    Returns:
        the traces of model and guide that the objective made.

    Raises:
        ValueError: if the programs do not fit the data or each other.
    """
    name = type(elbo).__name__
    check_amortized(guide)
    vectorized = elbo.vectorize_particles
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    with (
        forked_rng(data.train.device),
        pyro.validation_enabled(True),
        torch.no_grad(),
        warnings.catch_warnings(),
        collect_traces(elbo) as traces,
        poutine.trace(param_only=True) as capture,
    ):
        warnings.simplefilter("ignore")  # the first training step repeats them
        warnings.filterwarnings("error", "Failed to verify mean field restriction")
        loss: Any = None
        try:
            for arguments in _kinds_of_batches(labels, data, batch_size):
                arguments_of(arguments, model, guide)
                if data.has_missing:
                    check_takes_missing(model, guide, arguments)
                with concise_errors(arguments[0]), _naming_objective(name):
                    loss = _loss(elbo, in_data_plate(model), in_data_plate(guide), arguments)
            if elbo.vectorize_particles and elbo.num_particles > 1 and not _broadcasts(model, guide, arguments):
                elbo.vectorize_particles = False
            required: Labels = "always" if labels == "always" else "no"
            arguments = next(batches(required, data.validation, batch_size))  # as in validation
            with concise_errors(arguments[0]), mode(model, guide, training=False), suppress(FloatingPointError):
                estimate_elbo_terms(in_data_plate(model), in_data_plate(guide), *arguments)
        except UserWarning as error:
            raise checks.InputError(
                f"objective {name} needs a guide that samples its sites in the order of the model, but this one does "
                "not: the objective treats each site as independent of later ones"
            ) from error
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
    if not capture.trace.nodes:
        raise checks.InputError(
            "model and guide must register parameters to be trained, with pyro.module or pyro.param, but register none"
        )
    if elbo.vectorize_particles != vectorized:
        warnings.warn(
            f"the programs do not broadcast over samples: {name} draws its {elbo.num_particles} samples one after the "
            "other, as with vectorize_particles=False",
            stacklevel=3,
        )
    if isinstance(loss, tuple):
        raise checks.InputError(
            f"objective must have one loss, but {name} has {len(loss)}; pyrovae's RWS is reweighted wake-sleep with one"
        )
    for model_trace, guide_trace in traces:
        check_sites(model_trace, guide_trace, has_latents=False)
        check_masks(model_trace, guide_trace)
    return traces


def check_amortized(guide: PyroFunction) -> None:
    """Refuse Pyro's guides that learn the latents of one batch.

    Args:
        guide: program of q(z|x).

    Raises:
        ValueError: if it is one.
    """
    if any(base.__name__ == "AutoGuide" for base in type(guide).__mro__):
        raise checks.InputError(
            f"guide must be amortized, a function of x, but {type(guide).__name__} learns the latents of one batch"
        )


def _loss(elbo: ELBO, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> Any:
    """Compute the loss, with samples drawn one by one if the programs cannot draw all in one run."""
    try:
        return elbo.loss(model, guide, *arguments)
    except (NotImplementedError, UserWarning, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        if not elbo.vectorize_particles or elbo.num_particles == 1:
            raise
        nesting, elbo.vectorize_particles = elbo.max_plate_nesting, False
        with suppress(Exception):  # if this fails too, raise the first error
            return elbo.loss(model, guide, *arguments)
        elbo.vectorize_particles, elbo.max_plate_nesting = True, nesting
        raise


def _broadcasts(model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> bool:
    """Tell whether two samples in one run have the same log weights as one by one."""
    some = tuple(part[:4] for part in arguments)
    try:
        with evaluating(model, guide):
            return BatchedPrograms(model, guide, some, must_cover=False).broadcasts
    except checks.InputError:  # undecidable for a guide without a density
        return True


@contextmanager
def _naming_objective(objective: str) -> Iterator[None]:
    """Name the objective if it cannot be computed, for example for a guide that is not reparametrised."""
    try:
        yield
    except NotImplementedError as error:
        raise checks.InputError(
            f"objective {objective} cannot be computed for this program: {checks.reason(error)}"
        ) from error


def _kinds_of_batches(labels: Labels, data: DataSet, batch_size: int) -> Iterator[Arguments]:
    """Yield a labelled and an unlabelled batch, if programs are called with both, and data of the extreme labels."""
    known = data.train.labels if labels != "no" else None
    positions = data.train.positions(batch_size, by_label=known is not None)
    for position in {known is not None and bool(known[part[0]] >= 0): part for part in positions}.values():
        yield (data.train[position],) if labels == "no" else data.train.labelled(position)
    for split in (data.train, data.validation) if labels != "no" else ():
        if split.labels is not None and bool((split.labels >= 0).any()):
            known = (split.labels >= 0).nonzero().flatten()
            order = known[split.labels[known].argsort()]
            ends = order[[0, -1]]
            yield split[ends], split.labels[ends]
