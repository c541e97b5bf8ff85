"""Weights of a program as safetensors, which contain no code."""

from __future__ import annotations

from pathlib import Path

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pyrovae.files import atomic_write

__all__ = ["load_weights", "save_weights"]


def save_weights(weights: dict[str, Tensor], path: Path, version: int) -> None:
    """Write a program's weights, as its ``state_dict`` has them."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    with atomic_write(path) as file:
        file.write(save(contiguous, metadata={"format": f"pyrovae {version}"}))


def load_weights(program: nn.Module, path: Path, expected: int) -> None:
    """Load weights into a program.

    Args:
        program: the program.
        path: path of the file.
        expected: expected version of the format.

    Raises:
        ValueError: if the weights have another version, are not finite, or do not fit the program.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        version = (file.metadata() or {}).get("format")
    if version != f"pyrovae {expected}":
        raise ValueError(f"it has format {version!r}, and this pyrovae reads 'pyrovae {expected}'")
    tensors: dict[str, Tensor] = load_file(path)
    learned = {name for name, _ in program.named_parameters()}  # buffers can be infinite, as a missing bound
    if any(name in learned and not bool(tensor.isfinite().all()) for name, tensor in tensors.items()):
        raise ValueError("it holds weights that are not finite")
    _compare(tensors, program.state_dict())
    program.load_state_dict(tensors)


def _compare(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors or name not in expected:
            verb = "lacks" if name in expected else "holds"
            raise ValueError(f"it {verb} {name}, unlike the program that config.yaml describes")
        stored, target = tensors[name], expected[name]
        if stored.shape != target.shape or stored.is_floating_point() != target.is_floating_point():
            raise ValueError(
                f"{name} must have shape {tuple(target.shape)} and type {target.dtype}, by config.yaml, "
                f"but has {tuple(stored.shape)} and {stored.dtype}"
            )
