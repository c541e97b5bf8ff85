"""Where a command runs."""

from __future__ import annotations

import torch

from pyrovae import checks

__all__ = ["device_named"]


def device_named(name: str) -> torch.device:
    """Return a device by name; ``auto`` is the first GPU where there is one.

    Raises:
        ValueError: if this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checks.choice("device", name.partition(":")[0], ("auto", "cpu", "cuda"))
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise checks.InputError(f"device must be one that this machine has, but {name} was given") from error
    return torch.device(name)
