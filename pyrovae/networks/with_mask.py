"""Network that is told which of its inputs are missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.missing import fill_missing, is_missing
from pyrovae.networks.base import NetworkFactory, Shape, make_network
from pyrovae.networks.mlp import MLP

__all__ = ["WithMask"]


class WithMask(nn.Module):
    r"""A network of data with missing values (NaN) and of their mask, which is 1 where a value is observed and else 0.

    It sees missing values as zeros. The mask is appended to x as further rows of the first dimension (channels, for
    images), so that networks for vectors and for images both accept it. Without this network, an encoder sees the
    zeros alone.

    Args:
        in_shape: number of features or shape of the input.
        out_shape: number of features or shape of the output.
        network: makes the network, for inputs with twice as many rows.

    Example:
        >>> network = WithMask((3,), 4)
        >>> network(torch.tensor([[1.0, float("nan"), 2.0]])).isnan().any()
        tensor(False)
    """

    takes_missing = True
    """True: its input is not filled before."""

    def __init__(self, in_shape: Shape, out_shape: Shape, network: NetworkFactory = MLP) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_shape", in_shape)
        self.out_shape = checks.shape("out_shape", out_shape)
        first, *rest = self.in_shape
        self.network = make_network(network, (2 * first, *rest), self.out_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, *in_shape)``, with missing values or without, to ``(*, *out_shape)``."""
        observed = (~is_missing(x)).to(x.dtype)
        return self.network(torch.cat((fill_missing(x), observed), -len(self.in_shape)))
