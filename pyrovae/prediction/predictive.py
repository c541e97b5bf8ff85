"""Predictions of a program: codes of data, reconstructions, new data, decoded codes."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions import QuantizedCategorical
from pyrovae.distributions.support_bounds import unwrap
from pyrovae.execution import Unobserved, find_data_sites, is_latent, see_zeros, trace, values_of
from pyrovae.missing import has_missing
from pyrovae.prediction.simulation import evaluating_with_validation, placeholder_data, run_unobserved
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of, concise_errors, parameter_dtype
from pyrovae.tensors import as_tensor

__all__ = ["AtMeans", "decode", "encode", "generate", "guide_of", "is_discrete", "mean_of", "prior_grid", "reconstruct"]


def encode(guide: PyroFunction, x: Batch) -> dict[str, Tensor]:
    """Return the mean of each latent site of the guide, given the means of the sites before it.

    For a discrete site it is the most probable value, for directions the mean direction.

    Args:
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that take labels.

    Returns:
        means by site name, ``(B, *event_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> encode(vae.guide, torch.ones(3, 4))["z"].shape
        torch.Size([3, 2])
    """
    guide, arguments = guide_of(guide, x)
    with evaluating_with_validation(guide), AtMeans():
        return values_of(trace(guide, arguments))


def guide_of(guide: PyroFunction, x: Batch) -> tuple[PyroFunction, Arguments]:
    """Return a guide with its arguments; if values of x are missing, the guide sees zeros.

    Args:
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that take labels.
    """
    arguments = arguments_of(x, guide)
    return (see_zeros(guide) if has_missing(arguments[0]) else guide), arguments


class AtMeans(Messenger):
    """A handler that sets each latent site to its mean instead of a sample."""

    def _pyro_sample(self, msg: Message) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            fn = msg["fn"]
            mode = unwrap(fn).mode.expand(fn.batch_shape + fn.event_shape) if fn.support.is_discrete else None
            msg["value"] = mean_of(fn) if mode is None else mode
            msg["done"] = True


def decode(
    model: PyroFunction,
    latents: dict[str, Tensor],
    data_shape: tuple[int, ...],
    labels: Tensor | None = None,
    *,
    given: Tensor | None = None,
) -> Tensor:
    """Return the mean of p(x|z) at given codes.

    Args:
        model: program of p(x, z).
        latents: codes by site name, ``(B, *event_shape)``.
        data_shape: shape of one datum.
        labels: labels ``(B,)``, for a program that takes labels.
        given: data ``(B, *data_shape)``, for a program whose p(x|z) depends on x, such as on its total count.

    Returns:
        ``(B, *data_shape)``.

    Raises:
        ValueError: if the model has no such site, data of another shape, or depends on an x that is not given.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> decode(vae.model, {"z": torch.zeros(3, 2)}, (4,)).shape
        torch.Size([3, 4])
    """
    if not latents:
        raise checks.InputError("latents must hold the codes of at least one site, but are empty")
    dtype = parameter_dtype(model)
    latents = {name: as_tensor(name, z, dtype) for name, z in latents.items()}
    z = next(iter(latents.values()))
    given_labels = () if labels is None else (as_tensor("labels", labels),)
    given = None if given is None else as_tensor("given", given, dtype)
    if given is not None and given.shape != (len(z), *data_shape):
        raise checks.InputError(
            f"given must have the shape {(len(z), *data_shape)}, of a datum for each code, but has {tuple(given.shape)}"
        )
    arguments = arguments_of(
        (placeholder_data(z, len(z), data_shape) if given is None else given, *given_labels), model
    )
    if len(z) == 0:
        return arguments[0].to(z.dtype)
    data_sites = find_data_sites(model, arguments)
    if given is None and (data_sites.depends_on_x or data_sites.latents_depend_on_x or data_sites.rest):
        raise checks.InputError(
            "given must be data for a model whose distributions depend on x, such as on its total count, "
            "but was left out"
        )
    if given is not None and data_sites.depends_on_x and has_missing(given):
        raise checks.InputError(
            "given must be complete for a model whose distributions depend on x, such as on its total count, but has "
            "missing values (NaN)"
        )
    with evaluating_with_validation(model), Unobserved(data_sites.entries):
        traced = trace(poutine.condition(model, latents), arguments)
    data_sites.check(traced, latents)
    unknown = latents.keys() - traced.nodes.keys()
    if unknown:
        raise checks.InputError(f"latents must be sites of the model, but {sorted(unknown)[0]!r} is not")
    with concise_errors(arguments[0]):
        return data_sites.join({name: mean_of(traced.nodes[name]["fn"]) for name in data_sites.entries}, arguments[0])


def reconstruct(model: PyroFunction, guide: PyroFunction, x: Batch) -> Tensor:
    """Return the mean of p(x|z) at the mean of q(z|x), ``(B, *data_shape)``.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that take labels.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> reconstruct(vae.model, vae.guide, torch.ones(3, 4)).shape
        torch.Size([3, 4])
    """
    data, *labels = arguments_of(x, model, guide)
    return decode(model, encode(guide, x), tuple(data.shape[1:]), *labels, given=data)


def generate(
    model: PyroFunction,
    num_samples: int,
    like: Batch | None = None,
    *,
    noise: bool = False,
    given: Batch | None = None,
) -> Tensor:
    """Generate data from the model: latents from the prior, then the mean of p(x|z) or a sample from it.

    Args:
        model: program of p(x, z).
        num_samples: number of data.
        like: data with the shape, type and device of the result, ``(B, *data_shape)``; or the tuple ``(x, y)`` with
            the labels to generate data for, which are repeated cyclically. It may be left out for a program that tells
            the shape of its data, as those of pyrovae do, and takes no labels.
        noise: True to sample x from p(x|z), False for its mean.
        given: data, or ``(x, y)``, for a program whose p(x|z) depends on x, such as on its total count; they are
            repeated cyclically.

    Returns:
        ``(num_samples, *data_shape)``.

    Raises:
        ValueError: if the model cannot be simulated: p(x|z) depends on an x that is not given, or another observed site
            (a label, a factor) depends on the latents.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> generate(vae.model, 5).shape
        torch.Size([5, 4])
    """
    simulated = run_unobserved(model, num_samples, like, given)
    if noise:
        return simulated.x
    with concise_errors(simulated.arguments[0]):
        means = {name: mean_of(simulated.trace.nodes[name]["fn"]) for name in simulated.data_sites.entries}
    return simulated.data_sites.join(means, simulated.arguments[0])


def mean_of(fn: Any) -> Tensor:
    """Return the mean of a distribution, ``(*batch_shape, *event_shape)``; for classes, the most probable one.

    Without a formula, it is the mean of 64 samples; for directions, it is normalised.

    Args:
        fn: the distribution.

    Example:
        >>> mean_of(dist.Categorical(torch.tensor([[0.1, 0.9]])).to_event(1))
        tensor([1])
    """
    if isinstance(unwrap(fn), torch.distributions.Categorical) and not isinstance(unwrap(fn), QuantizedCategorical):
        return unwrap(fn).mode.expand(fn.batch_shape + fn.event_shape)
    try:
        mean = fn.mean
    except NotImplementedError:
        mean = fn.sample(torch.Size((64,))).mean(0)
    return mean / mean.norm(dim=-1, keepdim=True) if fn.support is constraints.sphere else mean


def is_discrete(model: PyroFunction, like: Batch) -> bool:
    """Tell whether a model's p(x|z) is a probability of discrete data.

    Args:
        model: program of p(x, z).
        like: example data, ``(B, *data_shape)``, or the tuple ``(x, y)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Gaussian((4,), 2), DiagonalNormal((4,), 2))
        >>> is_discrete(vae.model, torch.zeros(1, 4))
        False
    """
    arguments = arguments_of(like, model)
    data_sites = find_data_sites(model, arguments)
    with evaluating_with_validation(model):
        nodes = trace(model, arguments).nodes
    return all(nodes[name]["fn"].support.is_discrete for name in data_sites.entries)


def prior_grid(model: PyroFunction, like: Tensor, columns: int = 20) -> Tensor:
    """Return the decoder's means on a grid of codes, at evenly spaced percentiles of the prior of each latent.

    Args:
        model: program of p(x, z) with one latent site of two dimensions.
        like: data with the shape, type and device of the means, ``(*, *data_shape)`` with one leading dimension.
        columns: number of codes in a row and in a column, at percentiles (i + 1/2) / columns.

    Returns:
        ``(columns * columns, *data_shape)``; the first coordinate varies fastest.

    Raises:
        ValueError: if the latents are not one site of two dimensions.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> prior_grid(vae.model, torch.zeros(1, 4), columns=3).shape
        torch.Size([9, 4])
    """
    checks.integer("columns", columns)
    like = as_tensor("like", like, parameter_dtype(model))
    arguments = arguments_of(placeholder_data(like, 2, tuple(like.shape[1:])), model)
    with evaluating_with_validation(model):
        sites = {name: site for name, site in trace(model, arguments).nodes.items() if is_latent(site)}
        if len(sites) != 1 or next(iter(sites.values()))["value"].shape[1:] != (2,):
            shapes = ", ".join(f"{name} of shape {tuple(site['value'].shape[1:])}" for name, site in sites.items())
            raise checks.InputError(f"model must have one latent site of shape (2,), but has {shapes}")
        ((name, site),) = sites.items()
        if site["fn"].support is constraints.sphere:
            raise checks.InputError(f"model must have codes in the plane, but those of site {name!r} are directions")
        z = site["fn"].sample(torch.Size((20_000,))).reshape(-1, 2)
    percentiles = ((torch.arange(columns, device=z.device) + 0.5) / columns).to(z.dtype)
    first, second = z.quantile(percentiles, dim=0).unbind(1)  # (columns,) each
    codes = torch.stack((first.repeat(columns), second.repeat_interleave(columns)), 1)  # (columns ** 2, 2)
    return decode(model, {name: codes}, tuple(like.shape[1:]))
