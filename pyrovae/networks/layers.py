"""Parts of networks: normalization, activation and dropout after a linear map; layers over leading dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["NormalizationFactory", "map_leading", "post_layers"]

NormalizationFactory: TypeAlias = Callable[[int], nn.Module]
"""Makes a normalization layer from a number of features or channels: ``normalization(width)``.

A class such as ``torch.nn.LayerNorm``, or any function, such as ``functools.partial(torch.nn.GroupNorm, 8)``.
"""


def post_layers(
    width: int,
    activation: Callable[[], nn.Module],
    normalization: NormalizationFactory | None = None,
    dropout: float = 0.0,
    *,
    image: bool = False,
    out_width: int | None = None,
) -> list[nn.Module]:
    """Make the layers after a linear map: normalization, activation, dropout.

    Args:
        width: number of features or channels of the input.
        activation: class of the nonlinearity.
        normalization: makes a normalization layer from ``width``; None for none.
        dropout: probability that a feature, or a channel of an image, is set to zero in training.
        image: True if the input is ``(N, width, H, W)`` instead of ``(N, width)``.
        out_width: number of features after the nonlinearity, by default ``width``.

    Raises:
        ValueError: if a layer cannot be made, does not accept the shape, or ``dropout`` is not in [0, 1).

    Example:
        >>> post_layers(8, torch.nn.ReLU, torch.nn.BatchNorm1d, dropout=0.5)[1:]
        [ReLU(), Dropout(p=0.5, inplace=False)]
    """
    if checks.number("dropout", dropout, maximum=1.0) == 1.0:
        raise checks.InputError(f"dropout must be a number of at least 0 and below 1, but {dropout!r} was given")
    # The width differs from the number of channels, because LayerNorm would mistake columns for channels.
    shape = (2, width, 1, width + 1) if image else (2, width)
    layers: list[nn.Module] = []
    if normalization is not None:
        kind = (
            "BatchNorm2d, made from the number of channels" if image else "LayerNorm, made from the number of features"
        )
        layers.append(_make_layer("normalization", f"torch.nn.{kind} alone", normalization, (width,), shape, shape))
    out_shape = (2, out_width or width, *shape[2:])
    layers.append(_make_layer("activation", "torch.nn.ReLU, made without arguments", activation, (), shape, out_shape))
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout) if image else nn.Dropout(dropout))
    return layers


def map_leading(
    layers: nn.Module,
    x: Tensor,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    flat_shape: tuple[int, ...] | None = None,
) -> Tensor:
    """Map ``x`` of shape ``(*, *in_shape)`` to ``(*, *out_shape)`` by layers that take one leading dimension.

    Args:
        layers: map from ``(N, *flat_shape)`` to a tensor with as many elements as ``(N, *out_shape)``.
        x: the input.
        in_shape: shape of one input.
        out_shape: shape of one output.
        flat_shape: shape of one input as the layers take it, by default ``in_shape``.

    Example:
        >>> map_leading(torch.nn.Linear(6, 4), torch.zeros(5, 3, 2, 3), (2, 3), (4,), (6,)).shape
        torch.Size([5, 3, 4])
    """
    y = layers(x.reshape(-1, *(flat_shape or in_shape)))  # (N, ...)
    return y.reshape(*x.shape[: -len(in_shape)], *out_shape)


def _make_layer(
    name: str,
    like: str,
    factory: Callable[..., nn.Module],
    arguments: tuple[int, ...],
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
) -> nn.Module:
    """Make a layer and check it on zeros, so that a misfit is named now and not by torch at some later batch."""
    given = getattr(checks.class_of(factory) or factory, "__name__", repr(factory))
    refusal = f"{name} must be a class such as {like}, but {given} was given"
    try:
        layer = factory(*arguments).eval()  # so that batch statistics do not change
        with torch.no_grad():
            found = tuple(layer(torch.zeros(in_shape)).shape)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise checks.InputError(f"{refusal} ({checks.reason(error)})") from error
    if found != out_shape:
        raise checks.InputError(f"{refusal}, which maps {in_shape} to {found}")
    return layer.train()
