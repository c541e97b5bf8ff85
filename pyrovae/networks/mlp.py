"""Fully connected networks."""

from __future__ import annotations

from math import prod
from typing import Literal, TypeAlias

from torch import Tensor, nn

from pyrovae import checks
from pyrovae.networks.base import Shape
from pyrovae.networks.layers import NormalizationFactory, map_leading, post_layers

__all__ = ["MLP", "GatedMLP"]

Initialization: TypeAlias = Literal["torch", "glorot", "he"]
"""Initial distribution of the weights of linear maps."""

_INITIALIZERS = {"torch": None, "glorot": nn.init.xavier_uniform_, "he": nn.init.kaiming_normal_}


class MLP(nn.Module):
    r"""A fully connected network: :math:`h_{i+1} = \phi(W_i h_i + b_i)`, the last layer linear.

    A hidden layer consists of, in this order: the linear map, normalization, :math:`\phi`, dropout.

    Args:
        in_features: number of features or shape of the input; a shape is flattened.
        out_features: number of features or shape of the output.
        hidden_features: width of each hidden layer; empty for a linear map.
        activation: class of the nonlinearity :math:`\phi`.
        normalization: makes the normalization of each hidden layer from its width, such as ``torch.nn.LayerNorm`` or
            ``torch.nn.BatchNorm1d``.
        dropout: probability that a hidden feature is set to zero in training.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.
        initialization: initial distribution of the weights of a map from n to m features: ``torch``, the default of
            torch with variance 1/(3n); ``glorot``, uniform with variance 2/(n + m) (Glorot & Bengio, 2010), for tanh;
            ``he``, normal with variance 2/n (He et al., 2015, arXiv:1502.01852), for rectifiers and gates.

    Raises:
        ValueError: if an option is out of range, or a normalization or activation does not fit.

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
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        initialization: Initialization = "torch",
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features", in_features)
        self.out_shape = checks.shape("out_features", out_features)
        self.weight_decay = checks.number("weight_decay", weight_decay)
        self.layers = _layers(self.in_shape, self.out_shape, hidden_features, activation, normalization, dropout)
        _initialize(self.layers, initialization)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, *in_shape)`` to ``(*, *out_shape)``."""
        return map_leading(self.layers, x, self.in_shape, self.out_shape, (prod(self.in_shape),))

    def until_last(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Return the input of the last layer for ``x``, ``(*, H)``, and that layer."""
        return _until_last(self.layers, x, self.in_shape)


class GatedMLP(nn.Module):
    r"""A gated network: :math:`h_{i+1} = (W_i h_i + b_i) \odot \sigma(V_i h_i + c_i)`, the last layer linear.

    (Dauphin et al., 2017, arXiv:1612.08083; in a VAE: Tomczak & Welling, 2018, arXiv:1705.07120.) W and V are
    one linear map to twice the width, whose second half is the gate. A hidden layer consists of, in this order: that
    map, normalization of both halves together, the gate, dropout.

    Args:
        in_features: number of features or shape of the input; a shape is flattened.
        out_features: number of features or shape of the output.
        hidden_features: width of each hidden layer; empty for a linear map.
        normalization: makes the normalization of each hidden layer from twice its width, such as ``torch.nn.LayerNorm``
            or ``torch.nn.BatchNorm1d``.
        dropout: probability that a hidden feature is set to zero in training.
        weight_decay: L2 penalty: ``weight_decay / 2`` times the squared norm of the weights is added to the
            loss of each datum, in nats.
        initialization: initial distribution of the weights of a map from n to m features: ``torch``, the default of
            torch with variance 1/(3n); ``glorot``, uniform with variance 2/(n + m) (Glorot & Bengio, 2010), for tanh;
            ``he``, normal with variance 2/n (He et al., 2015, arXiv:1502.01852), for rectifiers and gates.

    Raises:
        ValueError: if an option is out of range, or a normalization does not fit.

    Example:
        >>> GatedMLP((1, 28, 28), 80)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 80])
    """

    def __init__(
        self,
        in_features: Shape,
        out_features: Shape,
        hidden_features: tuple[int, ...] = (300, 300),
        normalization: NormalizationFactory | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        initialization: Initialization = "torch",
    ) -> None:
        super().__init__()
        self.in_shape = checks.shape("in_features", in_features)
        self.out_shape = checks.shape("out_features", out_features)
        self.weight_decay = checks.number("weight_decay", weight_decay)
        self.layers = _layers(self.in_shape, self.out_shape, hidden_features, nn.GLU, normalization, dropout, 2)
        _initialize(self.layers, initialization)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(*, *in_shape)`` to ``(*, *out_shape)``."""
        return map_leading(self.layers, x, self.in_shape, self.out_shape, (prod(self.in_shape),))

    def until_last(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Return the input of the last layer for ``x``, ``(*, H)``, and that layer."""
        return _until_last(self.layers, x, self.in_shape)


def _layers(
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    hidden_features: tuple[int, ...],
    activation: type[nn.Module],
    normalization: NormalizationFactory | None,
    dropout: float,
    rows: int = 1,
) -> nn.Sequential:
    """Make the layers; each hidden linear map has ``rows`` times as many outputs as its activation."""
    layers: list[nn.Module] = []
    features = prod(in_shape)
    for width in checks.integers("hidden_features", hidden_features):
        layers.append(nn.Linear(features, rows * width))
        layers += post_layers(rows * width, activation, normalization, dropout, out_width=width)
        features = width
    return nn.Sequential(*layers, nn.Linear(features, prod(out_shape)))


def _initialize(layers: nn.Sequential, initialization: Initialization) -> None:
    draw = _INITIALIZERS[checks.choice("initialization", initialization, _INITIALIZERS)]
    for layer in layers:
        if isinstance(layer, nn.Linear) and draw is not None:
            draw(layer.weight)


def _until_last(layers: nn.Sequential, x: Tensor, in_shape: tuple[int, ...]) -> tuple[Tensor, nn.Module]:
    h = layers[:-1](x.reshape(-1, prod(in_shape)))  # (N, H)
    return h.reshape(*x.shape[: -len(in_shape)], -1), layers[-1]
