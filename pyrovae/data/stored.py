"""What a data set may be made of: arrays of images, their labels, and the sizes of the splits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks

__all__ = ["as_count", "as_labels", "check_values", "is_binary", "is_count", "stored_as"]

_CHUNK = 4096  # images read at a time where a whole set must be looked at


def stored_as(images: Tensor | np.ndarray, levels: int | None) -> tuple[Tensor | np.ndarray, int | None]:
    """Return images of shape ``(N, ...)`` as they are kept, and their number of grey levels, if they have one.

    Raises:
        InputError: if their type or shape will not do.
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise checks.InputError(f"images must be a tensor or an array, but a {type(images).__name__} was given")
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


def is_binary(source: Tensor | np.ndarray) -> bool:
    """Tell whether every value is 0 or 1."""
    parts = (source[start : start + _CHUNK] for start in range(0, len(source), _CHUNK))
    return all(bool(((part == 0) | (part == 1)).all()) for part in parts)  # most sets are left at the first part


def is_count(source: Tensor | np.ndarray) -> bool:
    """Tell whether the values are whole numbers from 0 up, of whatever type."""
    parts = (source[start : start + _CHUNK] for start in range(0, len(source), _CHUNK))
    return all(bool(((part >= 0) & (part % 1 == 0)).all()) for part in parts)  # most sets are left at the first part


def check_values(source: Tensor | np.ndarray, levels: int | None, binarization: str) -> None:
    """Look at all values once.

    Raises:
        InputError: if one is not finite, not one of the levels, or cannot be binarised.
    """
    if levels == 256 and str(source.dtype).endswith("uint8"):
        return
    low, high = math.inf, -math.inf
    for start in range(0, len(source), _CHUNK):
        part = source[start : start + _CHUNK]
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


def as_labels(name: str, labels: Tensor | np.ndarray | None, count: int) -> Tensor | None:
    """Return labels as int64 of shape ``(count,)``.

    Raises:
        InputError: if they are not that many integers.
    """
    if labels is None:
        return None
    if not isinstance(labels, Tensor | np.ndarray):
        raise checks.InputError(f"{name} must be a tensor or an array, but a {type(labels).__name__} was given")
    kind = str(labels.dtype).removeprefix("torch.")
    if tuple(labels.shape) != (count,) or not kind.startswith(("bool", "int", "uint")):
        raise checks.InputError(
            f"{name} must be {count} integers, one an image, but have shape {tuple(labels.shape)} and type {kind}"
        )
    return labels.to(torch.int64) if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels, np.int64))


def as_count(name: str, size: float, total: int) -> int:
    """Return a size, given as a number or as a fraction of ``total``, as a number of images, at least 1.

    Raises:
        InputError: if it is neither.
    """
    size = checks.number(name, size, open_below=True)
    count = round(size * total) if size < 1 else int(size)
    if size >= 1 and size != count:
        raise checks.InputError(
            f"{name} must be a fraction below 1 or a whole number of images, but {size:g} was given"
        )
    return max(count, 1)
