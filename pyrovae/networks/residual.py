"""Residual encoder (images to features) and decoder (features to images) with pre-activation blocks."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from pyrovae import checks
from pyrovae.networks.base import Shape
from pyrovae.networks.convolutional import downsampling_layers, upsampling_layers
from pyrovae.networks.layers import NormalizationFactory, map_leading, post_layers

__all__ = ["ResNetDecoder", "ResNetEncoder", "ResidualBlock"]


class ResidualBlock(nn.Module):
    r"""A residual block: the sum of an image and two 3x3 convolutions of it, :math:`h = x + W_2\, \phi(W_1\, \phi(x))`.

    (He et al., 2016, arXiv:1603.05027.) Normalization comes before each activation :math:`\phi`, dropout between
    the convolutions (Zagoruyko & Komodakis, 2016, arXiv:1605.07146).

    Args:
        channels: number of channels of input and output.
        activation: class of the nonlinearity :math:`\phi`.
        normalization: makes a normalization layer from the number of channels, such as ``torch.nn.BatchNorm2d``;
            ``None`` for none.
        dropout: probability that a whole channel is set to zero in training.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

    Example:
        >>> ResidualBlock(8, torch.nn.ReLU, torch.nn.BatchNorm2d, 0.1)(torch.zeros(5, 8, 7, 7)).shape
        torch.Size([5, 8, 7, 7])
    """

    def __init__(
        self,
        channels: int,
        activation: type[nn.Module],
        normalization: NormalizationFactory | None,
        dropout: float,
    ) -> None:
        super().__init__()
        checks.integer("channels", channels)
        self.layers = nn.Sequential(
            *post_layers(channels, activation, normalization, image=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            *post_layers(channels, activation, normalization, dropout, image=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(N, channels, H, W)`` to the same shape."""
        return x + self.layers(x)


class ResNetEncoder(nn.Module):
    """A residual encoder: each stage halves the image, and a last convolution covers all that remains.

    A stage is a 3x3 convolution of stride 2, blocks (:class:`ResidualBlock`), normalization and an activation.
    The kernel of the last convolution is as large as the remaining image (7x7 for MNIST), so that each feature is one
    value.

    Args:
        in_features: shape ``(C, H, W)`` of the image.
        out_features: number of features or shape of the output.
        channels: channels of each stage.
        blocks_per_stage: number of residual blocks of each stage.
        activation: class of the nonlinearity.
        normalization: makes the normalization layers of each stage from its number of channels, such as
            ``torch.nn.BatchNorm2d``.
        dropout: probability that a whole channel is set to zero in training, within the blocks.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

    Example:
        >>> ResNetEncoder((1, 28, 28), 40)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 40])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        channels: tuple[int, ...] = (32, 64),
        blocks_per_stage: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features of a residual encoder (the data's shape)", in_features, dims=3)
        self.out_shape = checks.shape("out_features", out_features)
        self.weight_decay = checks.number("weight_decay", weight_decay)
        stage = _stage(blocks_per_stage, activation, normalization, dropout)
        self.layers = downsampling_layers(self.in_shape, prod(self.out_shape), channels, stage)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, C, H, W)`` to ``(*, *out_shape)``."""
        return map_leading(self.layers, x, self.in_shape, self.out_shape)


class ResNetDecoder(nn.Module):
    """A residual decoder, mirror of :class:`ResNetEncoder`: each stage doubles the image.

    The first layer is a transposed convolution to the smallest image. A stage is blocks (:class:`ResidualBlock`),
    normalization, an activation and a 3x3 transposed convolution of stride 2, the last of which gives the image.

    Args:
        in_features: number of features or shape of the input; a shape is flattened.
        out_features: shape ``(C, H, W)`` of the image.
        channels: channels of each stage.
        blocks_per_stage: number of residual blocks of each stage.
        activation: class of the nonlinearity.
        normalization: makes the normalization layers of each stage from its number of channels, such as
            ``torch.nn.BatchNorm2d``.
        dropout: probability that a whole channel is set to zero in training, within the blocks.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

    Example:
        >>> ResNetDecoder(20, (1, 28, 28))(torch.zeros(5, 3, 20)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        channels: tuple[int, ...] = (64, 32),
        blocks_per_stage: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features", in_features)
        self.out_shape = checks.shape("out_features of a residual decoder (the data's shape)", out_features, dims=3)
        self.weight_decay = checks.number("weight_decay", weight_decay)
        stage = _stage(blocks_per_stage, activation, normalization, dropout)
        self.layers = upsampling_layers(prod(self.in_shape), self.out_shape, channels, stage)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``z`` of shape ``(*, *in_shape)`` to ``(*, C, H, W)``."""
        return map_leading(self.layers, z, self.in_shape, self.out_shape, (prod(self.in_shape), 1, 1))


def _stage(
    blocks: int, activation: type[nn.Module], normalization: NormalizationFactory | None, dropout: float
) -> Callable[[int], list[nn.Module]]:
    checks.integer("blocks_per_stage", blocks)

    def stage(width: int) -> list[nn.Module]:
        residual = [ResidualBlock(width, activation, normalization, dropout) for _ in range(blocks)]
        return [*residual, *post_layers(width, activation, normalization, image=True)]

    return stage
