"""Networks: maps from tensors ``(*, *in_shape)`` to tensors ``(*, *out_shape)``, over any leading dimensions.

To add one, write an ``nn.Module`` whose constructor takes the two shapes first, then its own options.
"""

from pyrovae.networks.base import NetworkFactory, Positive, Shape, init_output_bias, make_network, split_last_linear
from pyrovae.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from pyrovae.networks.layers import NormalizationFactory, map_leading, post_layers
from pyrovae.networks.mlp import MLP, GatedMLP
from pyrovae.networks.residual import ResidualBlock, ResNetDecoder, ResNetEncoder
from pyrovae.networks.table import TableEncoder
from pyrovae.networks.with_linear import WithLinear
from pyrovae.networks.with_mask import WithMask

__all__ = [
    "MLP",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "GatedMLP",
    "NetworkFactory",
    "NormalizationFactory",
    "Positive",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualBlock",
    "Shape",
    "TableEncoder",
    "WithLinear",
    "WithMask",
    "init_output_bias",
    "make_network",
    "map_leading",
    "post_layers",
    "split_last_linear",
]
