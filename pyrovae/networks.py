"""Networks: tensor to tensor, over any leading batch dimensions.

What comes in ``(*, *in_shape)``; what goes out ``(*, *out_shape)``. To add one, write an
``nn.Module`` whose constructor takes the two shapes first and its own options after them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrovae import checks

__all__ = [
    "MLP",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "NetworkFactory",
    "Positive",
    "Shape",
    "make_network",
    "start_output",
]

Shape: TypeAlias = int | tuple[int, ...]
"""A number of features, or a shape such as ``(1, 28, 28)``."""

NetworkFactory: TypeAlias = Callable[[Shape, Shape], nn.Module]
"""What a conditional is given: ``network(in_shape, out_shape)``."""


class MLP(nn.Module):
    r"""Map through fully connected layers: :math:`h_{i+1} = \phi(W_i h_i + b_i)`, the last one linear.

    Args:
        in_features: number of features or shape of the input; a shape is flattened.
        out_features: number of features or shape of the output.
        hidden_features: width of each hidden layer; empty for a linear map.
        activation: class of the nonlinearity :math:`\phi`.

    Example:
        >>> MLP((1, 28, 28), 40, hidden_features=(200, 200))(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 40])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        hidden_features: tuple[int, ...] = (400, 400),
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features", in_features)
        self.out_shape = checks.shape("out_features", out_features)
        widths = [checks.integer("hidden_features", width) for width in hidden_features]
        layers: list[nn.Module] = []
        features = prod(self.in_shape)
        for width in widths:
            layers += [nn.Linear(features, width), activation()]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, prod(self.out_shape)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, *in_shape)`` to ``(*, *out_shape)``."""
        y = self.layers(x.flatten(-len(self.in_shape)))  # (*, prod(out_shape))
        return y.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else y


class ConvolutionalEncoder(nn.Module):
    """Halve the image once a layer, then read all that is left with one last convolution.

    Each layer is a convolution of stride 2 with padding ``kernel_size // 2`` and an activation;
    the last convolution is as large as the image that remains (7x7 for MNIST) and gives one value
    a feature. With the defaults: 1 -> 16 -> 32 channels, 3x3, ReLU, then 7x7.

    Args:
        in_features: shape ``(C, H, W)`` of the image.
        out_features: number of features of the output.
        channels: channels after each layer.
        kernel_size: side of the kernels, in pixels; odd.
        activation: class of the nonlinearity.

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
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features of a convolutional encoder (the data's shape)", in_features, dims=3)
        (self.out_features,) = checks.shape("out_features", out_features, dims=1)
        padding = _padding(kernel_size)
        layers: list[nn.Module] = []
        previous, *sizes = self.in_shape
        for width in channels:
            layers += [nn.Conv2d(previous, checks.integer("channels", width), kernel_size, 2, padding), activation()]
            previous, sizes = width, [(n + 1) // 2 for n in sizes]
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, self.out_features, (sizes[0], sizes[1])))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, C, H, W)`` to ``(*, out_features)``."""
        y = self.layers(x.reshape(-1, *self.in_shape))  # (N, out_features, 1, 1)
        return y.reshape(*x.shape[:-3], self.out_features)


class ConvolutionalDecoder(nn.Module):
    """Mirror :class:`ConvolutionalEncoder`: one large transposed convolution, then double the image once a layer.

    With the defaults on ``(1, 28, 28)``: features -> 32 channels by a 7x7 transposed convolution, then
    32 -> 16 -> 1 channels by 3x3 transposed convolutions of stride 2; ReLU between, linear at the end.

    Args:
        in_features: number of features of the input.
        out_features: shape ``(C, H, W)`` of the image.
        channels: channels before each doubling.
        kernel_size: side of the kernels, in pixels; odd.
        activation: class of the nonlinearity.

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
    ) -> None:
        super().__init__()
        (self.in_features,) = checks.shape("in_features", in_features, dims=1)
        self.out_shape = checks.shape(
            "out_features of a convolutional decoder (the data's shape)", out_features, dims=3
        )
        padding = _padding(kernel_size)
        heights, widths = [self.out_shape[1]], [self.out_shape[2]]  # from the image inwards
        for _ in channels:
            heights.append((heights[-1] + 1) // 2)
            widths.append((widths[-1] + 1) // 2)
        outputs = (*(checks.integer("channels", width) for width in channels), self.out_shape[0])
        layers: list[nn.Module] = [nn.ConvTranspose2d(self.in_features, outputs[0], (heights[-1], widths[-1]))]
        for i, (previous, width) in enumerate(pairwise(outputs)):
            size = heights[-2 - i], widths[-2 - i]
            odd = (size[0] + 1) % 2, (size[1] + 1) % 2
            layers += [activation(), nn.ConvTranspose2d(previous, width, kernel_size, 2, padding, odd)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``z`` of shape ``(*, in_features)`` to ``(*, C, H, W)``."""
        y = self.layers(z.reshape(-1, self.in_features, 1, 1))  # (N, C, H, W)
        return y.reshape(*z.shape[:-1], *self.out_shape)


class Positive(nn.Module):
    r"""Map to positive numbers: :math:`s = \epsilon + \mathrm{softplus}(r)` or :math:`s = \epsilon + e^r`.

    Args:
        link: ``softplus`` (grows linearly, the safer one) or ``exp``.
        minimum: the bound :math:`\epsilon` below, which keeps a density from growing without limit.

    Example:
        >>> Positive("exp", minimum=0.5)(torch.zeros(2))
        tensor([1.5000, 1.5000])
    """

    def __init__(self, link: Literal["softplus", "exp"] = "softplus", minimum: float = 1e-4) -> None:
        super().__init__()
        self.link = checks.choice("link", link, ("softplus", "exp"))
        self.minimum = checks.number("minimum", minimum)

    def forward(self, r: Tensor) -> Tensor:
        """Map any real ``r`` of shape ``(*)`` to positive numbers of the same shape."""
        return (r.exp() if self.link == "exp" else F.softplus(r)) + self.minimum

    def inverse(self, s: Tensor) -> Tensor:
        """Map ``s`` above the minimum, of shape ``(*)``, back to ``r``."""
        s = s - self.minimum
        return s.log() if self.link == "exp" else s + torch.log(-torch.expm1(-s))

    def extra_repr(self) -> str:
        """Show the options."""
        return f"link={self.link!r}, minimum={self.minimum:g}"


def make_network(network: NetworkFactory, in_shape: Shape, out_shape: Shape) -> nn.Module:
    """Make a conditional's network, or say which class does not take the two shapes.

    Raises:
        ValueError: if the class's constructor does not accept two shapes.
    """
    kind = checks.class_of(network)
    refusal = checks.InputError(
        f"network must be a class that takes the shapes of its input and output, such as MLP, "
        f"but {getattr(kind, '__name__', network)} was given"
    )
    if kind is not None:
        try:
            inspect.signature(kind).bind(in_shape, out_shape, **getattr(network, "keywords", {}))
        except TypeError as error:
            raise refusal from error
    try:
        return network(in_shape, out_shape)
    except TypeError as error:
        if kind is not None and kind.__module__.startswith("torch.nn."):  # such as Linear, of numbers and not shapes
            raise refusal from error
        raise


def start_output(network: nn.Module, value: Tensor) -> None:
    """Move a network's output to where it should start, by the bias of its last layer, if that has one.

    Args:
        network: any; one that does not end in a linear or convolutional layer with a bias is left as it is.
        value: the wanted output for a typical input, ``out_shape``.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    bias = layers[-1].bias if layers else None
    if bias is None:
        return
    with torch.no_grad():
        if bias.numel() == value.numel():
            bias.copy_(value.flatten())
        elif len(bias) == len(value):  # one bias a channel
            bias.copy_(value.flatten(1).mean(1))


def _padding(kernel_size: int) -> int:
    if checks.integer("kernel_size", kernel_size) % 2 == 0:
        raise checks.InputError(f"kernel_size must be odd, but {kernel_size} was given")
    return kernel_size // 2
