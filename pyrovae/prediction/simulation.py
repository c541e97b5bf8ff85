"""Simulation of data and latents from a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.utils.data import Dataset

from pyrovae import checks
from pyrovae.execution import (
    DataSites,
    Unobserved,
    check_simulation,
    evaluating,
    find_data_sites,
    trace,
    values_of,
)
from pyrovae.execution.latent_handlers import ExactSampling
from pyrovae.programs import (
    Arguments,
    Batch,
    PyroFunction,
    arguments_of,
    data_shape_of,
    modules_of,
    parameter_dtype,
    uses_labels,
)
from pyrovae.tensors import as_tensor, parts_of_dataset

__all__ = [
    "Simulated",
    "evaluating_with_validation",
    "placeholder_data",
    "repeat_to",
    "run_unobserved",
    "sample_prior",
    "simulate",
]


class Simulated(NamedTuple):
    """A run of a model in which x is sampled.

    Attributes:
        trace: trace of the run.
        latents: latents by site name, ``(B, *event_shape)``.
        arguments: arguments of the model.
        data_sites: the sites at which it observes x.
    """

    trace: Trace
    latents: dict[str, Tensor]
    arguments: Arguments
    data_sites: DataSites

    @property
    def x(self) -> Tensor:
        """The sampled data, ``(B, *data_shape)``."""
        values = {name: self.trace.nodes[name]["value"] for name in self.data_sites.entries}
        return self.data_sites.join(values, self.arguments[0])


def simulate(model: PyroFunction, num_samples: int, like: Batch | None = None) -> tuple[dict[str, Tensor], Arguments]:
    """Sample data and their latents from the model.

    Args:
        model: program of p(x, z).
        num_samples: number of data.
        like: data with the shape, type and device of the result, ``(*, *data_shape)``; or the tuple ``(x, y)`` with
            the labels to sample data for, which are repeated cyclically. It may be left out for a program that tells
            the shape of its data, as those of pyrovae do, and takes no labels.

    Returns:
        the latents by site name, ``(num_samples, *event_shape)``, and the arguments of the programs: ``(x,)`` or
        ``(x, y)``.

    Raises:
        ValueError: if the model cannot be simulated, see :func:`pyrovae.execution.check_simulation`.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> latents, (x,) = simulate(vae.model, 5, torch.zeros(1, 4))
        >>> latents["z"].shape, x.shape
        (torch.Size([5, 2]), torch.Size([5, 4]))
    """
    simulated = run_unobserved(model, num_samples, like)
    x, *labels = simulated.arguments
    return simulated.latents, (simulated.x.to(x.dtype), *labels)


def run_unobserved(
    model: PyroFunction, num_samples: int, like: Batch | None = None, given: Batch | None = None
) -> Simulated:
    """Run a model that samples x instead of observing it.

    Args:
        model: program of p(x, z).
        num_samples: number of data.
        like: as for :func:`simulate`.
        given: arguments of the model, if its distribution of x depends on x; repeated cyclically.

    Raises:
        ValueError: if the model cannot be simulated, see :func:`pyrovae.execution.check_simulation`.
    """
    checks.integer("num_samples", num_samples)
    x, *labels = _parts(model, like)
    if given is not None:
        x, *given_labels = arguments_of(given)
        labels = given_labels or labels
    if any(len(y) == 0 for y in labels):
        raise checks.InputError("y must hold at least one label to draw data for, but is empty")
    repeated = [repeat_to(y, num_samples) for y in labels]
    start = placeholder_data(x, num_samples, tuple(x.shape[1:])) if given is None else repeat_to(x, num_samples)
    arguments = arguments_of((start, *repeated), model)
    some = repeat_to(x, 2) if len(x) else placeholder_data(x, 2, tuple(x.shape[1:]))
    probe = (some, *(repeat_to(y, 2) for y in labels))
    data_sites = find_data_sites(model, probe)
    check_simulation(model, arguments, data_sites, given=given is not None)
    with evaluating_with_validation(model), ExactSampling(), Unobserved(data_sites.entries):
        traced = trace(model, arguments)
    data_sites.check(traced)
    latents = {name: z for name, z in values_of(traced).items() if name not in data_sites.entries}
    return Simulated(traced, latents, arguments, data_sites)


def sample_prior(model: PyroFunction, num_samples: int, like: Batch) -> tuple[dict[str, Tensor], Arguments]:
    """Sample latents from the prior, by site name, ``(num_samples, *event_shape)``; return the model's arguments too.

    Args:
        model: program of p(x, z).
        num_samples: number of samples.
        like: as for :func:`simulate`.
    """
    x, *labels = _parts(model, like)
    start = placeholder_data(x, num_samples, tuple(x.shape[1:]))
    arguments = arguments_of((start, *(repeat_to(y, num_samples) for y in labels)), model)
    if find_data_sites(model, arguments).latents_depend_on_x:
        raise checks.InputError("model must have one prior for all x to draw from it, but its prior depends on x")
    with evaluating_with_validation(model), ExactSampling():
        return values_of(trace(model, arguments)), arguments


@contextmanager
def evaluating_with_validation(*programs: PyroFunction) -> Iterator[None]:
    """Evaluate with Pyro's validation, for clear errors, for example for labels out of range; for few runs only."""
    with evaluating(*programs), pyro.validation_enabled(True):
        yield


def _parts(model: PyroFunction, like: Batch | None) -> list[Tensor]:
    """Return x, and labels if given; their numbers may differ."""
    if like is None:
        return [_template(model)]
    parts: Any = like if isinstance(like, tuple) else (like,)
    if isinstance(like, Dataset):
        parts = parts_of_dataset("x", like)[: 2 if uses_labels(model) == "always" else 1]
    return [as_tensor(*part) for part in zip("xy", parts, strict=False)]


def _template(model: PyroFunction) -> Tensor:
    """Return a datum of the shape, type and device that the model's modules tell."""
    shape = data_shape_of(model)
    if shape is None:
        raise checks.InputError("like must be given for a model that does not tell the shape of its data")
    if uses_labels(model) == "always":
        raise checks.InputError("like must be (x, y) for a model that takes labels, but was left out")
    first = next((part for module in modules_of(model) for part in module.parameters()), torch.empty(0))
    return torch.zeros(1, *shape, dtype=parameter_dtype(model), device=first.device)


def placeholder_data(like: Tensor, count: int, data_shape: tuple[int, ...]) -> Tensor:
    """Return zeros as data, to call a model whose x is not observed."""
    return torch.zeros(count, *data_shape, dtype=like.dtype, device=like.device)


def repeat_to(part: Tensor, count: int) -> Tensor:
    """Repeat data cyclically to a number of ``count``, ``(count, ...)``."""
    return part[torch.arange(count, device=part.device) % len(part)]
