"""Health of a trained program: whether its latents carry information about the data."""

from __future__ import annotations

import torch

from pyrovae import checks
from pyrovae.evaluation.elbo.rate_distortion import RateDistortion, rate_distortion
from pyrovae.programs import Batch, PyroFunction, arguments_of
from pyrovae.rng import forked_rng

__all__ = ["COLLAPSED", "check_latents", "collapse_verdict"]

COLLAPSED = 0.1
"""KL in nats per datum below which a posterior counts as collapsed; a code of two equal classes has 0.69."""

_SAMPLES = 32
_FEW = 20  # number of data below which the variance of the codes over data tells nothing of single latents


def check_latents(model: PyroFunction, guide: PyroFunction, x: Batch, *, chunk_size: int | None = None) -> str | None:
    """Return a sentence if the posterior has collapsed to the prior in some or all latents, or else None.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: some data, ``(B, *data_shape)``, or the tuple ``(x, y)``; a few hundred suffice.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.

    Returns:
        the sentence, or None; also None if the guide has no density. torch's random state is not changed.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> sentence = check_latents(vae.model, vae.guide, torch.rand(50, 4).round())
        >>> sentence is None  # not healthy, because it is not trained
        False
    """
    device = arguments_of(x, model, guide)[0].device
    try:
        with forked_rng(device):
            torch.manual_seed(0)
            found = rate_distortion(model, guide, x, _SAMPLES, num_codes=2, chunk_size=chunk_size)
    except checks.InputError:  # no density, such as of a deterministic encoder
        return None
    return collapse_verdict(found)


def collapse_verdict(found: RateDistortion) -> str | None:
    """Return a sentence if the rate or the active units show a posterior collapse, or else None.

    Args:
        found: rate and active units of some data.
    """
    rate = found.rate.mean().item()
    units = {name: active for name, active in found.active.items() if active.numel() > 0}
    total, active = sum(each.numel() for each in units.values()), sum(int(each.sum()) for each in units.values())
    remedy = "a weight of the KL that grows over more epochs (kl_warmup), or a smaller learning rate, may help"
    if rate < COLLAPSED:
        return (
            f"The posterior has collapsed: the codes carry {max(rate, 0.0):.2f} nats per datum, so that the model uses "
            f"no latent; {remedy}."
        )
    if active < total and len(found.rate) >= _FEW:
        dead = [
            f"{name}[{', '.join(map(str, index))}]" if index else name
            for name, each in units.items()
            for index in (~each).nonzero().tolist()
        ]
        which = f" ({', '.join(dead)})" if len(dead) <= 8 else ""
        return (
            f"{len(dead)} of {total} latents carry no information{which}: the model would be the same without them"
            + (f"; {remedy}." if total <= 8 else ".")
        )
    return None
