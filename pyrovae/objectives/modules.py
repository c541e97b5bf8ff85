"""What a step asks of the programs' modules: which weights decay, and what a recording would freeze."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["decays_of", "state_in_python"]


def decays_of(modules: Sequence[nn.Module]) -> list[tuple[Tensor, float]]:
    """Pair each weight (biases are none) with the ``weight_decay`` of its network, where that has any."""
    decays: dict[Tensor, float] = {}
    for owner in modules:
        for module in owner.modules():  # the outer ones come first, so that the innermost decides
            decay = getattr(module, "weight_decay", 0.0)
            if isinstance(decay, int | float) and decay > 0:
                decays |= {weight: decay for weight in module.parameters() if weight.dim() > 1}
    return list(decays.items())


def state_in_python(modules: Sequence[nn.Module]) -> list[Any]:
    """List numbers, words and tensors that are plain attributes of modules, which a recording would freeze.

    Example:
        >>> module = torch.nn.Dropout(0.5)
        >>> before = state_in_python([module])
        >>> module.p = 0.25
        >>> state_in_python([module]) == before
        False
    """
    values = (
        (id(module), name, value)
        for owner in modules
        for module in owner.modules()
        for name, value in vars(module).items()
    )
    return [
        (number, name, (id(value), value._version) if isinstance(value, Tensor) else value)
        for number, name, value in values
        if isinstance(value, int | float | str | Tensor)
    ]
