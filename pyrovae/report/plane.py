"""Plane in the space of codes: two latents or two principal directions, with decoded points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.prediction import decode, encode
from pyrovae.prediction.latent_axes import Axes, principal_directions, single_latents
from pyrovae.prediction.simulation import placeholder_data
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Latents", "Plane", "plane_of"]

Latents: TypeAlias = tuple[int, int] | Literal["pca"] | None
"""Choice of a plane: two latents by their numbers from 0; ``pca`` for the first two principal directions; None for the
two latents if there are no more, else ``pca``."""


@dataclass(frozen=True, repr=False)
class Plane(Axes):
    """Two axes and the square that is shown; with one latent, the second coordinate is 0 and has no name.

    Attributes:
        site: name of the latent site.
        centre: centre of the square, (u, v).
        radius: half its side.
    """

    site: str
    centre: tuple[float, float]
    radius: float

    @property
    def is_line(self) -> bool:
        """True if there is no second coordinate."""
        return not self.names[1]

    def grid(self, columns: int) -> Tensor:
        """Return a grid of points from the top left of the square, with its edges, ``(columns * columns, 2)``.

        Args:
            columns: number of points in a row; there are as many rows, or one if there is one coordinate.
        """
        steps = torch.linspace(-self.radius, self.radius, columns)
        across, down = self.centre[0] + steps, self.centre[1] - (steps.new_zeros(1) if self.is_line else steps)
        return torch.cartesian_prod(down, across).flip(1)

    def decoded(self, model: PyroFunction, points: Tensor, like: Tensor, codes: Tensor, label: Any = None) -> Tensor:
        """Return the means of p(x|z) at points, ``(N, *data_shape)``; other latent sites are at their means.

        Args:
            model: program of p(x, z).
            points: points, ``(N, 2)``.
            like: example data, ``(*, *data_shape)`` with one leading dimension.
            codes: example codes of the site, ``(*, *event_shape)`` with one leading dimension.
            label: class to decode for, for a program that takes labels; else None.
        """
        z = self.codes(points).to(codes).reshape(-1, *codes.shape[1:])
        data_shape = tuple(like.shape[1:])
        parts = []
        for part in z.split(512):
            labels = None if label is None else torch.full((len(part),), int(label), device=part.device)
            arguments = (placeholder_data(like, len(part), data_shape), *(() if labels is None else (labels,)))
            parts.append(decode(model, _given(model, self.site, part, arguments), data_shape, labels))
        return torch.cat(parts)


def plane_of(site: str, codes: Tensor, prior_codes: Tensor | None, latents: Latents = None) -> Plane:
    """Return a plane, with a square that contains nearly all codes.

    Args:
        site: name of the latent site.
        codes: codes of data, ``(N, D)``.
        prior_codes: codes from the prior, ``(M, D)``, most of which are in the square too; None if there are none.
        latents: choice of the plane.

    Raises:
        ValueError: if there are no such latents.

    Example:
        >>> plane_of("z", torch.randn(50, 20), torch.randn(50, 20), (3, 7)).names
        ['z[3]', 'z[7]']
    """
    codes = codes.detach().cpu().float()
    prior_codes = None if prior_codes is None else prior_codes.detach().cpu().float()
    D = codes.shape[1]
    if D == 1:
        if latents is not None:
            raise checks.InputError(f"latents must be left out for a program of one latent, but {latents} was given")
        axes = Axes(codes.new_zeros(1), torch.tensor([[1.0], [0.0]]), [f"{site}[0]", ""], False)
    elif latents == "pca" or (latents is None and D > 2):
        axes = principal_directions(codes, 2)
    else:
        i, j = latents or (0, 1)
        if i == j or not (0 <= i < D and 0 <= j < D):
            raise checks.InputError(
                f"latents must be pca or two different numbers from 0 to {D - 1}, such as [0,1], "
                f"but [{i},{j}] was given"
            )
        axes = single_latents(codes, (i, j), site)
    return _fitted(Plane(**vars(axes), site=site, centre=(0.0, 0.0), radius=1.0), codes, prior_codes)


def _fitted(plane: Plane, codes: Tensor, prior_codes: Tensor | None) -> Plane:
    """Return the plane with a square that contains all but a few codes, and most codes from the prior."""
    limits = [plane.coordinates(codes).quantile(torch.tensor([0.002, 0.998]), dim=0)]  # (2, 2)
    if prior_codes is not None:
        limits.append(plane.coordinates(prior_codes).quantile(torch.tensor([0.02, 0.98]), dim=0))
    low, high = torch.stack(limits)[:, 0].min(0).values, torch.stack(limits)[:, 1].max(0).values
    if plane.is_line:
        low[1], high[1] = 0.0, 0.0
    u, v = ((low + high) / 2).tolist()
    return replace(plane, centre=(u, v), radius=max(0.53 * (high - low).max().item(), 1e-3))


def _given(model: PyroFunction, site: str, z: Tensor, arguments: Arguments) -> dict[str, Tensor]:
    """Return the latents of all sites; those of other sites are at their means, given the sites before."""
    return {**encode(poutine.condition(model, {site: z}), arguments), site: z}
