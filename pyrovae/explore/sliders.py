"""Axes of sliders: the latents that vary most, or principal directions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pyrovae.prediction.latent_axes import Axes, principal_directions, single_latents

__all__ = ["Sliders", "sliders_of"]


@dataclass(frozen=True, repr=False)
class Sliders(Axes):
    """Axes with the range of each coordinate.

    Attributes:
        reach: largest absolute value of each coordinate.
    """

    reach: list[float]


def sliders_of(codes: Tensor, site: str = "z", most: int = 10) -> dict[str, Sliders]:
    """Return axes of the latents that vary most, and of the principal directions.

    Args:
        codes: codes of data, ``(N, D)``.
        site: name of the latent site.
        most: largest number of axes.

    Returns:
        axes by name: ``latents``, and ``principal directions`` if there is more than one latent.

    Example:
        >>> found = sliders_of(torch.randn(100, 3) * torch.tensor([1.0, 0.0, 2.0]), most=2)
        >>> found["latents"].names
        ['z[0]', 'z[2]']
    """
    D = codes.shape[1]
    n = min(most, D)

    def made(axes: Axes) -> Sliders:
        reach = axes.coordinates(codes).abs().amax(0)
        return Sliders(**vars(axes), reach=[max(1.0, round(1.1 * r, 1)) for r in reach.tolist()])

    chosen = codes.var(0).topk(n).indices.sort().values.tolist()
    found = {"latents": made(single_latents(codes, chosen, site))}
    if D > 1:
        found["principal directions"] = made(principal_directions(codes, n))
    return found
