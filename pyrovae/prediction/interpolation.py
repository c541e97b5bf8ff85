"""Paths between codes, and directions between classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.tensors import as_tensor

__all__ = ["class_direction", "linear_path", "spherical_path"]


def linear_path(start: Tensor, end: Tensor, num_points: int = 10) -> Tensor:
    r"""Return the straight path between two codes: :math:`z(t) = (1 - t) z_0 + t z_1`, t evenly spaced from 0 to 1.

    Args:
        start: :math:`z_0`, ``(*, D)``.
        end: :math:`z_1`, ``(*, D)``.
        num_points: number of codes, including both ends; at least 2.

    Returns:
        ``(num_points, *, D)``.

    Raises:
        ValueError: if there are fewer points, or the ends have different shapes.

    Example:
        >>> linear_path(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), 3)
        tensor([[0.0000, 2.0000],
                [0.5000, 1.0000],
                [1.0000, 0.0000]])
    """
    start, end = as_tensor("start", start), as_tensor("end", end)
    return torch.lerp(start, end, _times(start, end, num_points))


def spherical_path(start: Tensor, end: Tensor, num_points: int = 10) -> Tensor:
    r"""Return a path between codes by spherical interpolation of the direction and linear interpolation of the norm.

    .. math:: z(t) = \bigl((1 - t) \|z_0\| + t \|z_1\|\bigr) \frac{\sin((1 - t) \omega) u_0 + \sin(t \omega) u_1}
        {\sin \omega}, \qquad u_i = \frac{z_i}{\|z_i\|}, \quad \cos \omega = u_0 \cdot u_1

    Nearly all mass of a standard normal in many dimensions is near a sphere of radius :math:`\sqrt{D}`, which a
    straight line leaves (Shoemake, 1985, doi:10.1145/325165.325242; for latents: White, 2016, arXiv:1609.04468). If the
    directions are the same, opposite, or undefined, the path is straight.

    Args:
        start: :math:`z_0`, ``(*, D)``.
        end: :math:`z_1`, ``(*, D)``.
        num_points: number of codes, including both ends; at least 2.

    Returns:
        ``(num_points, *, D)``.

    Raises:
        ValueError: if there are fewer points, or the ends have different shapes.

    Example:
        >>> spherical_path(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), 3)
        tensor([[0.0000, 2.0000],
                [1.0607, 1.0607],
                [1.0000, 0.0000]])
    """
    start, end = as_tensor("start", start), as_tensor("end", end)
    t = _times(start, end, num_points)
    first_norm, last_norm = (z.norm(dim=-1, keepdim=True) for z in (start, end))  # (*, 1) each
    first, last = start / first_norm.clamp(min=1e-12), end / last_norm.clamp(min=1e-12)
    angle = torch.arccos((first * last).sum(-1, keepdim=True).clamp(-1, 1))  # (*, 1)
    sine = angle.sin()
    turned = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / sine  # (num_points, *, D)
    known = (sine > 1e-4) & (first_norm > 0) & (last_norm > 0)
    path = torch.where(known, torch.lerp(first_norm, last_norm, t) * turned, torch.lerp(start, end, t))
    path[0], path[-1] = start, end
    return path


def class_direction(codes: Tensor, labels: Tensor | None, to: int, source: int | None = None) -> Tensor:
    """Return the direction to a class: the mean of its codes minus that of another class, or of all others.

    (Larsen et al., 2016, arXiv:1512.09300, add such a vector to codes to change one attribute of an image.)

    Args:
        codes: ``(N, D)``.
        labels: ``(N,)`` integers; data of an unknown class, -1, are ignored.
        to: target class.
        source: source class; all others if not given.

    Returns:
        ``(D,)``.

    Raises:
        ValueError: if there are no labels, or none of these classes.

    Example:
        >>> class_direction(torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0]]), torch.tensor([0, 0, 1]), to=1)
        tensor([4., 1.])
    """
    if labels is None:
        raise checks.InputError("labels must tell the classes of the codes, but None was given")
    codes, labels = as_tensor("codes", codes), as_tensor("labels", labels)
    known = labels >= 0
    members = known & (labels == to)
    others = known & ~members if source is None else known & (labels == source)
    for name, chosen, label in (("to", members, to), ("source", others, source)):
        if not bool(chosen.any()):
            raise checks.InputError(f"{name} must be one of the labels, but none is {label!r}")
    return codes[members].mean(0) - codes[others].mean(0)


def _times(start: Tensor, end: Tensor, num_points: int) -> Tensor:
    checks.integer("num_points", num_points, minimum=2)
    if start.shape != end.shape:
        raise checks.InputError(
            f"start and end must have one shape, but have {tuple(start.shape)} and {tuple(end.shape)}"
        )
    t = torch.linspace(0, 1, num_points, dtype=start.dtype, device=start.device)
    return t.reshape(-1, *[1] * start.dim())  # (num_points, *, 1)
