"""The states of the generators of random numbers: torch's, NumPy's and Python's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["all_generators", "forked_rng", "generators", "seed_generators", "set_all_generators", "set_generators"]


def generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators, the CPU's and that of ``device``."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_generators(device: torch.device, states: list[Tensor]) -> None:
    """Restore the states that :func:`generators` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def seed_generators(seed: int) -> None:
    """Seed torch's generators of all devices as :func:`torch.manual_seed` does, in less time where there is only a CPU.

    Args:
        seed: seed.

    Example:
        >>> with forked_rng(torch.device("cpu")):
        ...     seed_generators(3)
        ...     found = torch.rand(4)
        ...     _ = torch.manual_seed(3)
        ...     bool((found == torch.rand(4)).all())
        True
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would note the seed for devices that may be found later, with a trace of its caller
        torch.default_generator.manual_seed(seed)


def all_generators() -> dict[str, Any]:
    """Return the states of the global generators of torch (CPU and all GPUs), NumPy and Python."""
    kind, keys, *position = np.random.get_state(legacy=True)  # noqa: NPY002 - programs may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
        "python": random.getstate(),
    }


def set_all_generators(rng: dict[str, Any]) -> None:
    """Restore the states that :func:`all_generators` returned; those of GPUs that this machine lacks are left out."""
    torch.set_rng_state(rng["torch"].cpu())
    if torch.cuda.is_available():
        for i, tensor in enumerate(rng["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(tensor.cpu(), i)
    kind, keys, *position = rng["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002 - as above
    random.setstate(rng["python"])


@contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Restore the states of torch's generators afterwards, the CPU's and that of ``device``."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
