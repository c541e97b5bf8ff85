"""A trained program and part of the data, in blocks that have seeds of their own and are sharded over processes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from pyrovae import checks, distributed, progress
from pyrovae.data import DataSet, Split, SplitName
from pyrovae.data.whole import WholeSplit
from pyrovae.execution.chunking import Chunks
from pyrovae.matmul import Precision
from pyrovae.programs import Batch, uses_labels
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.folder import Run
from pyrovae.runs.parts import BLOCKS, Parts
from pyrovae.runs.program import OtherData, labels_of, other_data

__all__ = ["BLOCK", "Blocks"]

BLOCK = 100
"""Number of data per block of an evaluation; each block has its own seed."""

_ROWS, _NUMBERS = 1000, 2**16  # largest numbers of data and of their cells in a block of a long table

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

    @property
    def size(self) -> int:
        """Number of data per block of a table that is written.

        It is ``BLOCK``, and more if many small data are written, so that what is done once a block costs little.
        """
        if self.count <= BLOCK * BLOCKS:
            return BLOCK
        return max(BLOCK, min(_ROWS, _NUMBERS // math.prod(self.dataset.data_shape)) // BLOCK * BLOCK)

    def suffix(self, precision: Precision) -> str:
        """Return a suffix of file names that distinguishes these results from others by the same estimator."""
        suffix = f"-{precision}" if precision != "float32" else ""
        suffix += f"-first{self.count}" if self.count < len(self.part) else ""
        suffix += "-last" if self.weights == "last" else ""
        return suffix + ("" if self.other is None else self.other.suffix)

    def parts(self, path: Path, **options: Any) -> Parts | None:
        """Return the parts of a long table that is written; None for a short one, and in processes but the first.

        Args:
            path: path of the table.
            options: what its rows depend on besides the program and the data.
        """
        if self.count <= BLOCK * BLOCKS or distributed.rank() > 0:
            return None
        weights = self.program.state_dict() if isinstance(self.program, torch.nn.Module) else {}
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in weights.items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        of_data = self.part.hash() if not isinstance(self.part, WholeSplit) else DataRecord.of(self.dataset).hashes
        key = {
            "weights": digest.hexdigest(),
            "data": of_data,
            "count": self.count,
            "seed": self.seed,
            "size": self.size,
        }
        return Parts(path, {**key, **options}, max(1, BLOCK * BLOCKS // self.size))

    def batch(self, index: torch.Tensor | slice) -> Batch:
        """Return data as the program takes them: x, or (x, y) if it always takes labels."""
        x = self.part[index]
        return (x, labels_of(self.part)[index]) if uses_labels(self.program.model) == "always" else x

    def map(
        self,
        what: str,
        work: Callable[[Batch, int], T],
        *,
        chunk_size: int | None = None,
        size: int = BLOCK,
        start: int = 0,
    ) -> Iterator[T]:
        """Work on each block; yield the results in order in the first process, and nothing in the others.

        All processes must iterate to the end. Each has one block at a time, so that memory does not grow.

        Args:
            what: description of the work, for the progress bar.
            work: function of the data of a block and the number of latents to run the model on at a time.
            chunk_size: that number; chosen by the program's size if not given.
            size: number of data per block.
            start: number of blocks to leave out, from the first.
        """
        chunks, blocks, processes = Chunks(chunk_size), torch.arange(self.count).split(size), distributed.count()
        seeds = distributed.derive_seeds(self.seed, len(blocks))
        total = sum(len(blocks[start + i]) for i in distributed.shard_indices(len(blocks) - start))
        with progress.bar(what, total, "datum", hidden=distributed.rank() > 0) as bar:
            for first in range(start, len(blocks), processes):
                i, results = first + distributed.rank(), list[T]()
                if i < len(blocks):
                    batch = self.batch(blocks[i])
                    chunks.choose(self.program.model, batch if isinstance(batch, tuple) else (batch,))
                    torch.manual_seed(seeds[i])
                    results.append(distributed.on_cpu(work(batch, chunks.size)))
                    bar.update(len(blocks[i]))
                yield from distributed.gather_shards(results, everywhere=False)
