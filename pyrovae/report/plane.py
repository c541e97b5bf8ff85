"""A plane in the space of codes: two latents, or two principal directions, and what the decoder makes of its points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation import decode, encode
from pyrovae.evaluation.simulation import unobserved, unseen, was_observed
from pyrovae.handlers import Arguments, Program

__all__ = ["Latents", "Plane", "narrowest", "plane_of"]

Latents: TypeAlias = tuple[int, int] | Literal["pca"] | None
"""Which directions a plane has: two latents by their numbers from 0, the first two principal directions, or the two
latents where there are no more, and else the principal directions."""


@dataclass(frozen=True)
class Plane:
    r"""Hold the codes :math:`o + u a + v b`; where codes are directions, these divided by their length.

    Attributes:
        site: name of the latent site.
        origin: o, ``(D,)``.
        axes: a and b, ``(2, D)``; b is zero where there is one latent.
        names: of the two coordinates; the second is empty where there is one latent.
        directions: whether codes have length 1.
        centre: of the square that is shown, (u, v).
        radius: half its side.
    """

    site: str
    origin: Tensor
    axes: Tensor
    names: tuple[str, str]
    directions: bool
    centre: tuple[float, float]
    radius: float

    @property
    def is_line(self) -> bool:
        """Whether there is no second coordinate."""
        return not self.names[1]

    def coordinates(self, codes: Tensor) -> Tensor:
        """Return where codes lie, or what of them lies in the plane, ``(N, 2)``.

        Args:
            codes: ``(N, D)``.
        """
        return (codes - self.origin) @ self.axes.T

    def codes(self, points: Tensor) -> Tensor:
        """Return the codes of points, ``(N, D)``.

        Args:
            points: ``(N, 2)``.
        """
        z = self.origin + points @ self.axes
        return z / z.norm(dim=-1, keepdim=True).clamp(min=1e-6) if self.directions else z

    def grid(self, columns: int) -> Tensor:
        """Return points in rows from the top left of the square, ``(columns * columns, 2)``, its edges among them.

        Args:
            columns: points in a row; there are as many rows, and one where the plane has one coordinate.
        """
        steps = torch.linspace(-self.radius, self.radius, columns)
        across, down = self.centre[0] + steps, self.centre[1] - (steps.new_zeros(1) if self.is_line else steps)
        return torch.cartesian_prod(down, across).flip(1)

    def decoded(self, model: Program, points: Tensor, like: Tensor, codes: Tensor, label: Any = None) -> Tensor:
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
            arguments = (unseen(like, len(part), data_shape), *(() if labels is None else (labels,)))
            parts.append(decode(model, _given(model, self.site, part, arguments), data_shape, labels))
        return torch.cat(parts)


def narrowest(latents: dict[str, Tensor]) -> str | None:
    """Name the latent site that a map shows: of several, the narrowest, which is the most abstract.

    Args:
        latents: by site name, ``(N, *event_shape)``.

    Returns:
        None where all are whole numbers.

    Example:
        >>> narrowest({"y": torch.eye(3), "z1": torch.randn(3, 8), "z2": torch.randn(3, 4)})
        'z2'
    """
    sizes = {name: z[0].numel() for name, z in latents.items() if z.is_floating_point() and bool((z % 1).any())}
    return min(sizes, key=lambda name: sizes[name]) if sizes else None


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
        ('z[3]', 'z[7]')
    """
    codes = codes.detach().cpu().float()
    drawn = None if drawn is None else drawn.detach().cpu().float()
    D = codes.shape[1]
    both = codes if drawn is None else torch.cat((codes, drawn))
    directions = D > 1 and bool(((both.norm(dim=1) - 1).abs() < 1e-3).all())
    names: tuple[str, str]
    if D == 1:
        if latents is not None:
            raise checks.InputError(f"latents must be left out for a program of one latent, but {latents} was given")
        origin, axes, names = codes.new_zeros(1), torch.tensor([[1.0], [0.0]]), (f"{site}[0]", "")
    elif latents == "pca" or (latents is None and D > 2):
        origin = codes.mean(0)
        _, values, vectors = torch.linalg.svd(torch.cat((codes - origin, codes.new_zeros(2, D))), full_matrices=False)
        axes = vectors[:2] * vectors[:2].gather(1, vectors[:2].abs().argmax(1, keepdim=True)).sign()  # not by chance
        first, second = (values.square() / values.square().sum().clamp(min=1e-12))[:2].tolist()
        names = f"direction 1 ({first:.0%})", f"direction 2 ({second:.0%})"
    else:
        i, j = latents or (0, 1)
        if i == j or not (0 <= i < D and 0 <= j < D):
            raise checks.InputError(
                f"latents must be pca or two different numbers from 0 to {D - 1}, such as [0,1], "
                f"but [{i},{j}] was given"
            )
        origin, axes, names = codes.mean(0), torch.eye(D)[[i, j]], (f"{site}[{i}]", f"{site}[{j}]")
        origin[[i, j]] = 0.0
    return _fitted(Plane(site, origin, axes, names, directions, (0.0, 0.0), 1.0), codes, drawn)


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


def _given(model: Program, site: str, z: Tensor, arguments: Arguments) -> dict[str, Tensor]:
    """Return the latents, those of other sites at their means given those before."""
    free = poutine.condition(unobserved(model), {site: z})
    return {**encode(poutine.block(free, hide_fn=was_observed), arguments), site: z}
