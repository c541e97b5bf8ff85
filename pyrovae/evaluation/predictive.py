"""What a program predicts: codes of data, reconstructions, new data, decoded codes."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.tracing import evaluating, is_latent, latents_of, run
from pyrovae.handlers import Program

__all__ = ["decode", "encode", "generate", "prior_grid", "reconstruct"]


def encode(guide: Program, x: Tensor) -> dict[str, Tensor]:
    """Return the mean of each latent site of the guide.

    Args:
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``.

    Returns:
        by site name, ``(B, *event_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> encode(vae.guide, torch.ones(3, 4))["z"].shape
        torch.Size([3, 2])
    """
    with evaluating(guide):
        trace = run(guide, x)
        return {name: _mean(trace.nodes[name]["fn"]) for name in latents_of(trace)}


def decode(model: Program, latents: dict[str, Tensor], data_shape: tuple[int, ...]) -> Tensor:
    """Return the mean of p(x|z) at given codes.

    Args:
        model: program of p(x, z).
        latents: by site name, ``(B, *event_shape)``.
        data_shape: shape of one datum.

    Returns:
        ``(B, *data_shape)``.

    Raises:
        ValueError: if the model has no such site.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> decode(vae.model, {"z": torch.zeros(3, 2)}, (4,)).shape
        torch.Size([3, 4])
    """
    z = next(iter(latents.values()))
    with evaluating(model):
        trace = run(poutine.condition(poutine.uncondition(model), latents), _unseen(z, len(z), data_shape))
    unknown = latents.keys() - trace.nodes.keys()
    if unknown:
        raise checks.InputError(f"latents must be sites of the model, but {sorted(unknown)[0]!r} is not")
    return _mean(_datum_site(trace)["fn"])


def reconstruct(model: Program, guide: Program, x: Tensor) -> Tensor:
    """Return the mean of p(x|z) at the mean of q(z|x), ``(B, *data_shape)``.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> reconstruct(vae.model, vae.guide, torch.ones(3, 4)).shape
        torch.Size([3, 4])
    """
    return decode(model, encode(guide, x), tuple(x.shape[1:]))


def generate(model: Program, num_samples: int, like: Tensor, *, noise: bool = False) -> Tensor:
    """Draw new data from the model: latents from the prior, and the mean of p(x|z) or a draw from it.

    Args:
        model: program of p(x, z).
        num_samples: how many.
        like: data whose shape, type and device the new ones have, ``(*, *data_shape)`` with one leading dimension.
        noise: draw x from p(x|z) instead of taking its mean.

    Returns:
        ``(num_samples, *data_shape)``.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> generate(vae.model, 5, torch.zeros(1, 4)).shape
        torch.Size([5, 4])
    """
    checks.integer("num_samples", num_samples)
    with evaluating(model):
        site = _datum_site(run(poutine.uncondition(model), _unseen(like, num_samples, tuple(like.shape[1:]))))
    return site["value"] if noise else _mean(site["fn"])


def _datum_site(trace: Any) -> dict[str, Any]:
    """Return the site that is observed in training: the last one that was, before it was unconditioned."""
    sites = [site for site in trace.nodes.values() if _was_observed(site)]
    if not sites:
        raise checks.InputError("model must observe x, but observes no site")
    return sites[-1]


def _was_observed(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and bool(site["infer"].get("was_observed"))


def _unseen(like: Tensor, count: int, data_shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(count, *data_shape, dtype=like.dtype, device=like.device)


def _mean(fn: Any) -> Tensor:
    try:
        return fn.mean
    except NotImplementedError:
        return fn.sample(torch.Size((64,))).mean(0)


def prior_grid(model: Program, like: Tensor, columns: int = 20) -> Tensor:
    """Return the decoder's means on a grid of codes, evenly spaced in the percentiles of each latent's prior.

    Args:
        model: program of p(x, z) with one latent site of two dimensions.
        like: data whose shape, type and device the means have, ``(*, *data_shape)`` with one leading dimension.
        columns: codes in a row and in a column, at percentiles (i + 1/2) / columns.

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
    with evaluating(model):
        nodes = run(poutine.uncondition(model), _unseen(like, 2, tuple(like.shape[1:]))).nodes
        sites = {name: site for name, site in nodes.items() if is_latent(site) and not _was_observed(site)}
        if len(sites) != 1 or next(iter(sites.values()))["value"].shape[1:] != (2,):
            shapes = ", ".join(f"{name} of shape {tuple(site['value'].shape[1:])}" for name, site in sites.items())
            raise checks.InputError(f"model must have one latent site of shape (2,), but has {shapes}")
        ((name, site),) = sites.items()
        z = site["fn"].sample(torch.Size((20_000,))).reshape(-1, 2)
    percentiles = ((torch.arange(columns, device=z.device) + 0.5) / columns).to(z.dtype)
    first, second = z.quantile(percentiles, dim=0).unbind(1)  # (columns,) each
    codes = torch.stack((first.repeat(columns), second.repeat_interleave(columns)), 1)  # (columns ** 2, 2)
    return decode(model, {name: codes}, tuple(like.shape[1:]))
