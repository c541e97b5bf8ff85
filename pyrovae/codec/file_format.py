"""Format of a compressed file: its header, and the words of each chunk."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from pyrovae import checks
from pyrovae.codec.stack import GRID

__all__ = ["Chunk", "Header", "dtype_code", "stages"]

_MAGIC = b"pVAE"
_FORMAT = 1
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "uint16", "uint32")
_MOST_DIMENSIONS, _LARGEST = 16, 2**48
_BATCH, _PARTICLES = 64, 256  # largest number of data, and of particles of all of them, that are coded at a time


def stages(num_particles: int) -> list[tuple[int, int]]:
    """Return the numbers of particles and of data that are coded at a time, from the first on.

    The first datum is coded by one particle, because each particle needs bits to be popped; then the numbers grow.

    Example:
        >>> stages(50), stages(1)
        ([(1, 1), (50, 1), (50, 2), (50, 4)], [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 32), (1, 64)])
    """
    most = min(_BATCH, max(1, _PARTICLES // num_particles))
    sizes = [2**i for i in range(most.bit_length())]
    return [(1, 1), *((num_particles, size) for size in sizes[int(num_particles == 1) :])]


@dataclass(frozen=True)
class Chunk:
    """Data that are coded on one stack.

    Attributes:
        num_data: number of data.
        counts: number of batches of each of the :func:`stages`.
        words: the bits, uint32.
    """

    num_data: int
    counts: tuple[int, ...]
    words: np.ndarray

    def batches(self, num_particles: int) -> list[tuple[int, int, int]]:
        """Return stage, number of data and number of such batches, in the order in which they are decoded.

        Raises:
            ValueError: if they are not those of ``num_data`` data.
        """
        sizes = [size for _, size in stages(num_particles)]
        missing = sum(size * count for size, count in zip(sizes, self.counts, strict=True)) - self.num_data
        used = [stage for stage, count in enumerate(self.counts) if count]
        if not 0 <= missing < (sizes[used[-1]] if used else 1):
            raise checks.InputError("the compressed data are damaged: their batches do not add up")
        found = []
        for stage in reversed(used):
            count = self.counts[stage]
            if missing:  # the batch that was coded last may be smaller
                found.append((stage, sizes[stage] - missing, 1))
                count, missing = count - 1, 0
            if count:
                found.append((stage, sizes[stage], count))
        return found


@dataclass(frozen=True)
class Header:
    """The content of a compressed file: what its program was, and the coded data.

    Attributes:
        program_digest: tells the parameters of the program, see :meth:`ExactPrograms.digest`.
        output_digest: tells its distributions on the machine that made the file, see :meth:`Codec.digest`.
        dtype: NumPy's name of the type of the data.
        data_shape: shape of one datum.
        latent_bits: see :class:`Codec`.
        count_bits: see :class:`Codec`.
        num_particles: number K of particles.
        versions: version of torch that the program was run by.
        chunks: the data.
    """

    program_digest: bytes
    output_digest: bytes
    dtype: str
    data_shape: tuple[int, ...]
    latent_bits: int
    count_bits: int
    num_particles: int
    versions: str
    chunks: tuple[Chunk, ...]

    @property
    def num_data(self) -> int:
        """Number of data."""
        return sum(chunk.num_data for chunk in self.chunks)

    def to_bytes(self) -> bytes:
        """Return the file."""
        versions = self.versions.encode()[:100]
        numbers = [_DTYPES.index(self.dtype), len(self.data_shape), *self.data_shape]
        numbers += [self.latent_bits, self.count_bits, self.num_particles, len(self.chunks)]
        for chunk in self.chunks:
            used = max((i + 1 for i, count in enumerate(chunk.counts) if count), default=0)
            numbers += [chunk.num_data, len(chunk.words), used, *chunk.counts[:used]]
        body = self.program_digest + self.output_digest + b"".join(map(_varint, [*numbers, len(versions)])) + versions
        body += b"".join(chunk.words.astype("<u4").tobytes() for chunk in self.chunks)
        return _MAGIC + bytes([_FORMAT]) + _checksum(body) + body

    @classmethod
    def from_bytes(cls, file: bytes) -> Header:
        """Read a file; its sizes are compared with its length before anything is allocated.

        Raises:
            ValueError: if it is no compressed file, is of another version, cut short or changed.
        """
        if not file:
            raise checks.InputError("the compressed data must be those of pyrovae compress, but they are empty")
        if file[: len(_MAGIC)] != _MAGIC:
            raise checks.InputError("the compressed data must be those of pyrovae compress, but are something else")
        start = len(_MAGIC) + 1
        version = file[start - 1] if len(file) >= start else None
        if version is not None and version != _FORMAT:
            raise checks.InputError(
                f"the compressed data must be of format {_FORMAT}, which this pyrovae reads, but are of {version}"
            )
        if _checksum(file[start + 8 :]) != file[start : start + 8]:
            raise checks.InputError("the compressed data are damaged: their checksum is wrong, or they are cut short")
        return _Reader(file, start + 8).header()


class _Reader:
    """Reads numbers and bytes one after the other, and refuses to read beyond the end."""

    def __init__(self, file: bytes, start: int) -> None:
        self._file, self._at = file, start

    def header(self) -> Header:
        program_digest, output_digest = self.bytes(8), self.bytes(8)
        code, dims = self.number(len(_DTYPES) - 1), self.number(_MOST_DIMENSIONS)
        data_shape = tuple(self.number(_LARGEST, 1) for _ in range(dims))
        latent_bits, count_bits = self.number(24, 1), self.number(31, 1)
        num_particles = self.number(_LARGEST, 1)
        described = [self._chunk(num_particles) for _ in range(self.number(len(self._file)))]
        versions = self.bytes(self.number(100)).decode(errors="replace")
        chunks = []
        for num_data, num_words, counts in described:
            words = np.frombuffer(self.bytes(4 * num_words), "<u4").astype(np.uint32)
            if len(words) == 0 or words[-1] == 0 or num_data == 0:
                self.refuse("a chunk has no end, or no data")
            # Each binary decision takes this many bits at least, but for what the latents give back.
            if num_data * math.prod(data_shape) > 4 * 32 * (num_words + 2) * GRID:
                self.refuse("they are too short for the number of data that they announce")
            chunks.append(Chunk(num_data, counts, words))
        if self._at != len(self._file):
            self.refuse("there is more after their end")
        dtype = _DTYPES[code]
        return Header(
            program_digest,
            output_digest,
            dtype,
            data_shape,
            latent_bits,
            count_bits,
            num_particles,
            versions,
            tuple(chunks),
        )

    def _chunk(self, num_particles: int) -> tuple[int, int, tuple[int, ...]]:
        num_data, num_words = self.number(_LARGEST), self.number(len(self._file))
        most = len(stages(num_particles))
        counts = [self.number(_LARGEST) for _ in range(self.number(most))]
        return num_data, num_words, (*counts, *[0] * (most - len(counts)))

    def bytes(self, count: int) -> bytes:
        if self._at + count > len(self._file):
            self.refuse("they are cut short")
        self._at += count
        return self._file[self._at - count : self._at]

    def number(self, most: int, least: int = 0) -> int:
        """Read a number of seven bits per byte, the lowest first."""
        found = shift = 0
        while True:
            (byte,) = self.bytes(1)
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                self.refuse("a number is too large")
        if not least <= found <= most:
            self.refuse(f"a number is {found}, and can be {least} to {most}")
        return found

    @staticmethod
    def refuse(why: str) -> None:
        raise checks.InputError(f"the compressed data are damaged: {why}")


def dtype_code(dtype: np.dtype[np.generic]) -> str:
    """Return the name of a type of data that can be compressed.

    Raises:
        ValueError: if it cannot.
    """
    if dtype.name not in _DTYPES:
        raise checks.InputError(f"x must have one of the types {', '.join(_DTYPES)}, but has {dtype.name}")
    return dtype.name


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).digest()
