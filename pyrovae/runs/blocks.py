"""A trained program and part of the data, in blocks that have seeds of their own and are sharded over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from pyrovae import checks, distributed, progress
from pyrovae.data import DataSet, Split, SplitName
from pyrovae.execution.chunking import Chunks
from pyrovae.matmul import Precision
from pyrovae.programs import Batch, uses_labels
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import OtherData, labels_of, other_data

__all__ = ["BLOCK", "Blocks"]

BLOCK = 100
"""Number of data per block; each block has its own seed."""

T = TypeVar("T")


@dataclass(frozen=True)
class Blocks:
    """A trained program, and the part of the data that something is computed of, block by block.

    Attributes:
        program: the trained program.
        dataset: the data set.
        part: the split.
        count: number of data, from the first of the split.
        other: what tells the data from the run's own; None if they are its own.
        weights: which weights are loaded.
        device: device of the program.
        seed: seed that those of the blocks are derived from.
    """

    program: Any
    dataset: DataSet
    part: Split
    count: int
    other: OtherData | None
    weights: str
    device: torch.device
    seed: int

    @classmethod
    def load(
        cls,
        run: Run,
        *,
        data: DataFactory | None,
        split: SplitName,
        num_data: int | None,
        weights: Literal["best", "last"],
        device: torch.device | str,
        seed: int,
    ) -> Blocks:
        """Load the program and the data of a run; the arguments are those of :func:`pyrovae.runs.evaluate_run`."""
        checks.seed(seed)
        dataset, program = run.load(weights, data)
        other = None if data is None else other_data(run, dataset, split)
        part: Split = getattr(dataset.to(device), split).with_fixed_noise()
        program.to(device)
        count = len(part) if num_data is None else min(checks.integer("num_data", num_data), len(part))
        return cls(program, dataset, part, count, other, weights, torch.device(device), seed)

    def suffix(self, precision: Precision) -> str:
        """Return a suffix of file names that distinguishes these results from others by the same estimator."""
        suffix = f"-{precision}" if precision != "float32" else ""
        suffix += f"-first{self.count}" if self.count < len(self.part) else ""
        suffix += "-last" if self.weights == "last" else ""
        return suffix + ("" if self.other is None else self.other.suffix)

    def batch(self, index: torch.Tensor | slice) -> Batch:
        """Return data as the program takes them: x, or (x, y) if it always takes labels."""
        x = self.part[index]
        return (x, labels_of(self.part)[index]) if uses_labels(self.program.model) == "always" else x

    def map(
        self, what: str, work: Callable[[Batch, int], T], *, chunk_size: int | None = None, size: int = BLOCK
    ) -> Iterator[T]:
        """Work on each block; yield the results in order in the first process, and nothing in the others.

        All processes must iterate to the end. Each has one block at a time, so that memory does not grow.

        Args:
            what: description of the work, for the progress bar.
            work: function of the data of a block and the number of latents to run the model on at a time.
            chunk_size: that number; chosen by the program's size if not given.
            size: number of data per block.
        """
        chunks, blocks, processes = Chunks(chunk_size), torch.arange(self.count).split(size), distributed.count()
        seeds = distributed.derive_seeds(self.seed, len(blocks))
        total = sum(len(blocks[i]) for i in distributed.shard_indices(len(blocks)))
        with progress.bar(what, total, "datum", hidden=distributed.rank() > 0) as bar:
            for first in range(0, len(blocks), processes):
                i, results = first + distributed.rank(), list[T]()
                if i < len(blocks):
                    batch = self.batch(blocks[i])
                    chunks.choose(self.program.model, batch if isinstance(batch, tuple) else (batch,))
                    torch.manual_seed(seeds[i])
                    results.append(distributed.on_cpu(work(batch, chunks.size)))
                    bar.update(len(blocks[i]))
                yield from distributed.gather_shards(results, everywhere=False)
