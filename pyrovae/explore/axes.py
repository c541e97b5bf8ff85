"""Coordinates of codes: single latents, or principal directions of the codes of data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Axes", "axes_of"]


@dataclass(frozen=True)
class Axes:
    r"""Hold coordinates u of codes, :math:`z = o + \sum_i u_i a_i`; directions are divided by their length.

    Attributes:
        origin: o, ``(D,)``.
        axes: the a, of length 1 and at right angles, ``(n, D)``.
        names: of the coordinates.
        reach: how far each coordinate goes from 0, to either side.
        directions: whether codes have length 1.
    """

    origin: Tensor
    axes: Tensor
    names: list[str]
    reach: list[float]
    directions: bool

    def codes(self, coordinates: Tensor) -> Tensor:
        """Return the codes at coordinates ``(N, n)``, ``(N, D)``."""
        z = self.origin + coordinates @ self.axes
        return z / z.norm(dim=-1, keepdim=True).clamp(min=1e-6) if self.directions else z

    def coordinates(self, codes: Tensor) -> Tensor:
        """Return the coordinates of codes ``(N, D)``, or of what of them lies along the axes, ``(N, n)``."""
        return (codes - self.origin) @ self.axes.T


def axes_of(codes: Tensor, site: str = "z", most: int = 10) -> dict[str, Axes]:
    """Return the latents that vary most as coordinates, and the principal directions.

    Args:
        codes: of data, ``(N, D)``.
        site: name of the latent site.
        most: coordinates at most.

    Returns:
        ``latents``, and ``principal directions`` where there is more than one latent.

    Example:
        >>> found = axes_of(torch.randn(100, 3) * torch.tensor([1.0, 0.0, 2.0]), most=2)
        >>> found["latents"].names
        ['z[0]', 'z[2]']
    """
    D, mean = codes.shape[1], codes.mean(0)
    n = min(most, D)
    directions = D > 1 and bool(((codes.norm(dim=1) - 1).abs() < 1e-3).all())

    def made(origin: Tensor, axes: Tensor, names: list[str]) -> Axes:
        reach = ((codes - origin) @ axes.T).abs().amax(0)
        return Axes(origin, axes, names, [max(1.0, round(1.1 * r, 1)) for r in reach.tolist()], directions)

    chosen = codes.var(0).topk(n).indices.sort().values
    origin = mean.index_fill(0, chosen, 0.0)
    found = {"latents": made(origin, torch.eye(D).to(codes)[chosen], [f"{site}[{i}]" for i in chosen.tolist()])}
    if D > 1:
        _, values, vectors = torch.linalg.svd(codes - mean, full_matrices=False)
        sign = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()  # not left to chance
        shares = values.square() / values.square().sum().clamp(min=1e-12)
        names = [f"direction {i + 1} ({share:.0%})" for i, share in enumerate(shares[:n].tolist())]
        found["principal directions"] = made(mean, (vectors * sign)[:n], names)
    return found
