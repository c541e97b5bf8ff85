"""A data set: images as stored, split into train, validation and test, and the batches made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.data.noise import fixed_uniform

__all__ = ["Binarization", "DataSet", "Split"]

Binarization: TypeAlias = Literal["none", "static", "dynamic", "threshold"]

_SCAN = 4096  # images read at a time where a whole set must be looked at


class Split:
    """One part of a data set: images as stored, and batches as a program sees them.

    Args:
        source: the stored images, ``(M, *data_shape)``: a tensor, or a memory-mapped array that stays on disk.
        labels: class of each image of the split, int64 of shape ``(N,)``, or None.
        index: which images of the source belong to the split, int64 of shape ``(N,)``.
        binarization: see :class:`DataSet`; ``dynamic`` draws anew at every reading, ``static`` never.
        dequantize: see :class:`DataSet`.
        levels: number of grey levels of the stored images, or None if they are not quantised.
        seed: of the noise that is drawn once and for all.
        fresh: draw new noise at every reading (training) or always the same (validation and test).
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
        self._fixed: Tensor | None = None
        if self._noise == "fixed" and binarization != "none" and isinstance(self._source, Tensor):
            # Held as it is observed: the noise need not be hashed at every reading.
            parts = [self[part].to(torch.uint8) for part in torch.arange(len(self)).split(_SCAN)]
            self._fixed = torch.cat(parts)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def images(self) -> Tensor:
        """The images as stored, ``(N, *data_shape)``; a memory map is read whole."""
        return self._stored(torch.arange(len(self)))

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self._device

    def to(self, device: torch.device | str) -> Split:
        """Move what is held in memory, and all batches from now on, to ``device``; return self."""
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
        """Gather images by position and observe them: binarised, dequantised or scaled.

        Args:
            position: positions in the split, int64 of shape ``(B,)``, or a slice.

        Returns:
            floats of shape ``(B, *data_shape)``, on the split's device.
        """
        if isinstance(position, slice):
            position = torch.arange(len(self))[position]
        position = position.to(self._index.device)
        dtype = torch.get_default_dtype()
        if self._fixed is not None:
            return self._fixed[position].to(dtype)
        v = self._stored(position)  # (B, *data_shape)
        if self.binarization == "threshold":
            return (v >= self._maximum / 2).to(dtype)
        if self._noise == "none":
            return v.to(dtype) if self.levels is None else v.to(dtype) / self._maximum
        if self._noise == "fresh" and self.binarization != "none":
            if v.dtype == torch.uint8:
                return (torch.randint(0, self._maximum, v.shape, dtype=torch.uint8, device=v.device) < v).to(dtype)
            return (torch.rand(v.shape, device=v.device) * self._maximum < v).to(dtype)
        u = (
            torch.rand(v.shape, device=v.device)
            if self._noise == "fresh"
            else fixed_uniform(self.seed, self._index[position].to(v.device), self.data_shape)
        )
        if self.binarization != "none":
            return (u * self._maximum < v).to(dtype)
        assert self.levels is not None
        return ((v + u) / self.levels).to(dtype)

    def batches(self, batch_size: int, *, shuffle: bool = False) -> Iterator[Tensor]:
        """Yield the split once, in batches of ``batch_size`` observed images, the last one smaller if need be.

        Args:
            batch_size: images in a batch.
            shuffle: in an order drawn from torch's generator, or as they are.
        """
        checks.integer("batch_size", batch_size)
        order = torch.randperm(len(self)) if shuffle else torch.arange(len(self))
        for position in order.to(self._index.device).split(batch_size):
            yield self[position]

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
            return self._source[position]
        rows = self._index[position].numpy()
        order = np.argsort(rows, kind="stable")  # the disk is read forwards
        gathered = np.empty((len(rows), *self.data_shape), self._source.dtype.newbyteorder("="))
        gathered[order] = self._source[rows[order]]
        return torch.from_numpy(gathered).to(self._device)


class DataSet:
    r"""Hold images in memory or on disk, split them, and turn them into what a likelihood can explain.

    Binarisation of grey values v in [0, 1]: ``none``; ``static``: one sample of Bernoulli(v), drawn once;
    ``dynamic``: a new sample every time a training image is read (validation and test images are drawn
    once, identically in every evaluation); ``threshold``: v >= 1/2. Without it, integers of known
    ``levels`` L are scaled to v / (L - 1), and everything else is passed on as stored. Dequantisation
    gives x = (v + u) / L with uniform u, whose density is bounded by that of a discrete model:
    bits/dim = nll / (n ln 2) + log2 L (Theis et al., 2016, arXiv:1511.01844).

    Args:
        images: ``(N, *data_shape)``, integer or float: a tensor, an array, or a memory-mapped array, which
            stays on disk.
        labels: ``(N,)`` integers, or None.
        test_images: the test set, if it is given apart; else ``test_size`` of the images are taken.
        test_labels: its labels.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantize: add uniform noise to quantised images.
        levels: number of grey levels of integers; 256 for uint8 if not given.
        validation_size: how many images are held out for validation, as a number or a fraction.
        test_size: how many for the test, likewise; ignored if ``test_images`` are given.
        seed: of the split and of the noise that is drawn once.

    Raises:
        ValueError: if the images are empty, not finite, or do not fit the options.

    Example:
        >>> data = DataSet(torch.arange(200, dtype=torch.uint8).reshape(50, 4), dequantize=True)
        >>> len(data.train), len(data.validation), len(data.test), data.data_shape
        (40, 5, 5, (4,))
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | None = None,
        test_images: Tensor | np.ndarray | None = None,
        test_labels: Tensor | np.ndarray | None = None,
        *,
        binarization: Binarization = "none",
        dequantize: bool = False,
        levels: int | None = None,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        checks.choice("binarization", binarization, ("none", "static", "dynamic", "threshold"))
        checks.seed(seed)
        if dequantize and binarization != "none":
            raise checks.InputError(f"dequantize must be false when binarization is {binarization}, but true was given")
        source, levels = _stored_as(images, levels)
        if test_labels is not None and test_images is None:
            raise checks.InputError("test_labels must come with test_images, but these were not given")
        tests = None if test_images is None else _stored_as(test_images, levels)[0]
        if tests is not None and tests.shape[1:] != source.shape[1:]:
            raise checks.InputError(
                f"test_images must have the shape of images, {tuple(source.shape[1:])}, "
                f"but have {tuple(tests.shape[1:])}"
            )
        if dequantize and levels is None:
            raise checks.InputError("dequantize needs 8-bit images or levels, but the images are not quantised")
        for part in (source, tests):
            if part is not None:
                _check_values(part, levels, binarization)
        self.data_shape = tuple(source.shape[1:])
        self.binarization = binarization
        self.dequantize = dequantize
        self.levels = levels
        self.seed = seed

        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
        held_out = _count("validation_size", validation_size, len(source))
        tested = 0 if tests is not None else _count("test_size", test_size, len(source))
        if held_out + tested >= len(source):
            raise checks.InputError(
                f"validation_size and test_size must leave images to train on, but {held_out} and {tested} "
                f"were given for {len(source)} images"
            )
        train, validation, test = order.split([len(source) - held_out - tested, held_out, tested])

        def split(number: int, stored: Tensor | np.ndarray, labels: Tensor | None, index: Tensor) -> Split:
            return Split(
                stored,
                None if labels is None else labels[index],
                index,
                binarization=binarization,
                dequantize=dequantize,
                levels=levels,
                seed=3 * seed + number,
                fresh=number == 0,
            )

        y = _labels("labels", labels, len(source))
        self.train = split(0, source, y, train.sort().values)
        self.validation = split(1, source, y, validation.sort().values)
        if tests is None:
            self.test = split(2, source, y, test.sort().values)
        else:
            self.test = split(2, tests, _labels("test_labels", test_labels, len(tests)), torch.arange(len(tests)))

    @property
    def kind(self) -> Literal["binary", "dequantized", "scaled", "real"]:
        """What a batch holds: 0 and 1, dequantised levels in [0, 1), grey values in [0, 1], or values as stored."""
        if self.binarization != "none" or (self.levels == 2 and not self.dequantize):
            return "binary"
        if self.dequantize:
            return "dequantized"
        return "real" if self.levels is None else "scaled"

    def bits_per_dim(self, nll: float) -> float | None:
        """Convert a negative log-likelihood of a whole image, in nats, to bits per dimension.

        Returns:
            nll / (n ln 2), plus log2 of the number of levels for dequantised data; None where x is
            continuous, whose density has no bits.
        """
        if self.kind not in ("binary", "dequantized"):
            return None
        bits = nll / (math.prod(self.data_shape) * math.log(2))
        return bits + math.log2(self.levels) if self.kind == "dequantized" and self.levels is not None else bits

    def to(self, device: torch.device | str) -> DataSet:
        """Move everything held in memory, and all batches from now on, to ``device``; return self."""
        for part in (self.train, self.validation, self.test):
            part.to(device)
        return self

    def __repr__(self) -> str:
        sizes = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"{type(self).__name__}({sizes}, data_shape={self.data_shape}, kind={self.kind!r})"


def _stored_as(images: Tensor | np.ndarray, levels: int | None) -> tuple[Tensor | np.ndarray, int | None]:
    kind = images.dtype.name if isinstance(images, np.ndarray) else str(images.dtype).removeprefix("torch.")
    if kind not in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"):
        raise checks.InputError(f"images must be of type bool, uint8, signed integer or float, but are {images.dtype}")
    if images.ndim < 2 or len(images) == 0 or math.prod(images.shape) == 0:
        raise checks.InputError(
            f"images must have the shape (N, ...) with at least one image, but have {tuple(images.shape)}"
        )
    if levels is not None and (checks.integer("levels", levels, minimum=2) > 256 or kind.startswith("float")):
        raise checks.InputError(f"levels must be at most 256 and given for integers only, but is {levels} for {kind}")
    if kind == "bool":
        levels = 2
        images = images.view(torch.uint8) if isinstance(images, Tensor) else images.view(np.uint8)
    if kind == "uint8":
        levels = levels or 256
    if isinstance(images, np.ndarray) and not isinstance(images, np.memmap):
        images = torch.from_numpy(np.array(images, images.dtype.newbyteorder("=")))
    return images, levels


def _check_values(source: Tensor | np.ndarray, levels: int | None, binarization: str) -> None:
    if levels == 256 and str(source.dtype).endswith("uint8"):
        return
    low, high = math.inf, -math.inf
    for start in range(0, len(source), _SCAN):
        part = source[start : start + _SCAN]
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.array(part, part.dtype.newbyteorder("=")))
        if part.is_floating_point() and not bool(part.isfinite().all()):
            bad = int((~part.isfinite()).flatten(1).any(1).nonzero()[0]) + start
            raise checks.InputError(f"images must be finite, but image {bad} holds NaN or infinity")
        low, high = min(low, part.min().item()), max(high, part.max().item())
    if levels is not None and (low < 0 or high >= levels):
        raise checks.InputError(f"images with {levels} levels must lie in 0..{levels - 1}, but go from {low} to {high}")
    if levels is None and binarization != "none" and (low < 0 or high > 1):
        raise checks.InputError(
            f"binarization {binarization} needs grey values in [0, 1] or 8-bit integers, "
            f"but the images go from {low:g} to {high:g}"
        )


def _labels(name: str, labels: Tensor | np.ndarray | None, count: int) -> Tensor | None:
    if labels is None:
        return None
    kind = str(labels.dtype).removeprefix("torch.")
    if tuple(labels.shape) != (count,) or not kind.startswith(("bool", "int", "uint")):
        raise checks.InputError(
            f"{name} must be {count} integers, one an image, but have shape {tuple(labels.shape)} and type {kind}"
        )
    return labels.to(torch.int64) if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels, np.int64))


def _count(name: str, size: float, total: int) -> int:
    size = checks.number(name, size, open_below=True)
    count = round(size * total) if size < 1 else int(size)
    if size >= 1 and size != count:
        raise checks.InputError(
            f"{name} must be a fraction below 1 or a whole number of images, but {size:g} was given"
        )
    return max(count, 1)
