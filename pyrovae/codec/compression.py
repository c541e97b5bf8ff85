"""Compression of data to bytes by a program, and decompression, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae import checks, distributed, progress
from pyrovae.codec.codec import LATENT_BITS, Codec
from pyrovae.codec.file_format import Chunk, Header, dtype_code, stages
from pyrovae.codec.stack import Stack, require_constriction
from pyrovae.tensors import as_tensor

__all__ = ["compress", "compress_parts", "decoded", "decompress", "decompress_parts"]

_READ = 256  # data that are read and checked at a time
_SPARE_BITS = 64  # more first bits than a datum is expected to pop


def compress(
    program: Any,
    x: Any,
    *,
    num_particles: int = 1,
    latent_bits: int = LATENT_BITS,
    num_chunks: int | None = None,
    verify: bool = True,
) -> bytes:
    """Compress discrete data without loss by a trained program, in about as many bits as its ELBO promises.

    The code is bits-back coding, see :class:`Codec`. All that is needed to decode it, but for the program, is in the
    result and counts: 50 to 100 bytes of header and checksums, and first bits to be popped.

    Args:
        program: the program, with a ``model`` and a ``guide``.
        x: data, ``(N, *data_shape)``: an array, a tensor, a data frame or a list of numbers; levels from 0 to 1 as the
            likelihood takes them, or integers.
        num_particles: number K of particles; with more, the length goes from the ELBO to log p(x), and the work grows
            in proportion.
        latent_bits: binary logarithm of the number of bins of each latent coordinate.
        num_chunks: number of parts that are coded apart, each with first bits of its own, for several processes to
            share; as many as there are processes if not given.
        verify: decode the result, and compare, which takes as long again.

    Returns:
        the compressed data.

    Raises:
        ValueError: if the data are not discrete or not restored bit for bit, or the program cannot be coded with.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((64,), 2), DiagonalNormal((64,), 2))
        >>> x = (torch.rand(100, 64) < 0.5).float()
        >>> compressed = compress(vae, x)
        >>> torch.equal(decompress(vae, compressed), x), len(compressed) < x.numel() * x.element_size() / 20
        (True, True)
    """
    array = as_tensor("x", x).detach().cpu().numpy()
    return compress_parts(
        program,
        lambda part: array[part],
        len(array),
        num_particles=num_particles,
        latent_bits=latent_bits,
        num_chunks=num_chunks,
        verify=verify,
    )


def decompress(program: Any, compressed: bytes) -> Tensor:
    """Return the data that :func:`compress` was given, bit for bit.

    Args:
        program: the program that they were compressed by.
        compressed: the compressed data.

    Returns:
        the data, ``(N, *data_shape)``, of their own type.

    Raises:
        ValueError: if the compressed data are damaged, were made by another program, or by a machine or versions on
            which the program gives other numbers.
    """
    header, parts = decompress_parts(program, compressed)
    nothing = np.zeros((0, *header.data_shape), header.dtype)
    return torch.from_numpy(np.concatenate([nothing, *parts]))


def compress_parts(
    program: Any,
    read: Callable[[slice], np.ndarray],
    num_data: int,
    *,
    num_particles: int = 1,
    latent_bits: int = LATENT_BITS,
    num_chunks: int | None = None,
    verify: bool = True,
) -> bytes:
    """Compress data that are read part by part; several processes share the chunks, and all return the result.

    Args:
        program: the program.
        read: returns some of the data, the same at each call.
        num_data: number N of data.
        num_particles: see :func:`compress`.
        latent_bits: see :func:`compress`.
        num_chunks: see :func:`compress`.
        verify: see :func:`compress`.
    """
    require_constriction()
    checks.integer("num_particles", num_particles)
    if num_data == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    first = read(slice(0, 1))
    dtype, data_shape = np.dtype(dtype_code(first.dtype)), first.shape[1:]
    _check_program(program, first)
    count = min(num_data, distributed.count() if num_chunks is None else checks.integer("num_chunks", num_chunks))
    borders = [num_data * i // count for i in range(count + 1)]
    largest = max(float(read(slice(i, i + 1000)).max()) for i in range(0, num_data, 1000))
    count_bits = min(31, max(1, int(largest).bit_length())) if 0 <= largest < np.inf else 31
    codec = Codec(program.model, program.guide, data_shape, latent_bits=latent_bits, count_bits=count_bits)
    chunks, mine = _Coder(codec, dtype, num_particles), list[Chunk]()
    output_digest = codec.digest(num_particles)
    shown = distributed.rank() == 0
    passes = 2 if verify else 1
    with (
        distributed.failing_together(),
        progress.bar("compressing", passes * num_data, "datum", hidden=not shown) as bar,
    ):
        for i in distributed.shard_indices(count):
            part = _Part(read, borders[i], borders[i + 1])
            mine.append(chunks.encode(part, bar))
            if verify:
                for _ in chunks.decode(mine[-1], bar):
                    pass
    return Header(
        codec.programs.digest(),
        output_digest,
        dtype.name,
        data_shape,
        latent_bits,
        count_bits,
        num_particles,
        _versions(),
        tuple(distributed.gather_shards(mine)),
    ).to_bytes()


def decompress_parts(program: Any, compressed: bytes) -> tuple[Header, Iterator[np.ndarray]]:
    """Return the header of compressed data, and their data part by part.

    Several processes share the chunks, and must all iterate to the end; the first gets the data.

    Args:
        program: the program that they were compressed by.
        compressed: the compressed data.

    Returns:
        the header, and an iterator of arrays ``(n, *data_shape)``, in their order, which raises an error at its end if
        they are not those that were compressed.
    """
    require_constriction()
    header = Header.from_bytes(bytes(compressed))
    _check_program(program, np.zeros((1, *header.data_shape)))
    codec = Codec(
        program.model,
        program.guide,
        header.data_shape,
        latent_bits=header.latent_bits,
        count_bits=header.count_bits,
    )
    if codec.programs.digest() != header.program_digest:
        raise checks.InputError(
            "program must be the one that the data were compressed by, but its weights are not the same"
        )
    if codec.digest(header.num_particles) != header.output_digest:
        raise checks.InputError(
            "program must give the numbers that it gave when the data were compressed, to the last bit, but gives "
            f"others here: they were made by torch {header.versions}, and here it is {_versions()}, maybe on another "
            "kind of processor"
        )
    return header, decoded(codec, header)


def decoded(codec: Codec, header: Header) -> Iterator[np.ndarray]:
    """Yield the data of a file part by part, decoded by a codec that is known to be the one that made it.

    Args:
        codec: the codec.
        header: the file.

    Raises:
        ValueError: at the end, if they are not those that were compressed.
    """
    coder = _Coder(codec, np.dtype(header.dtype), header.num_particles)
    rank, processes, chunks = distributed.rank(), distributed.count(), header.chunks
    with progress.bar("decompressing", header.num_data, "datum", hidden=rank > 0) as bar:
        if processes == 1:
            for chunk in chunks:
                yield from coder.decode(chunk, bar)
            return
        for first in range(0, len(chunks), processes):
            with distributed.failing_together():
                mine = [
                    np.concatenate(list(coder.decode(chunk, bar))) for chunk in chunks[first + rank : first + rank + 1]
                ]
            yield from distributed.gather_shards(mine, everywhere=False)


@dataclass(frozen=True)
class _Part:
    """Some successive data."""

    read: Callable[[slice], np.ndarray]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def between(self, start: int, stop: int) -> np.ndarray:
        return self.read(slice(self.start + start, self.start + stop))


class _Coder:
    """Codes chunks: data on a stack of their own, the last data first, so that they are decoded in their order.

    The first bits are a hash of the data: at the end of decoding, it must be what is left on the stack.
    """

    def __init__(self, codec: Codec, dtype: np.dtype[Any], num_particles: int) -> None:
        self._codec, self._dtype, self._num_particles = codec, dtype, num_particles
        self._stages = stages(num_particles)

    def encode(self, part: _Part, bar: tqdm[Any]) -> Chunk:
        codec, digest = self._codec, hashlib.shake_128()
        for start in range(0, len(part), _READ):
            digest.update(self._checked(part.between(start, min(start + _READ, len(part)))))
        stack, stage, counts, stop = Stack(self._first_words(digest)), 0, [0] * len(self._stages), len(part)
        while stop > 0:
            while stage + 1 < len(self._stages) and stack.num_bits >= self._needed(stage + 1):
                stage += 1
            particles, size = self._stages[stage]
            start = max(0, stop - size)
            codec.push(stack, codec.integers(part.between(start, stop)), particles, batch_size=size)
            counts[stage] += 1
            bar.update(stop - start)
            stop = start
        return Chunk(len(part), tuple(counts), stack.words)

    def decode(self, chunk: Chunk, bar: tqdm[Any]) -> Iterator[np.ndarray]:
        codec, digest, stack = self._codec, hashlib.shake_128(), Stack(chunk.words)
        for stage, num_data, count in chunk.batches(self._num_particles):
            particles, size = self._stages[stage]
            for _ in range(count):
                if stack.is_empty:
                    raise checks.InputError("the compressed data are damaged: they end too early")
                x = codec.values(codec.pop(stack, num_data, particles, batch_size=size), self._dtype)
                digest.update(np.ascontiguousarray(x).tobytes())
                yield x
                bar.update(num_data)
        if not np.array_equal(stack.words, self._first_words(digest)):
            raise checks.InputError(
                "the compressed data are damaged, or the program gives other numbers here than where they were "
                "compressed: what is decoded has another checksum"
            )

    def _checked(self, x: np.ndarray) -> bytes:
        """Return the bytes of data, after a check that they are restored exactly."""
        codec = self._codec
        given = np.ascontiguousarray(x).tobytes()
        if codec.values(codec.integers(x), self._dtype).tobytes() != given:
            raise checks.InputError(
                f"x must hold levels as they are rounded by a division of {self._dtype.name}, k / (levels - 1), to be "
                "restored bit for bit, but some are rounded otherwise: give integers"
            )
        return given

    def _first_words(self, digest: Any) -> np.ndarray:
        count = -(-(self._codec.first_bits + _SPARE_BITS) // 32)
        words = np.frombuffer(digest.digest(4 * count), "<u4").astype(np.uint32)
        words[-1] |= 1  # a stack does not end with 0
        return words

    def _needed(self, stage: int) -> int:
        particles, size = self._stages[stage]
        each = self._codec.first_bits if particles == 1 else particles * self._codec.particle_bits
        return size * each + _SPARE_BITS


def _check_program(program: Any, x: np.ndarray) -> None:
    for name in ("model", "guide"):
        if not callable(getattr(program, name, None)):
            raise checks.InputError(f"program must have a model and a guide, but {program!r} has no {name}")
    likelihood = getattr(program, "likelihood", None)
    shape = getattr(likelihood, "data_shape", None)
    if isinstance(shape, tuple) and shape != x.shape[1:]:
        raise checks.InputError(f"x must hold data of shape {shape}, as the program does, but they are {x.shape[1:]}")


def _versions() -> str:
    return str(torch.__version__)
