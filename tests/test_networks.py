import pytest
import torch
from torch import nn

from pyrovae import MLP, ConvolutionalDecoder, ConvolutionalEncoder


def layers(module, kind):
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def test_convolutional_pair_is_the_one_of_the_introduction():
    """Source C: 1 -> 16 -> 32 channels, 3x3, stride 2, padding 1, then 7x7 to 2x20, and the mirror image."""
    encoder, decoder = ConvolutionalEncoder((1, 28, 28), 40), ConvolutionalDecoder(20, (1, 28, 28))
    shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in layers(encoder, nn.Conv2d)]
    assert shapes == [
        (1, 16, (3, 3), (2, 2), (1, 1)),
        (16, 32, (3, 3), (2, 2), (1, 1)),
        (32, 40, (7, 7), (1, 1), (0, 0)),
    ]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in layers(decoder, nn.ConvTranspose2d)]
    assert shapes == [(20, 32, (7, 7), (1, 1)), (32, 16, (3, 3), (2, 2)), (16, 1, (3, 3), (2, 2))]
    assert len(layers(encoder, nn.ReLU)) == len(layers(decoder, nn.ReLU)) == 2


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 28, 20), (3, 7, 9), (1, 8, 8), (2, 5, 1)])
@pytest.mark.parametrize("channels", [(4,), (4, 8), (4, 8, 16)])
def test_convolutional_shapes(shape, channels):
    assert ConvolutionalEncoder(shape, 6, channels)(torch.zeros(2, 3, *shape)).shape == (2, 3, 6)
    assert ConvolutionalDecoder(6, shape, channels)(torch.zeros(2, 3, 6)).shape == (2, 3, *shape)


def test_mlp_takes_and_gives_shapes():
    assert MLP((2, 3), (4, 5))(torch.zeros(7, 2, 3)).shape == (7, 4, 5)
    assert MLP(6, 5, hidden_features=())(torch.zeros(7, 6)).shape == (7, 5)


def test_mlp_widths_and_activation():
    network = MLP(784, 50, hidden_features=(500, 500), activation=nn.ELU)
    assert [(c.in_features, c.out_features) for c in layers(network, nn.Linear)] == [(784, 500), (500, 500), (500, 50)]
    assert len(layers(network, nn.ELU)) == 2
