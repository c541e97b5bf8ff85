"""All data of a data set in the order in which they are stored, put together from its splits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae.data.split import Binarization, Split

__all__ = ["WholeSplit"]


class WholeSplit(Split):
    """All data of a data set in stored order; each keeps the label and the fixed noise that it has in its split.

    Nothing is copied: data are read from the splits.

    Args:
        parts: the splits.
        offsets: number to add to the rows of each split, where it is stored in an array of its own.
    """

    def __init__(self, parts: Sequence[Split], offsets: Sequence[int]) -> None:
        self._parts = tuple(part.with_fixed_noise() for part in parts)
        rows = torch.cat([part.rows + offset for part, offset in zip(parts, offsets, strict=True)])
        order = rows.argsort()
        self._index = rows[order]
        self._number = torch.cat([torch.full((len(part),), i) for i, part in enumerate(parts)])[order]
        self._place = torch.cat([torch.arange(len(part)) for part in parts])[order]
        labels = [part.labels for part in parts if part.labels is not None]
        self.labels = torch.cat(labels)[order.to(labels[0].device)] if len(labels) == len(parts) else None
        first = parts[0]
        self.data_shape, self.levels, self.seed = first.data_shape, first.levels, first.seed
        self.binarization, self.dequantize, self.fresh = first.binarization, first.dequantize, False
        self.has_missing = any(part.has_missing for part in parts)
        self._device, self._dtype, self._fixed = first.device, None, None

    def __getitem__(self, position: Tensor | slice) -> Tensor:
        """Return data by position, as their splits return them; see :meth:`Split.__getitem__`."""
        return self._gather(position, Split.__getitem__)

    def to(self, device: torch.device | str) -> Split:
        """Move the data in memory, and all future batches, to ``device``; return self."""
        self._device = torch.device(device)
        for part in self._parts:
            part.to(device)
        if self.labels is not None:
            self.labels = self.labels.to(device)
        return self

    def take(self, position: Tensor) -> Split:
        """Return some of the data as a new split; each keeps its label and its fixed noise."""
        part, position = copy.copy(self), position.cpu()
        part._index, part._number, part._place = self._index[position], self._number[position], self._place[position]
        part.labels = None if self.labels is None else self.labels[position.to(self.labels.device)]
        return part

    def astype(self, dtype: torch.dtype) -> Split:
        """Return the same data with batches of a given type, instead of torch's default."""
        return self._with_parts(lambda part: part.astype(dtype))

    def observed(self, binarization: Binarization, dequantize: bool) -> Split:
        """Return the same data with another binarisation or dequantisation."""
        part = self._with_parts(lambda part: part.observed(binarization, dequantize))
        part.binarization, part.dequantize = binarization, dequantize
        return part

    def with_fixed_noise(self) -> Split:
        """Return the same data, whose noise is fixed."""
        return self

    def _with_parts(self, change: Callable[[Split], Split]) -> WholeSplit:
        whole = copy.copy(self)
        whole._parts = tuple(map(change, self._parts))
        return whole

    @property
    def _in_memory(self) -> bool:
        return all(part._in_memory for part in self._parts)

    def _stored(self, position: Tensor) -> Tensor:
        return self._gather(position, lambda part, place: part._stored(place.to(part._index.device)))

    def _gather(self, position: Tensor | slice, read: Callable[[Split, Tensor], Tensor]) -> Tensor:
        """Read data from the splits that have them."""
        number, place = (part[position if isinstance(position, slice) else position.cpu()] for part in self._places)
        found = read(self._parts[0], place[:0])
        found = found.new_empty(len(number), *self.data_shape)
        for i, part in enumerate(self._parts):
            at = (number == i).nonzero().flatten()
            if len(at) > 0:
                found[at.to(found.device)] = read(part, place[at])
        return found

    @property
    def _places(self) -> tuple[Tensor, Tensor]:
        return self._number, self._place
