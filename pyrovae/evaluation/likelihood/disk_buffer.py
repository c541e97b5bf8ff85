"""Buffer of results on disk, so that memory does not grow with the number of data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import reduce
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.files import temporary_mmap

__all__ = ["DiskBuffer"]

_RESULTS_IN_MEMORY = 16  # largest number of results in memory


class DiskBuffer:
    """A buffer of the results of several batches of data, in order, as tensors mapped from files in a folder.

    Args:
        folder: an existing folder; the files in it are temporary and have no names.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> buffer = DiskBuffer(".")
        >>> for _ in range(3):
        ...     buffer.add(log_marginal(vae.model, vae.guide, torch.ones(5, 4), num_samples=10))
        >>> len(buffer.concatenated().log_prob)
        15
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._in_files: list[LogMarginal] = []
        self._in_memory: list[LogMarginal] = []

    def add(self, result: LogMarginal) -> None:
        """Add a result; data of zeros and ones are stored as bytes."""
        self._in_memory.append(result.compact())
        if len(self._in_memory) == _RESULTS_IN_MEMORY:
            self._in_files.append(concatenate(self._in_memory, self._cat))
            self._in_memory = []

    def concatenated(self) -> LogMarginal:
        """Return the results of all data as one."""
        return concatenate(self._in_files + self._in_memory, self._cat)

    def _cat(self, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        shape = list(tensors[0].shape)
        shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
        if prod(shape) == 0:
            return torch.cat(list(tensors), dim)
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        buffer = temporary_mmap(self.folder, prod(shape) * dtype.itemsize)
        whole = torch.frombuffer(buffer, dtype=dtype).view(shape)
        start = 0
        for tensor in tensors:
            whole.narrow(dim, start, tensor.shape[dim]).copy_(tensor)
            start += tensor.shape[dim]
        return whole
