"""The state of torch's generators of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["forked_rng", "generators", "set_generators"]


def generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators, the CPU's and that of ``device``."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_generators(device: torch.device, states: list[Tensor]) -> None:
    """Put back the states that :func:`generators` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


@contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Give torch's generators back as they were, the CPU's and that of ``device``."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
