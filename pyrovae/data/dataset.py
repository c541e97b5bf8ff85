"""Data sets: split into training, validation and test, binarised, dequantised or scaled."""

from __future__ import annotations

import copy
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.construction import record_arguments
from pyrovae.data.split import Binarization, Split
from pyrovae.data.validation import (
    Channels,
    are_levels,
    as_count,
    as_labels,
    channels_first,
    check_observed,
    check_values,
    is_binary,
    is_count,
    stored_as,
    warn_of_levels,
)
from pyrovae.data.whole import WholeSplit

__all__ = ["DataSet"]

_SPLITS = ("train", "validation", "test")


class DataSet:
    r"""Data, in memory or on disk, split into training, validation and test, and observed as a likelihood needs them.

    Binarisation of grey values v in [0, 1]: ``none``; ``static``: one fixed sample of Bernoulli(v); ``dynamic``: a new
    sample at every reading of a training datum (the samples of validation and test data are fixed, the same in every
    evaluation); ``threshold``: v >= 1/2. Without binarisation, integers with known ``levels`` L are scaled to
    v / (L - 1), and other values are used as stored. Dequantisation gives x = (v + u) / L with uniform u,
    whose density is bounded by that of a discrete model:
    bits/dim = nll / (n ln 2) + log2 L (Theis et al., 2016, arXiv:1511.01844).

    NaN in floats are missing values, which stay NaN in batches: what is trained, evaluated and compared is then
    log p of the observed values (Mattei & Frellsen, 2019, arXiv:1812.02633).

    Args:
        x: ``(N, *data_shape)``, integer or float: a tensor, an array, a data frame, or a memory-mapped array,
            which stays on disk.
        labels: ``(N,)`` integers, -1 where one is unknown, or None.
        test_x: the test data; by default, ``test_size`` of the data.
        test_labels: their labels.
        validation_x: the validation data; by default, ``validation_size`` of the data.
        validation_labels: their labels.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantize: True to add uniform noise to quantised data.
        levels: number of grey levels of integers, at most 65,536; by default 2 if all values are 0 or 1, else 256 for
            uint8.
        channels: ``first`` for images ``(N, C, H, W)``, ``last`` for ``(N, H, W, C)``, which are transposed to the
            former. It must be given if the last of three dimensions is 4 or less and both others are larger.
        validation_size: number or fraction of data held out for validation; ignored if ``validation_x`` is given.
        test_size: number or fraction of data held out for the test; ignored if ``test_x`` is given.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the data are empty, infinite, or do not fit the options.

    Attributes:
        train: the training data.
        validation: the validation data.
        test: the test data.
        data_shape: shape of one datum.
        stored_apart: names of the splits that were given as arrays of their own.

    Example:
        >>> data = DataSet(torch.arange(200, dtype=torch.uint8).reshape(50, 4), dequantize=True)
        >>> len(data.train), len(data.validation), len(data.test), data.data_shape
        (40, 5, 5, (4,))
    """

    def __init__(
        self,
        x: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | None = None,
        test_x: Tensor | np.ndarray | None = None,
        test_labels: Tensor | np.ndarray | None = None,
        *,
        validation_x: Tensor | np.ndarray | None = None,
        validation_labels: Tensor | np.ndarray | None = None,
        binarization: Binarization = "none",
        dequantize: bool = False,
        levels: int | None = None,
        channels: Channels | None = None,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        record_arguments(self)
        checks.choice("binarization", binarization, ("none", "static", "dynamic", "threshold"))
        checks.seed(seed)
        if dequantize and binarization != "none":
            raise checks.InputError(f"dequantize must be false when binarization is {binarization}, but true was given")
        own = {"validation": (validation_x, validation_labels), "test": (test_x, test_labels)}
        for name, (values, known) in own.items():
            if known is not None and values is None:
                raise checks.InputError(f"{name}_labels must come with {name}_x, but that was not given")
        given = {f"{name}_x": values for name, (values, _) in own.items() if values is not None}
        parts, levels = _stored({"x": x, **given}, levels, channels)
        source = parts[0]
        if dequantize and levels is None:
            raise checks.InputError(
                "dequantize needs integers, 8-bit or with levels, but the data are not quantised: they are "
                f"{str(source.dtype).removeprefix('torch.')}"
            )
        gaps = [check_values(part, levels, binarization) for part in parts]
        self.data_shape = tuple(source.shape[1:])
        self.binarization = binarization
        self.dequantize = dequantize
        self.levels = levels
        self.seed = seed
        self._values: Literal["counts", "discrete", "real"] = "real"
        if levels is None:
            counts = all(is_count(part) for part in parts)
            self._values = "counts" if counts else "discrete" if are_levels(*parts) else "real"

        self.stored_apart = tuple(name.removesuffix("_x") for name in given)
        y = as_labels("labels", labels, len(source))
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
        sizes = _sizes(
            len(source),
            None if "validation" in self.stored_apart else validation_size,
            None if "test" in self.stored_apart else test_size,
        )
        splits = [
            self._split(number, source, y, index.sort().values, gaps[0])
            for number, index in enumerate(order.split(sizes))
        ]
        self._offsets, end = [0, 0, 0], len(source)
        for name, part, gap in zip(self.stored_apart, parts[1:], gaps[1:], strict=True):
            known = as_labels(f"{name}_labels", own[name][1], len(part))
            number = _SPLITS.index(name)
            splits[number] = self._split(number, part, known, torch.arange(len(part)), gap)
            self._offsets[number] = end
            end += len(part)
        self.train, self.validation, self.test = splits

    @property
    def all(self) -> Split:
        """All data in the order in which they are stored; validation and test data that are stored apart come last.

        Each datum keeps the fixed noise that it has in its split, also if that is the training split.

        Example:
            >>> data = DataSet(torch.arange(200.0).reshape(50, 4))
            >>> torch.equal(data.all[:], torch.arange(200.0).reshape(50, 4))
            True
        """
        return WholeSplit((self.train, self.validation, self.test), self._offsets)

    @property
    def has_missing(self) -> bool:
        """True if a value is missing (NaN): log p(x) is then that of the observed values."""
        return any(part.has_missing for part in (self.train, self.validation, self.test))

    def check_trainable(self) -> None:
        """Check that there are data to train and to validate on, each with values.

        Raises:
            ValueError: if there are too few data to be split, or one of them, or a cell of all of them, has no value.
        """
        if len(self.train) == 0 or len(self.validation) == 0:
            raise checks.InputError(
                f"data must be at least 3 to train on some and validate on others, but are {len(self.all)}"
            )
        if self.train.has_missing:
            check_observed(self.train)

    def astype(self, dtype: torch.dtype) -> DataSet:
        """Return the same data with batches of a given type, instead of torch's default.

        Args:
            dtype: floating-point type, such as that of a program's parameters.
        """
        if dtype == torch.get_default_dtype():
            return self
        data = copy.copy(self)
        data.train, data.validation, data.test = (
            part.astype(dtype) for part in (self.train, self.validation, self.test)
        )
        return data

    @property
    def kind(self) -> Literal["binary", "dequantized", "scaled", "counts", "discrete", "real", "table"]:
        """Kind of the values in a batch.

        ``binary``: 0 and 1. ``dequantized``: levels with noise, in [0, 1). ``scaled``: grey values in [0, 1].
        ``counts``: integers from 0 up, without a known number of levels. ``discrete``: other integers, or at most 256
        evenly spaced numbers, such as grey levels divided by 255. ``real``: other values, as stored. ``table``: columns
        of several kinds, see :class:`~pyrovae.Table`.
        """
        if self.binarization != "none" or (self.levels == 2 and not self.dequantize):
            return "binary"
        if self.dequantize:
            return "dequantized"
        if self.levels is None:
            return self._values
        return "scaled"

    @property
    def observed_levels(self) -> int | None:
        """Number L of levels 0, 1 / (L - 1), ..., 1 of a batch; 2 if it is binary; None if unknown."""
        return {"binary": 2, "scaled": self.levels}.get(self.kind)

    def bits_per_dim(self, nll: float) -> float | None:
        """Convert a negative log-likelihood of a whole datum, in nats, to bits per dimension.

        Returns:
            nll / (n ln 2), plus log2 of the number of levels for dequantised data; None if x is
            continuous or a table, since bits of a density depend on the units, or has missing values, since n differs.
            For grey levels and counts, the result is meaningful only if the likelihood is a probability.
        """
        if self.kind in ("real", "table") or self.has_missing:
            return None
        bits = nll / (math.prod(self.data_shape) * math.log(2))
        return bits + math.log2(self.levels) if self.kind == "dequantized" and self.levels is not None else bits

    def to(self, device: torch.device | str) -> DataSet:
        """Move the data in memory, and all future batches, to ``device``; return self."""
        for part in (self.train, self.validation, self.test):
            part.to(device)
        return self

    def __repr__(self) -> str:
        sizes = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"{type(self).__name__}({sizes}, data_shape={self.data_shape}, kind={self.kind!r})"

    def _split(
        self, number: int, stored: Tensor | np.ndarray, labels: Tensor | None, index: Tensor, has_missing: bool
    ) -> Split:
        return Split(
            stored,
            None if labels is None else labels[index],
            index,
            binarization=self.binarization,
            dequantize=self.dequantize,
            levels=self.levels,
            seed=3 * self.seed + number,
            fresh=number == 0,
            has_missing=has_missing,
        )


def _stored(
    arrays: dict[str, Tensor | np.ndarray], given: int | None, channels: Channels | None
) -> tuple[list[Tensor | np.ndarray], int | None]:
    """Return x and data of other splits as they are stored, and their number of levels, given or by their values."""
    parts: list[Tensor | np.ndarray] = []
    levels: int | None = None
    for name, values in arrays.items():
        part, own = stored_as(channels_first(name, values, channels), given)
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise checks.InputError(
                f"{name} must have the shape of x, {tuple(parts[0].shape[1:])}, but has {tuple(part.shape[1:])}"
            )
        if parts and own != levels:
            raise checks.InputError(f"{name} must be stored as x is, {parts[0].dtype}, but is of another type")
        parts.append(part)
        levels = own
    if given is None and all(is_binary(part) for part in parts):
        return parts, 2
    if given is None and levels == 256:
        warn_of_levels(*parts)
    return parts, levels


def _sizes(count: int, validation_size: float | None, test_size: float | None) -> list[int]:
    """Return the numbers of data for training, validation and test; none for a split whose size is None."""
    held_out = 0 if validation_size is None else as_count("validation_size", validation_size, count)
    tested = 0 if test_size is None else as_count("test_size", test_size, count)
    if validation_size is not None and test_size is not None and count < 3 and max(validation_size, test_size) < 1:
        return [0, 0, count]  # too few to be split: they can be evaluated
    if held_out + tested >= count:
        raise checks.InputError(
            f"validation_size and test_size must leave data to train on, but {held_out} and {tested} "
            f"were given for {count} data"
        )
    return [count - held_out - tested, held_out, tested]
