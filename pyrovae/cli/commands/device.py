"""Devices by name."""

from __future__ import annotations

import torch

from pyrovae import checks, distributed

__all__ = ["device_named"]


def device_named(name: str) -> torch.device:
    """Return a device by name; ``auto`` is the GPU if there is one, and each of several processes gets its own GPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:0`` and the like, or ``auto``.

    Raises:
        ValueError: if the machine has no such device, or fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    checks.choice("device", name.partition(":")[0], ("auto", "cpu", "cuda"))
    if distributed.count() > 1 and name != "cpu":
        if ":" in name:
            raise checks.InputError(
                f"device must be auto, cuda or cpu where there are several processes, but {name} was given"
            )
        if distributed.local_rank() >= torch.cuda.device_count():
            raise checks.InputError(
                "device must be cpu where a machine has more processes than GPUs, "
                f"but has {torch.cuda.device_count()} for process {distributed.local_rank()}, counted from 0"
            )
        name = f"cuda:{distributed.local_rank()}"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise checks.InputError(f"device must be one that this machine has, but {name} was given") from error
    return torch.device(name)
