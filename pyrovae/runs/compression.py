"""Compression of the data of a run by its program, and decompression, without loss."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae import checks, distributed
from pyrovae.data import SplitName
from pyrovae.files import atomic_write, describe_path, path_of
from pyrovae.runs.blocks import Blocks
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.table_file import check_out, write_npy_header

if TYPE_CHECKING:
    from pyrovae.codec import Header

__all__ = ["Compressed", "compress_run", "compressed_size", "decompress_run"]


@dataclass(frozen=True)
class Compressed:
    """Length of data that are compressed by a program, of the whole file.

    Attributes:
        num_bytes: length in bytes.
        num_data: number of data.
        data_shape: shape of one datum.
        num_particles: number of particles by which they are coded.
        path: path of the file; None if it was not kept.
        sentences: what tells the data from the run's own.
    """

    num_bytes: int
    num_data: int
    data_shape: tuple[int, ...]
    num_particles: int
    path: Path | None = None
    sentences: tuple[str, ...] = ()

    @property
    def nats(self) -> float:
        """Length in nats per datum, to be compared with the NLL."""
        return 8 * math.log(2) * self.num_bytes / self.num_data

    @property
    def bits_per_dim(self) -> float:
        """Length in bits per dimension of the data."""
        return 8 * self.num_bytes / (self.num_data * math.prod(self.data_shape))

    @property
    def line(self) -> str:
        """The length in words.

        Example:
            >>> Compressed(1000, 50, (64,), 1).line
            'file 1,000 bytes, 110.90 nats per datum, 2.500 bits/dim, compressed by 1 particle'
        """
        particles = f"{self.num_particles} particle{'s' * (self.num_particles > 1)}"
        return (
            f"file {self.num_bytes:,} bytes, {self.nats:.2f} nats per datum, {self.bits_per_dim:.3f} bits/dim, "
            f"compressed by {particles}"
        )


def compress_run(
    run: Run,
    out: str | os.PathLike[str],
    *,
    data: DataFactory | None = None,
    split: SplitName = "all",
    num_data: int | None = None,
    num_particles: int = 1,
    latent_bits: int | None = None,
    num_chunks: int | None = None,
    verify: bool = True,
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
) -> Compressed | None:
    """Compress discrete data by a run's program, without loss: see :func:`pyrovae.codec.compress`.

    The data are those that the program is given: binarised or scaled, if the data set does so. Several processes share
    the chunks, and the first writes the file.

    Args:
        run: the run.
        out: path of the file.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data, from the first; all if not given.
        num_particles: number K of particles.
        latent_bits: binary logarithm of the number of bins of each latent coordinate; the codec's default if not given.
        num_chunks: number of parts that are coded apart; as many as there are processes if not given.
        verify: decode the result before it is written, and compare.
        overwrite: whether an existing file may be replaced.
        weights: weights of the best validation ELBO, or of the last epoch.

    Returns:
        what was written; None in all processes except the first.

    Raises:
        ValueError: if an option is invalid, the run and its data cannot be loaded, or the data cannot be compressed.
    """
    path = distributed.on_rank_zero(lambda: check_out(out, overwrite, None))
    blocks = Blocks.load(run, data=data, split=split, num_data=num_data, weights=weights, device="cpu", seed=0)
    given = {} if latent_bits is None else {"latent_bits": latent_bits}
    file = _compress(blocks, num_particles=num_particles, num_chunks=num_chunks, verify=verify, **given)
    if distributed.rank() > 0:
        return None
    with atomic_write(path) as opened:
        opened.write(file)
    sentences = () if blocks.other is None else (blocks.other.sentence,)
    return Compressed(len(file), blocks.count, blocks.dataset.data_shape, num_particles, path, sentences)


def compressed_size(blocks: Blocks) -> Compressed:
    """Return the length of a file of data that are compressed by one particle; the file is not kept.

    Args:
        blocks: program and data.

    Raises:
        ValueError: if the data cannot be compressed.
    """
    file = _compress(blocks, num_particles=1, num_chunks=1, verify=False)
    return Compressed(len(file), blocks.count, blocks.dataset.data_shape, 1)


def decompress_run(
    run: Run,
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
) -> Header | None:
    """Write the data that :func:`compress_run` compressed, bit for bit; the run's data are not needed.

    Args:
        run: the run by whose program they were compressed.
        file: path of the compressed file.
        out: path of the array, ``.npy``.
        overwrite: whether an existing file may be replaced.
        weights: weights of the best validation ELBO, or of the last epoch, as when they were compressed.

    Returns:
        what the file says of the data; None in all processes except the first.

    Raises:
        ValueError: if the file is damaged, or was made by another program, or where the program gives other numbers.
    """
    from pyrovae.codec import decompress_parts  # here, because SciPy takes long to import

    path = distributed.on_rank_zero(lambda: check_out(out, overwrite, (".npy",)))
    source = path_of("file", file)
    if not source.is_file():
        raise checks.InputError(
            f"file must be one that pyrovae compress made, but there is no file {describe_path(source)}"
        )
    compressed = source.read_bytes()
    header, parts = decompress_parts(run.load_program(weights), compressed)
    if distributed.rank() > 0:
        list(parts)
        return None
    with atomic_write(path) as opened:
        write_npy_header(opened, np.dtype(header.dtype), (header.num_data, *header.data_shape))
        for part in parts:
            opened.write(np.ascontiguousarray(part).tobytes())
    return header


def _compress(blocks: Blocks, **options: Any) -> bytes:
    from pyrovae.codec import compress_parts  # here, because SciPy takes long to import

    return compress_parts(blocks.program, lambda part: blocks.part[part].cpu().numpy(), blocks.count, **options)
