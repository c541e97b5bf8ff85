"""Checks of the arrays, labels and split sizes that a data set is made of."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.missing import is_missing
from pyrovae.tensors import as_tensor, is_data, numbers_of

if TYPE_CHECKING:
    from pyrovae.data.split import Split

__all__ = [
    "Channels",
    "are_levels",
    "as_count",
    "as_labels",
    "channels_first",
    "check_observed",
    "check_values",
    "is_binary",
    "is_count",
    "stored_as",
    "warn_of_levels",
]

Channels: TypeAlias = Literal["first", "last"]
"""Position of the channels of images: ``first``, ``(N, C, H, W)``, or ``last``, ``(N, H, W, C)``."""

_CHUNK = 4096  # data read at a time when a whole set is checked
_LEVELS = 256  # largest number of evenly spaced values that are taken as levels


def channels_first(name: str, images: Tensor | np.ndarray, channels: Channels | None) -> Tensor | np.ndarray:
    """Return data with channels first, ``(N, C, H, W)``, as networks need them.

    Args:
        name: name of the argument, for messages.
        images: images of any shape.
        channels: current position of the channels; None for first, unless the shape suggests last.

    Raises:
        InputError: if ``channels`` is None and the shape suggests last, or there are no channels to move.
    """
    if channels is not None:
        checks.choice("channels", channels, ("first", "last"))
    images = _as_array(name, images)
    if not isinstance(images, Tensor | np.ndarray):  # refused by stored_as
        return images
    shape = tuple(images.shape[1:])
    if channels == "last":
        if len(shape) != 3:
            raise checks.InputError(
                f"channels may be last in images (N, H, W, C) only, but {name} has data of shape {shape}"
            )
        return images.movedim(-1, 1).contiguous() if isinstance(images, Tensor) else np.moveaxis(images, -1, 1)
    if channels is None and len(shape) == 3 and shape[2] <= 4 < min(shape[:2]):
        raise checks.InputError(
            f"channels must be given for {name} of shape {shape} each: last if they are {shape[0]} x {shape[1]} pixels "
            f"with {shape[2]} channels, first if they have {shape[0]} channels"
        )
    return images


def stored_as(images: Tensor | np.ndarray, levels: int | None) -> tuple[Tensor | np.ndarray, int | None]:
    """Return data ``(N, ...)`` as they are stored, and their number of grey levels; None for others.

    Raises:
        InputError: if their type or shape is not accepted.
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise checks.InputError(f"x must be a tensor or an array, but a {type(images).__name__} was given")
    kind = images.dtype.name if isinstance(images, np.ndarray) else str(images.dtype).removeprefix("torch.")
    if kind not in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"):
        raise checks.InputError(f"x must be of type bool, uint8, signed integer or float, but is {images.dtype}")
    if images.ndim < 2 or len(images) == 0 or math.prod(images.shape) == 0:
        raise checks.InputError(
            f"x must have the shape (N, ...) with at least one datum, but has {tuple(images.shape)}"
        )
    if levels is not None and (checks.integer("levels", levels, minimum=2) > 2**16 or "float" in kind):
        raise checks.InputError(f"levels must be at most 65536 and given for integers only, but is {levels} for {kind}")
    if kind == "bool":
        levels = 2
        images = images.view(torch.uint8) if isinstance(images, Tensor) else images.view(np.uint8)
    if kind == "uint8":
        levels = levels or 256
    if isinstance(images, np.ndarray) and not isinstance(images, np.memmap):
        images = torch.from_numpy(np.array(images, images.dtype.newbyteorder("=")))
    return images, levels


def is_binary(source: Tensor | np.ndarray) -> bool:
    """Tell whether every value that is not missing is 0 or 1."""
    return _all(source, lambda part: (part == 0) | (part == 1))


def is_count(source: Tensor | np.ndarray) -> bool:
    """Tell whether the values that are not missing are integers from 0 up, of any type."""
    return _all(source, lambda part: (part >= 0) & (part % 1 == 0))


def _all(source: Tensor | np.ndarray, holds: Callable[[Any], Any]) -> bool:
    """Tell whether a condition holds for all values, of which NaN, unequal to itself, are missing."""
    parts = (source[start : start + _CHUNK] for start in range(0, len(source), _CHUNK))
    return all(bool((holds(part) | (part != part)).all()) for part in parts)  # usually decided by the first part


def are_levels(*sources: Tensor | np.ndarray) -> bool:
    """Tell whether all values that are not missing are integers, or at most 256 evenly spaced numbers up to rounding.

    Example:
        >>> v = torch.arange(200).reshape(50, 4)
        >>> are_levels(v / 255), are_levels((v - 127.5) / 127.5), are_levels(torch.randn(50, 4))
        (True, True, False)
    """
    values = torch.empty(0, dtype=torch.float64)
    low, step, tolerance = 0.0, 0.0, 0.0
    for source in sources:
        for start in range(0, len(source), _LEVELS):
            part = _tensor(source[start : start + _LEVELS])
            if not part.is_floating_point():
                return True
            numbers = part.double().cpu().flatten()
            numbers = numbers[~is_missing(numbers)]
            if len(numbers) == 0:
                continue
            if step > 0:  # much faster than sorting the values
                index = (numbers - low) / step
                on_grid = (index - index.round()).abs().amax() < tolerance
                if on_grid and index.amin() > -0.5 and index.amax() - index.amin() < _LEVELS - 0.5:
                    continue
            values = torch.cat([values, numbers]).unique()
            if len(values) > _LEVELS:
                return False
            if len(values) == 1:
                continue
            low, width = values[0].item(), (values[-1] - values[0]).item()
            rounding = torch.finfo(part.dtype).eps * values.abs().amax().item() / width
            intervals = torch.arange(1, _LEVELS, dtype=torch.float64)[:, None]
            index = (values - low) / width * intervals  # (255, number of values)
            off = (index - index.round()).abs().amax(1)
            allowed = (1e-3 + rounding * intervals[:, 0]).clamp(max=0.25)
            fitting = (off < allowed).nonzero().flatten()
            if len(fitting) == 0:
                return False
            step, tolerance = width / (fitting[0].item() + 1), allowed[fitting[0]].item()
    return step > 0


def warn_of_levels(*sources: Tensor | np.ndarray) -> None:
    """Warn that 8-bit images are taken to have 256 levels, if no value is in the upper half."""
    largest = 0
    for source in sources:
        for start in range(0, len(source), _CHUNK):
            largest = max(largest, int(source[start : start + _CHUNK].max()))
            if largest >= _LEVELS // 2:  # usually decided by the first part
                return
    warnings.warn(
        f"the data are uint8 and no value is above {largest}, but they are taken to have 256 levels: "
        f"give levels={largest + 1} if that is all there are",
        stacklevel=4,
    )


def check_values(source: Tensor | np.ndarray, levels: int | None, binarization: str) -> bool:
    """Check all values once; NaN are missing ones.

    Returns:
        True if a value is missing.

    Raises:
        InputError: if one is infinite, not one of the levels, or cannot be binarised, or all are missing.
    """
    if levels == 256 and str(source.dtype).endswith("uint8"):
        return False
    low, high, gaps = math.inf, -math.inf, False
    for start in range(0, len(source), _CHUNK):
        part = _tensor(source[start : start + _CHUNK])
        if part.is_floating_point() and not bool(part.isfinite().all()):
            infinite = part.isinf().flatten(1).any(1)
            if bool(infinite.any()):
                bad = int(infinite.nonzero()[0]) + start
                raise checks.InputError(
                    f"x must be finite, or NaN where a value is missing, but datum {bad} holds infinity"
                )
            gaps, part = True, part[~is_missing(part)]
        if part.numel() > 0:
            low, high = min(low, part.min().item()), max(high, part.max().item())
    if low > high:
        raise checks.InputError("x must hold values, but all are missing (NaN)")
    if levels is not None and (low < 0 or high >= levels):
        raise checks.InputError(f"x with {levels} levels must lie in 0..{levels - 1}, but go from {low} to {high}")
    if levels is None and binarization != "none" and (low < 0 or high > 1):
        raise checks.InputError(
            f"binarization {binarization} needs grey values in [0, 1] or 8-bit integers, "
            f"but the data go from {low:g} to {high:g}"
        )
    return gaps


def check_observed(split: Split) -> None:
    """Check that each datum, and each cell of a datum, has a value to learn from.

    Raises:
        InputError: if all values of a datum are missing, or those of a cell of all data, such as a column of a table.
    """
    seen = torch.zeros(split.data_shape, dtype=torch.bool)
    for position in torch.arange(len(split)).split(_CHUNK):
        observed = ~is_missing(split._stored(position.to(split.device)).cpu())
        empty = ~observed.flatten(1).any(1)
        if bool(empty.any()):
            raise checks.InputError(
                "x must hold a value in each datum to train on, but all of datum "
                f"{int(split.rows[position[empty][0]])} are missing (NaN): leave such data out"
            )
        seen |= observed.any(0)
    if not bool(seen.all()):
        index = ", ".join(map(str, (~seen).nonzero()[0].tolist()))
        raise checks.InputError(
            "x must hold a value of each cell in some datum to train on, but all at position "
            f"[:, {index}] are missing (NaN): leave it out"
        )


def _as_array(name: str, values: Any) -> Any:
    """Return a data frame as an array and a list of numbers as a tensor; anything else as it is."""
    return as_tensor(name, values) if isinstance(values, list) and is_data(values) else numbers_of(values)


def _tensor(part: Tensor | np.ndarray) -> Tensor:
    return part if isinstance(part, Tensor) else torch.from_numpy(np.array(part, part.dtype.newbyteorder("=")))


def as_labels(name: str, labels: Tensor | np.ndarray | None, count: int) -> Tensor | None:
    """Return labels as int64 of shape ``(count,)``; warn if -1 may be meant as a class.

    Raises:
        InputError: if they are not ``count`` integers from -1 up.
    """
    if labels is None:
        return None
    labels = _as_array(name, labels)
    if not isinstance(labels, Tensor | np.ndarray):
        raise checks.InputError(f"{name} must be a tensor or an array, but a {type(labels).__name__} was given")
    kind = str(labels.dtype).removeprefix("torch.")
    if tuple(labels.shape) != (count,) or not kind.startswith(("bool", "int", "uint")):
        raise checks.InputError(
            f"{name} must be {count} integers, one for each datum, but have shape {tuple(labels.shape)} and type {kind}"
        )
    found = labels.to(torch.int64) if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels, np.int64))
    if int(found.min()) < -1:
        raise checks.InputError(
            f"{name} must be classes from 0 up, or -1 where one is unknown, but hold {int(found.min())}"
        )
    if found.unique().tolist() == [-1, 1]:
        warnings.warn(
            f"{name} are -1 and 1, of which -1 means that a label is unknown: give 0 and 1 for two classes",
            stacklevel=3,
        )
    return found


def as_count(name: str, size: float, total: int) -> int:
    """Return a size, given as a number or as a fraction of ``total``, as a number of data, at least 1.

    Raises:
        InputError: if it is neither.
    """
    size = checks.number(name, size, open_below=True)
    count = round(size * total) if size < 1 else int(size)
    if size >= 1 and size != count:
        raise checks.InputError(f"{name} must be a fraction below 1 or a whole number of data, but {size:g} was given")
    return max(count, 1)
