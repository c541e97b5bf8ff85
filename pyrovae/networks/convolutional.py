"""Convolutional encoder (images to features) and decoder (features to images)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from pyrovae import checks
from pyrovae.networks.base import Shape
from pyrovae.networks.layers import NormalizationFactory, map_leading, post_layers

__all__ = ["ConvolutionalDecoder", "ConvolutionalEncoder", "downsampling_layers", "upsampling_layers"]


class ConvolutionalEncoder(nn.Module):
    """A convolutional encoder: each layer halves the image, and a last convolution covers all that remains.

    Each layer is a convolution of stride 2 with padding ``kernel_size // 2``, normalization, an activation and
    dropout. The kernel of the last convolution is as large as the remaining image (7x7 for MNIST), so that each
    feature is one value. With the defaults: 1 -> 16 -> 32 channels, 3x3, ReLU, then 7x7.

    Args:
        in_features: shape ``(C, H, W)`` of the image.
        out_features: number of features or shape of the output.
        channels: channels after each layer.
        kernel_size: side of the kernels, in pixels; odd.
        activation: class of the nonlinearity.
        normalization: makes the normalization of each layer from its number of channels, such as
            ``torch.nn.BatchNorm2d``.
        dropout: probability that a whole channel is set to zero in training (``torch.nn.Dropout2d``; Tompson
            et al., 2015, arXiv:1411.4280), since neighbouring pixels carry nearly the same information.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

    Example:
        >>> ConvolutionalEncoder((1, 28, 28), 40)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 40])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        channels: tuple[int, ...] = (16, 32),
        kernel_size: int = 3,
        activation: type[nn.Module] = nn.ReLU,
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features of a convolutional encoder (the data's shape)", in_features, dims=3)
        self.out_shape = checks.shape("out_features", out_features)
        self.weight_decay = checks.number("weight_decay", weight_decay)
        stage = partial(post_layers, activation=activation, normalization=normalization, dropout=dropout, image=True)
        self.layers = downsampling_layers(self.in_shape, prod(self.out_shape), channels, stage, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, C, H, W)`` to ``(*, *out_shape)``."""
        return map_leading(self.layers, x, self.in_shape, self.out_shape)


class ConvolutionalDecoder(nn.Module):
    """A convolutional decoder, mirror of :class:`ConvolutionalEncoder`: each layer doubles the image.

    With the defaults on ``(1, 28, 28)``: features -> 32 channels by a 7x7 transposed convolution, then
    32 -> 16 -> 1 channels by 3x3 transposed convolutions of stride 2; ReLU between, linear at the end.
    Normalization comes before each activation, dropout after it.

    Args:
        in_features: number of features or shape of the input; a shape is flattened.
        out_features: shape ``(C, H, W)`` of the image.
        channels: channels before each doubling.
        kernel_size: side of the kernels, in pixels; odd.
        activation: class of the nonlinearity.
        normalization: makes a normalization from the number of channels before each doubling, such as
            ``torch.nn.BatchNorm2d``.
        dropout: probability that a whole channel is set to zero in training.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

    Example:
        >>> ConvolutionalDecoder(20, (1, 28, 28))(torch.zeros(5, 3, 20)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        channels: tuple[int, ...] = (32, 16),
        kernel_size: int = 3,
        activation: type[nn.Module] = nn.ReLU,
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features", in_features)
        self.out_shape = checks.shape(
            "out_features of a convolutional decoder (the data's shape)", out_features, dims=3
        )
        self.weight_decay = checks.number("weight_decay", weight_decay)
        stage = partial(post_layers, activation=activation, normalization=normalization, dropout=dropout, image=True)
        self.layers = upsampling_layers(prod(self.in_shape), self.out_shape, channels, stage, kernel_size)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``z`` of shape ``(*, *in_shape)`` to ``(*, C, H, W)``."""
        return map_leading(self.layers, z, self.in_shape, self.out_shape, (prod(self.in_shape), 1, 1))


def downsampling_layers(
    in_shape: tuple[int, ...],
    out_features: int,
    channels: tuple[int, ...],
    stage: Callable[[int], list[nn.Module]],
    kernel_size: int = 3,
) -> nn.Sequential:
    """Make layers from images to features: convolutions of stride 2, and one that covers the remaining image.

    Args:
        in_shape: shape ``(C, H, W)`` of the image.
        out_features: number of features; the output is ``(N, out_features, 1, 1)``.
        channels: channels after each halving.
        stage: makes the layers after each halving, from the number of channels.
        kernel_size: side of the kernels, in pixels; odd.

    Example:
        >>> downsampling_layers((1, 9, 6), 4, (8,), lambda width: [torch.nn.ReLU()])(torch.zeros(2, 1, 9, 6)).shape
        torch.Size([2, 4, 1, 1])
    """
    padding = _padding(kernel_size)
    layers: list[nn.Module] = []
    previous, *sizes = in_shape
    for width in checks.integers("channels", channels):
        layers += [nn.Conv2d(previous, width, kernel_size, 2, padding), *stage(width)]
        previous, sizes = width, [(n + 1) // 2 for n in sizes]
    return nn.Sequential(*layers, nn.Conv2d(previous, out_features, (sizes[0], sizes[1])))


def upsampling_layers(
    in_features: int,
    out_shape: tuple[int, ...],
    channels: tuple[int, ...],
    stage: Callable[[int], list[nn.Module]],
    kernel_size: int = 3,
) -> nn.Sequential:
    """Make layers from features to images: a transposed convolution to the smallest size, then some of stride 2.

    Args:
        in_features: number of features; the input is ``(N, in_features, 1, 1)``.
        out_shape: shape ``(C, H, W)`` of the image.
        channels: channels before each doubling.
        stage: makes the layers before each doubling, from the number of channels.
        kernel_size: side of the kernels, in pixels; odd.

    Example:
        >>> upsampling_layers(4, (1, 9, 6), (8,), lambda width: [torch.nn.ReLU()])(torch.zeros(2, 4, 1, 1)).shape
        torch.Size([2, 1, 9, 6])
    """
    padding = _padding(kernel_size)
    heights, widths = [out_shape[1]], [out_shape[2]]  # from the full image to the smallest
    outputs = (*checks.integers("channels", channels), out_shape[0])
    for _ in channels:
        heights.append((heights[-1] + 1) // 2)
        widths.append((widths[-1] + 1) // 2)
    layers: list[nn.Module] = [nn.ConvTranspose2d(in_features, outputs[0], (heights[-1], widths[-1]))]
    for i, (previous, width) in enumerate(pairwise(outputs)):
        size = heights[-2 - i], widths[-2 - i]
        odd = (size[0] + 1) % 2, (size[1] + 1) % 2
        layers += [*stage(previous), nn.ConvTranspose2d(previous, width, kernel_size, 2, padding, odd)]
    return nn.Sequential(*layers)


def _padding(kernel_size: int) -> int:
    if checks.integer("kernel_size", kernel_size) % 2 == 0:
        raise checks.InputError(f"kernel_size must be odd, but {kernel_size} was given")
    return kernel_size // 2
