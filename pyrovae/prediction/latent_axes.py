"""Coordinate axes in the space of codes: single latents, or principal directions of the codes of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.reprs import short_repr

__all__ = ["Axes", "narrowest_site", "principal_directions", "single_latents"]


@dataclass(frozen=True)
class Axes:
    r"""Axes :math:`a_i` of coordinates u of codes, :math:`z = o + \sum_i u_i a_i`; on a sphere, z is normalised.

    Attributes:
        origin: o, ``(D,)``.
        axes: the orthonormal :math:`a_i`, ``(n, D)``.
        names: names of the coordinates.
        directions: True if codes are directions, of length 1.
    """

    origin: Tensor
    axes: Tensor
    names: list[str]
    directions: bool

    def __repr__(self) -> str:
        return short_repr(self, names=self.names, dimensions=self.axes.shape[-1], directions=self.directions)

    def codes(self, coordinates: Tensor) -> Tensor:
        """Return the codes at coordinates, ``(N, D)``.

        Args:
            coordinates: coordinates, ``(N, n)``.
        """
        z = self.origin + coordinates @ self.axes
        return z / z.norm(dim=-1, keepdim=True).clamp(min=1e-6) if self.directions else z

    def coordinates(self, codes: Tensor) -> Tensor:
        """Return the coordinates of codes, projected onto the axes, ``(N, n)``.

        Args:
            codes: codes, ``(N, D)``.
        """
        return (codes - self.origin) @ self.axes.T


def single_latents(codes: Tensor, which: Sequence[int], site: str = "z") -> Axes:
    """Return some latents as axes; the others are at their means.

    Args:
        codes: codes of data, ``(N, D)``.
        which: numbers of the latents, from 0.
        site: name of the latent site.

    Example:
        >>> single_latents(torch.randn(50, 4), (0, 2)).names
        ['z[0]', 'z[2]']
    """
    chosen = torch.tensor(which, device=codes.device)
    origin = codes.mean(0).index_fill(0, chosen, 0.0)
    axes = torch.eye(codes.shape[1]).to(codes)[chosen]
    return Axes(origin, axes, [f"{site}[{i}]" for i in which], _are_directions(codes))


def principal_directions(codes: Tensor, count: int) -> Axes:
    """Return the principal directions of codes as axes, named with their share of the variance.

    Args:
        codes: codes of data, ``(N, D)``.
        count: number of directions, at most D.

    Example:
        >>> principal_directions(torch.tensor([[0.0, -1.0], [0.0, 1.0]]), 2).names
        ['direction 1 (100%)', 'direction 2 (0%)']
    """
    origin, D = codes.mean(0), codes.shape[1]
    rows = torch.cat(
        (codes - origin, codes.new_zeros(D, D))
    )  # so that there are D directions even for fewer data than latents
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    vectors = vectors * vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()  # fixes the sign
    shares = values.square() / values.square().sum().clamp(min=1e-12)
    names = [f"direction {i + 1} ({share:.0%})" for i, share in enumerate(shares[:count].tolist())]
    return Axes(origin, vectors[:count], names, _are_directions(codes))


def narrowest_site(latents: dict[str, Tensor]) -> str | None:
    """Return the name of the latent site with the fewest dimensions, which a map shows.

    Args:
        latents: latents by site name, ``(N, *event_shape)``; sites of integers are ignored.

    Returns:
        the name, or None if all sites are of integers.

    Example:
        >>> narrowest_site({"y": torch.eye(3), "z1": torch.randn(3, 8), "z2": torch.randn(3, 4)})
        'z2'
    """
    sizes = {name: z[0].numel() for name, z in latents.items() if z.is_floating_point() and bool((z % 1).any())}
    return min(sizes, key=lambda name: sizes[name]) if sizes else None


def _are_directions(codes: Tensor) -> bool:
    return codes.shape[1] > 1 and bool(((codes.norm(dim=1) - 1).abs() < 1e-3).all())
