"""A network that pyrovae does not have."""

from math import prod

from torch import nn

from pyrovae.networks import Shape


class Skip(nn.Module):
    """Add a hidden layer's output to a linear map.

    Args:
        in_shape: shape of the input.
        out_shape: shape of the output.
        width: features of the hidden layer.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, width: int = 32):
        super().__init__()
        self.in_shape = (in_shape,) if isinstance(in_shape, int) else tuple(in_shape)
        self.out_shape = (out_shape,) if isinstance(out_shape, int) else tuple(out_shape)
        self.linear = nn.Linear(prod(self.in_shape), prod(self.out_shape))
        self.hidden = nn.Sequential(
            nn.Linear(prod(self.in_shape), width), nn.Tanh(), nn.Linear(width, prod(self.out_shape))
        )

    def forward(self, x):
        x = x.flatten(-len(self.in_shape))
        return (self.linear(x) + self.hidden(x)).unflatten(-1, self.out_shape)
