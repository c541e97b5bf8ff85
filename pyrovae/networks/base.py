"""Tools for the networks of conditionals: making and checking one, its initial output, maps to positive numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrovae import checks

__all__ = ["NetworkFactory", "Positive", "Shape", "init_output_bias", "make_network", "split_last_linear"]

Shape: TypeAlias = int | tuple[int, ...]
"""A number of features, or a shape such as ``(1, 28, 28)``."""

NetworkFactory: TypeAlias = Callable[[Shape, Shape], nn.Module]
"""Makes a network: ``network(in_shape, out_shape)``; a network class itself is such a factory."""


class Positive(nn.Module):
    r"""A map to positive numbers: :math:`s = \epsilon + \mathrm{softplus}(r)` or :math:`s = \epsilon + e^r`.

    Args:
        link: ``softplus``, which grows linearly and so is safer, or ``exp``.
        minimum: the lower bound :math:`\epsilon`, which keeps densities bounded.

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
    """Make a conditional's network, and check on zeros that it maps one shape to the other.

    Raises:
        ValueError: if the constructor does not accept two shapes, or the network gives another output shape.
    """
    kind = checks.class_of(network)
    known = kind is not None and kind.__module__.startswith(("torch.nn.", "pyrovae."))  # its errors need no traceback
    refusal = (
        "network must be a class that takes the shapes of its input and output, such as MLP, "
        f"but {type(network).__name__ if kind is None else kind.__name__} was given"
    )
    shape, due = ((2, *checks.shape("network's shapes", part)) for part in (in_shape, out_shape))
    try:
        made = checks.make("network", network, nn.Module, in_shape, out_shape, like="MLP")
        found = _output_shape(made, shape)
    except checks.InputError:
        raise
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, TypeError) and not known:
            raise
        raise checks.InputError(f"{refusal} ({checks.reason(error)})") from error
    if found != due:
        raise checks.InputError(f"{refusal}, which maps {shape} to {found}")
    return made


def _output_shape(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | str:
    """Return the shape of the network's output for zeros of a given shape; a description if the output is no tensor."""
    modes = [(module, module.training) for module in network.modules()]
    like = next(network.parameters(), torch.empty(0))
    network.eval()  # so that batch statistics do not change
    with torch.no_grad():
        y = network(torch.zeros(shape, dtype=like.dtype, device=like.device))
    for module, training in modes:
        module.training = training
    return tuple(y.shape) if isinstance(y, Tensor) else f"no tensor ({type(y).__name__})"


def init_output_bias(network: nn.Module, value: Tensor) -> None:
    """Set the bias of a network's last layer, so that its initial output is near a given value.

    Args:
        network: any network; one without a bias in its last linear or convolutional layer is not changed.
        value: desired output for a typical input, ``out_shape``.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    bias = layers[-1].bias if layers else None
    if bias is None:
        return
    with torch.no_grad():
        if bias.numel() == value.numel():
            bias.copy_(value.flatten())
        elif len(bias) == len(value):  # one bias per channel
            bias.copy_(value.flatten(1).mean(1))


def split_last_linear(network: nn.Module, x: Tensor) -> tuple[Tensor, nn.Linear] | None:
    """Split a network into everything before its last linear layer, applied to ``x``, and that layer.

    Args:
        network: any network; to be split, it must have a method ``until_last``, as :class:`MLP` does.
        x: input of the network, ``(*, *in_shape)``.

    Returns:
        input of the last layer, ``(*, H)``, and the layer. None if the network has no such method, or does more than
        apply its layers: by a ``forward`` of a subclass, or by hooks on it, on its ``layers`` or on the last of them.

    Example:
        >>> h, last = split_last_linear(MLP(3, (1, 2, 2), hidden_features=(8,)), torch.zeros(5, 3))
        >>> h.shape, last
        (torch.Size([5, 8]), Linear(in_features=8, out_features=4, bias=True))
    """
    layers = getattr(network, "layers", None)
    classes = type(network).__mro__
    has_until_last, has_forward = (
        next((i for i, cls in enumerate(classes) if name in vars(cls)), -1) for name in _PAIR
    )
    if has_until_last < 0 or has_forward < has_until_last:  # a subclass overrides forward, but not until_last
        return None
    if type(layers) is not nn.Sequential or not layers or type(layers[-1]) is not nn.Linear:
        return None
    if not all(map(_has_no_hooks, (network, layers, layers[-1]))):
        return None
    until_last: Callable[[Tensor], tuple[Tensor, nn.Linear]] = network.until_last  # type: ignore[assignment] # checked above
    return until_last(x)


_PAIR = ("until_last", "forward")


def _has_no_hooks(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    everywhere = (nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks)
    own = not {"forward", "until_last", "__call__"}.isdisjoint(vars(module))
    return type(module).__call__ is nn.Module.__call__ and not own and not any((*hooks, *everywhere))
