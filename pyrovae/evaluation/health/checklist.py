"""``check_health``: all checks of a trained program on some data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pyrovae.evaluation.elbo.rate_distortion import RateDistortion
from pyrovae.evaluation.health.components import dead_components
from pyrovae.evaluation.health.examined import Examined
from pyrovae.evaluation.health.latents import collapse, unused_latents
from pyrovae.evaluation.health.likelihood import saturated_likelihood
from pyrovae.evaluation.health.scales import exploding_density, scale_at_bound
from pyrovae.programs import Batch, PyroFunction, arguments_of

__all__ = ["CHECKS", "Check", "check_health", "findings"]

Check: TypeAlias = Callable[[Examined], str | None]
"""Returns a sentence with the numbers seen and what to try, or None if nothing is wrong."""

CHECKS: tuple[Check, ...] = (
    collapse,
    unused_latents,
    dead_components,
    scale_at_bound,
    exploding_density,
    saturated_likelihood,
)
"""All checks; the name of a function is the kind of what it finds."""


def check_health(model: PyroFunction, guide: PyroFunction, x: Batch, *, chunk_size: int | None = None) -> list[str]:
    """Return a sentence for each thing that is wrong with a trained program, with the numbers seen and what to try.

    A posterior that has collapsed, latents without information, components of a mixture prior that no code uses or
    that are the same, scales at their lower bound, a density that explodes, and a likelihood that is sure of values
    that the data do not have.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: some data, ``(B, *data_shape)``, or the tuple ``(x, y)``; a few hundred suffice. Of a mixture prior, the use
            of components is known from ten data a component.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.

    Returns:
        the sentences; none of the latents if the guide has no density. torch's random state is not changed.

    Raises:
        ValueError: if the programs cannot be run on the data.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> len(check_health(vae.model, vae.guide, torch.rand(50, 4).round())) > 0  # because it is not trained
        True
    """
    return list(findings(model, guide, x, chunk_size=chunk_size).values())


def findings(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    *,
    chunk_size: int | None = None,
    known: RateDistortion | None = None,
) -> dict[str, str]:
    """Return the sentences of :func:`check_health` by kind, which is the name of the check.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: some data.
        chunk_size: number of latents to run the model on at a time.
        known: rate and distortion of these data, if they are known already.
    """
    examined = Examined(model, guide, arguments_of(x, model, guide), chunk_size, known)
    found = ((check.__name__, check(examined)) for check in CHECKS)
    return {kind: sentence for kind, sentence in found if sentence is not None}
