"""A plane in the space of codes: two latents, or two principal directions, and what the decoder makes of its points."""

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
"""Which directions a plane has: two latents by their numbers from 0, the first two principal directions, or the two
latents where there are no more, and else the principal directions."""


@dataclass(frozen=True, repr=False)
class Plane(Axes):
    """Hold two coordinates, the second of which is always 0 and has no name where there is one latent, and a square.

    Attributes:
        site: name of the latent site.
        centre: of the square that is shown, (u, v).
        radius: half its side.
    """

    site: str
    centre: tuple[float, float]
    radius: float

    @property
    def is_line(self) -> bool:
        """Whether there is no second coordinate."""
        return not self.names[1]

    def grid(self, columns: int) -> Tensor:
        """Return points in rows from the top left of the square, ``(columns * columns, 2)``, its edges among them.

        Args:
            columns: points in a row; there are as many rows, and one where the plane has one coordinate.
        """
        steps = torch.linspace(-self.radius, self.radius, columns)
        across, down = self.centre[0] + steps, self.centre[1] - (steps.new_zeros(1) if self.is_line else steps)
        return torch.cartesian_prod(down, across).flip(1)

    def decoded(self, model: PyroFunction, points: Tensor, like: Tensor, codes: Tensor, label: Any = None) -> Tensor:
        """Return the means of p(x|z) at points, latents of other sites being at their means, ``(N, *data_shape)``.

        Args:
            model: program of p(x, z).
            points: ``(N, 2)``.
            like: data, ``(*, *data_shape)`` with one leading dimension.
            codes: of the site, whose shape the model wants, ``(*, *event_shape)`` with one leading dimension.
            label: class to decode for, of a program that is called with labels; else None.
        """
        z = self.codes(points).to(codes).reshape(-1, *codes.shape[1:])
        data_shape = tuple(like.shape[1:])
        parts = []
        for part in z.split(512):
            labels = None if label is None else torch.full((len(part),), int(label), device=part.device)
            arguments = (placeholder_data(like, len(part), data_shape), *(() if labels is None else (labels,)))
            parts.append(decode(model, _given(model, self.site, part, arguments), data_shape, labels))
        return torch.cat(parts)


def plane_of(site: str, codes: Tensor, drawn: Tensor | None, latents: Latents = None) -> Plane:
    """Choose a plane, and the square of it that holds nearly all codes.

    Args:
        site: name of the latent site.
        codes: of data, ``(N, D)``.
        drawn: codes from the prior, ``(M, D)``, most of which the square holds too; None if there are none.
        latents: which plane.

    Raises:
        ValueError: if there are no such latents.

    Example:
        >>> plane_of("z", torch.randn(50, 20), torch.randn(50, 20), (3, 7)).names
        ['z[3]', 'z[7]']
    """
    codes = codes.detach().cpu().float()
    drawn = None if drawn is None else drawn.detach().cpu().float()
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
    return _fitted(Plane(**vars(axes), site=site, centre=(0.0, 0.0), radius=1.0), codes, drawn)


def _fitted(plane: Plane, codes: Tensor, drawn: Tensor | None) -> Plane:
    """Return the plane with the square that holds all codes but a few, and most that the prior makes."""
    limits = [plane.coordinates(codes).quantile(torch.tensor([0.002, 0.998]), dim=0)]  # (2, 2)
    if drawn is not None:
        limits.append(plane.coordinates(drawn).quantile(torch.tensor([0.02, 0.98]), dim=0))
    low, high = torch.stack(limits)[:, 0].min(0).values, torch.stack(limits)[:, 1].max(0).values
    if plane.is_line:
        low[1], high[1] = 0.0, 0.0
    u, v = ((low + high) / 2).tolist()
    return replace(plane, centre=(u, v), radius=max(0.53 * (high - low).max().item(), 1e-3))


def _given(model: PyroFunction, site: str, z: Tensor, arguments: Arguments) -> dict[str, Tensor]:
    """Return the latents, those of other sites at their means given those before."""
    return {**encode(poutine.condition(model, {site: z}), arguments), site: z}
