"""Splits of a data set: stored data, and batches of observed data made from them."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.data.binarization import fixed_uniform, fresh_binary
from pyrovae.missing import is_missing
from pyrovae.reprs import short_repr

__all__ = ["Binarization", "Split", "SplitName"]

Binarization: TypeAlias = Literal["none", "static", "dynamic", "threshold"]

SplitName: TypeAlias = Literal["test", "validation", "train", "all"]
"""Part of a data set: one of its splits, or ``all`` of its data in the order in which they are stored."""

_CHUNK = 4096  # data binarised at a time
_PART, _PARTS = 2**20, 64  # bytes of a hashed part of a memory map, and largest number of hashed parts


class Split:
    """A part of a data set: stored data, and batches of them, binarised, dequantised or scaled.

    Args:
        source: the stored data, ``(M, *data_shape)``: a tensor, or a memory-mapped array that stays on disk.
        labels: class of each datum of the split, int64 of shape ``(N,)``, -1 if unknown; or None.
        index: positions in the source of the data of the split, int64 of shape ``(N,)``.
        binarization: see :class:`DataSet`; ``dynamic`` samples anew at every reading, ``static`` never.
        dequantize: see :class:`DataSet`.
        levels: number of grey levels of the stored data, or None if they are not quantised.
        seed: seed of fixed noise.
        fresh: True if noise is new at every reading (training), False if it is fixed (validation and test).
        has_missing: True if values of the source are missing: NaN, as they are in batches.
    """

    def __init__(
        self,
        source: Tensor | np.ndarray,
        labels: Tensor | None,
        index: Tensor,
        *,
        binarization: Binarization,
        dequantize: bool,
        levels: int | None,
        seed: int,
        fresh: bool,
        has_missing: bool = False,
    ) -> None:
        self._source = source[index] if isinstance(source, Tensor) else source
        self._index = index
        self._device = torch.device("cpu")
        self.labels = labels
        self.data_shape = tuple(source.shape[1:])
        self.binarization = binarization
        self.dequantize = dequantize
        self.levels = levels
        self.seed = seed
        self.fresh = fresh
        self.has_missing = has_missing
        self._dtype: torch.dtype | None = None
        self._fixed: Tensor | None = None
        self._cache_fixed_noise()

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return short_repr(self, num_data=len(self), data_shape=self.data_shape, labelled=self.labels is not None)

    @property
    def rows(self) -> Tensor:
        """Position of each datum in the array that it is stored in, int64 of shape ``(N,)``."""
        return self._index.cpu()

    @property
    def stored(self) -> Tensor:
        """The data as stored, ``(N, *data_shape)``; a memory map is read whole."""
        return self._stored(torch.arange(len(self)))

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self._device

    def to(self, device: torch.device | str) -> Split:
        """Move the data in memory, and all future batches, to ``device``; return self."""
        self._device = torch.device(device)
        if isinstance(self._source, Tensor):
            self._source = self._source.to(device)
            self._index = self._index.to(device)
        if self._fixed is not None:
            self._fixed = self._fixed.to(device)
        if self.labels is not None:
            self.labels = self.labels.to(device)
        return self

    def __getitem__(self, position: Tensor | slice) -> Tensor:
        """Return data by position, binarised, dequantised or scaled.

        Args:
            position: positions in the split, int64 of shape ``(B,)``, or a slice.

        Returns:
            floats of shape ``(B, *data_shape)``, on the split's device.
        """
        if isinstance(position, slice):
            position = torch.arange(len(self))[position]
        position = position.to(self._index.device)
        dtype = self._dtype or torch.get_default_dtype()
        if self._fixed is not None:
            return self._fixed.index_select(0, position).to(dtype)
        v = self._stored(position)  # (B, *data_shape)
        x = self._observe(v, position, dtype)
        return torch.where(is_missing(v), torch.nan, x) if self.has_missing else x

    def _observe(self, v: Tensor, position: Tensor, dtype: torch.dtype) -> Tensor:
        """Return stored data, ``(B, *data_shape)``, binarised, dequantised or scaled."""
        if self.binarization == "threshold":
            return (v >= self._maximum / 2).to(dtype)
        if self._noise == "none":
            return v.to(dtype) if self.levels is None else v.to(dtype) / self._maximum
        if self._noise == "fresh" and self.binarization != "none":
            return fresh_binary(v, self.levels, dtype)
        u = (
            torch.rand(v.shape, device=v.device)
            if self._noise == "fresh"
            else fixed_uniform(self.seed, self._index[position].to(v.device), self.data_shape)
        )
        if self.binarization != "none":
            return (u * self._maximum < v).to(dtype)
        assert self.levels is not None
        x = v + u if v.is_floating_point() else u.add_(v)
        return x.div_(self.levels).clamp_(max=1 - 2**-24).to(dtype)  # 255 + u may round to 256

    def take(self, position: Tensor) -> Split:
        """Return some of the data as a new split; each keeps its label and its fixed noise.

        Args:
            position: positions in the split, int64 of shape ``(B,)``.
        """
        part = copy.copy(self)
        position = position.to(self._index.device)
        part._index = self._index[position]
        if isinstance(self._source, Tensor):
            part._source = self._source[position]
        if self._fixed is not None:
            part._fixed = self._fixed[position]
        if self.labels is not None:
            part.labels = self.labels[position]
        return part

    def astype(self, dtype: torch.dtype) -> Split:
        """Return the same data with batches of a given type, instead of torch's default.

        Args:
            dtype: floating-point type.
        """
        part = copy.copy(self)
        part._dtype = dtype
        return part

    def observed(self, binarization: Binarization, dequantize: bool) -> Split:
        """Return the same data with another binarisation or dequantisation.

        Args:
            binarization: see :class:`DataSet`.
            dequantize: see :class:`DataSet`.
        """
        part = copy.copy(self)
        part.binarization, part.dequantize = binarization, dequantize
        part._cache_fixed_noise()
        return part

    def with_fixed_noise(self) -> Split:
        """Return the same data with fixed noise, as test data have.

        For evaluation of training data, which must not depend on the state of torch's generator.
        """
        part = copy.copy(self)
        part.fresh = False
        part._cache_fixed_noise()
        return part

    def hash(self) -> str:
        """Return a hash of the data, their labels, and their binarisation and dequantisation.

        Images in memory are hashed completely; of a memory map, at most 64 evenly spaced parts of 1 MiB.
        """
        about = self.data_shape, self.binarization, self.dequantize, self.levels, self.seed
        digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
        for tensor in (self._index, self.labels):
            digest.update(b"none" if tensor is None else tensor.cpu().numpy().tobytes())
        each = self._stored(self._index[:0]).element_size() * math.prod(self.data_shape)
        parts = torch.arange(len(self)).split(max(1, _PART // each))
        if not self._in_memory and len(parts) > _PARTS:
            parts = tuple(parts[i * (len(parts) - 1) // (_PARTS - 1)] for i in range(_PARTS))
        for part in parts:
            images = self._stored(part.to(self._index.device)).cpu().contiguous()
            digest.update(str(images.dtype).encode())
            digest.update(images.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def batches(self, batch_size: int, *, shuffle: bool = False) -> Iterator[Tensor]:
        """Yield all data once, in batches; the last batch may be smaller.

        Args:
            batch_size: number of data per batch.
            shuffle: True if the order is random, from torch's generator.
        """
        for position in self.positions(batch_size, shuffle=shuffle):
            yield self[position]

    def positions(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        by_label: bool = False,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return the positions of each batch, int64 of shape ``(B,)``, without reading data.

        Args:
            batch_size: number of data per batch.
            shuffle: True if the order is random.
            by_label: True if labelled and unlabelled data are in separate batches, evenly mixed.
            generator: generator of the order; torch's default generator if not given.
        """
        checks.integer("batch_size", batch_size)
        order = torch.randperm(len(self), generator=generator) if shuffle else torch.arange(len(self))
        order = order.to(self._index.device)
        if not by_label or self.labels is None:
            return list(order.split(batch_size))
        known = self.labels[order] >= 0
        parts = [
            ((i + 0.5) / len(part), position)
            for part in (order[known].split(batch_size), order[~known].split(batch_size))
            for i, position in enumerate(part)
            if len(position) > 0
        ]
        return [position for _, position in sorted(parts, key=lambda part: part[0])]

    def labelled(self, position: Tensor) -> tuple[Tensor, ...]:
        """Return data by position as (x, y), or as (x,) if the label of the first is unknown."""
        if self.labels is None or not bool((self.labels[position[:1]] >= 0).all()):
            return (self[position],)
        return self[position], self.labels[position]

    def _cache_fixed_noise(self) -> None:
        """Cache binarised images with fixed noise, so that the noise is not hashed at every reading."""
        self._fixed = None
        binary = self.binarization != "none" and not self.has_missing  # bytes have no NaN
        if self._noise == "fixed" and binary and isinstance(self._source, Tensor):
            parts = [self[part].to(torch.uint8) for part in torch.arange(len(self)).split(_CHUNK)]
            self._fixed = torch.cat(parts)

    @property
    def _in_memory(self) -> bool:
        return isinstance(self._source, Tensor)

    @property
    def _maximum(self) -> int:
        return 1 if self.levels is None else self.levels - 1

    @property
    def _noise(self) -> Literal["none", "fixed", "fresh"]:
        if self.binarization == "none" and not self.dequantize:
            return "none"
        if self.binarization == "threshold":
            return "fixed"
        return "fresh" if self.fresh and self.binarization != "static" else "fixed"

    def _stored(self, position: Tensor) -> Tensor:
        if isinstance(self._source, Tensor):
            return self._source.index_select(0, position)  # several times as fast as indexing
        rows = self._index[position].numpy()
        order = np.argsort(rows, kind="stable")  # so that the disk is read sequentially
        gathered = np.empty((len(rows), *self.data_shape), self._source.dtype.newbyteorder("="))
        gathered[order] = self._source[rows[order]]
        return torch.from_numpy(gathered).to(self._device)
