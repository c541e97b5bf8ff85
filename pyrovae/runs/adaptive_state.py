"""State of an adaptive evaluation on disk, from which a later call continues."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.files import atomic_write
from pyrovae.programs import Arguments

__all__ = ["AdaptiveStateFile"]

_FORMAT = "pyrovae adaptive 2"


class AdaptiveStateFile:
    """A file with the state of :class:`~pyrovae.Adaptive` for one run and one set of data.

    Args:
        path: path of the file.
        program: program with the evaluated weights.
        data: evaluated data, x or x and labels.
        seed: seed of the samples.
        num_draws: number of posterior draws of each datum.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> file = AdaptiveStateFile("runs/none-such/evaluation/test-adaptive.safetensors", vae, (torch.ones(3, 4),))
        >>> file.load() is None
        True
    """

    def __init__(
        self, path: str | Path, program: nn.Module, data: Arguments, seed: int = 0, num_draws: int = 10
    ) -> None:
        self.path = Path(path)
        self.metadata = {
            "weights": _digest(*program.state_dict().values()),
            "data": _digest(*data),
            "seed": str(seed),
            "num_draws": str(num_draws),
        }

    def load(self) -> dict[str, Tensor] | None:
        """Read the state, or return None if there is none.

        Raises:
            ValueError: if it cannot be read, or belongs to other weights, data, seed or number of draws.
        """
        if not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                stored = file.metadata() or {}
            tensors: dict[str, Tensor] = load_file(self.path)
        except Exception as error:
            raise checks.InputError(
                f"{self.path} cannot be read: {checks.reason(error)}; remove it to start again"
            ) from error
        if stored.get("format") != _FORMAT:
            raise checks.InputError(f"{self.path} must have format {_FORMAT!r}; remove it to start again")
        for name, expected in self.metadata.items():
            if stored.get(name) != expected:
                raise checks.InputError(f"{self.path} was written for other {name}; remove it to start again")
        return tensors

    def save(self, state: dict[str, Tensor]) -> None:
        """Write the state, replacing an earlier one."""
        whole = {name: tensor.contiguous() for name, tensor in state.items()}
        with atomic_write(self.path) as file:
            file.write(save(whole, metadata={"format": _FORMAT, **self.metadata}))


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous()
        digest.update(f"{flat.dtype} {tuple(flat.shape)}".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
