"""Network with a linear map beside it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pyrovae import checks
from pyrovae.networks.base import NetworkFactory, Shape, make_network
from pyrovae.networks.mlp import MLP

__all__ = ["WithLinear"]


class WithLinear(nn.Module):
    r"""A network plus a linear map of its input: :math:`f(x) + W x + b`.

    With it as the decoder of a Gaussian likelihood, a VAE contains probabilistic PCA and factor analysis (f = 0), which
    suit few data, such as the rows of a small table.

    Args:
        in_shape: number of features or shape of the input.
        out_shape: number of features or shape of the output.
        network: makes the network f, for the same shapes.

    Example:
        >>> WithLinear(3, (2, 2))(torch.zeros(5, 3)).shape
        torch.Size([5, 2, 2])
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, network: NetworkFactory = MLP) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_shape", in_shape)
        self.out_shape = checks.shape("out_shape", out_shape)
        self.network = make_network(network, in_shape, out_shape)
        self.linear = nn.Linear(math.prod(self.in_shape), math.prod(self.out_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, *in_shape)`` to ``(*, *out_shape)``."""
        flat = x.flatten(-len(self.in_shape)) if len(self.in_shape) > 1 else x
        return self.network(x) + self.linear(flat).unflatten(-1, self.out_shape)
