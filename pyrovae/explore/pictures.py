"""Conversion of data to pictures on a screen, and of drawn or uploaded pictures to data."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.data import DataSet, Split
from pyrovae.figures.base import as_images

__all__ = ["as_picture", "is_picture", "read_picture"]

_SIDE = 280  # approximate pixels of the longer side of a single image


def as_picture(x: Tensor, columns: int = 1) -> NDArray[np.uint8]:
    """Return data side by side as one enlarged picture.

    Args:
        x: data, ``(N, *data_shape)``.
        columns: number of data in a row.

    Returns:
        pixels, ``(height, width, 3)``.

    Example:
        >>> as_picture(torch.zeros(2, 1, 8, 8), columns=2).shape
        (288, 572, 3)
    """
    images = as_images(x, 1024)  # (N, C, H, W)
    longer = max(images.shape[-2:])
    side = _SIDE if columns == 1 else max(64, min(_SIDE, 1200 // columns))
    times = max(1, round(side / longer))
    from torchvision.utils import make_grid

    large = images.repeat_interleave(times, -2).repeat_interleave(times, -1)
    if columns > 1 or len(x) > 1:
        large = make_grid(large, columns, padding=4, pad_value=0.5)[None]
    rgb = large[0].expand(3, -1, -1).permute(1, 2, 0)
    return (rgb * 255).round().to(torch.uint8).numpy()


def is_picture(data_shape: tuple[int, ...]) -> bool:
    """Tell whether data are pictures that can be drawn: ``(1, H, W)``, ``(3, H, W)`` or ``(H, W)``."""
    return len(data_shape) == 2 or (len(data_shape) == 3 and data_shape[0] in (1, 3))


def read_picture(pixels: NDArray[np.uint8], data: DataSet) -> Tensor:
    """Convert a picture of any size to a datum like those of the data set.

    Transparent parts become white. The picture is padded to the data's proportions, resized, converted to grey if the
    data are grey, inverted if its border is then closer to that of the data, and binarised or scaled as the data are.

    Args:
        pixels: pixels, ``(height, width)``, or with 3 or 4 channels as last dimension.
        data: the data set.

    Returns:
        the datum, ``(1, *data_shape)``.

    Raises:
        ValueError: if the array is no picture, or the data are no pictures.

    Example:
        >>> import numpy as np
        >>> from pyrovae import Digits
        >>> white = np.full((100, 100, 3), 255, np.uint8)
        >>> read_picture(white, Digits()).sum()  # digits are white on black
        tensor(0.)
    """
    if not is_picture(data.data_shape):
        raise checks.InputError(f"data must be pictures to be drawn, but have the shape {data.data_shape}")
    image = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
    image = image[..., None] if image.dim() == 2 else image
    if image.dim() != 3 or image.shape[2] not in (1, 3, 4) or image.numel() == 0:
        raise checks.InputError(f"the picture must have 1, 3 or 4 channels, but has the shape {pixels.shape}")
    if image.shape[2] == 4:
        image = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    *channels, height, width = data.data_shape
    colours = channels[0] if channels else 1
    image = image.permute(2, 0, 1)  # (C, height, width)
    image = image.mean(0, keepdim=True) if colours == 1 else image.expand(colours, -1, -1)
    border = _border(image).median()
    high, wide = image.shape[1:]
    scale = max(high / height, wide / width)
    down, across = round(height * scale) - high, round(width * scale) - wide
    image = F.pad(image, (across // 2, across - across // 2, down // 2, down - down // 2), value=border.item())
    image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
    stored = _stored(data)
    if (border - _border(stored).mean()).abs() > (1 - border - _border(stored).mean()).abs():
        image = 1 - image
    return _observed(image.reshape(1, *data.data_shape), data.test)


def _border(images: Tensor) -> Tensor:
    return torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1).flatten()


def _stored(data: DataSet) -> Tensor:
    """Return some stored images with values from 0 to 1."""
    part = data.test.stored[:100].float()
    if data.test.levels is not None:
        return part / (data.test.levels - 1)
    return (part - part.min()) / (part.max() - part.min()).clamp(min=1e-12)


def _observed(image: Tensor, like: Split) -> Tensor:
    """Binarise or scale grey values from 0 to 1 as a split does."""
    if like.levels is not None:
        source = (image * (like.levels - 1)).round().to(torch.uint8 if like.levels <= 256 else torch.int32)
    elif like.binarization != "none":
        source = image
    else:
        known = like.stored[:1000].float()
        source = known.min() + image * (known.max() - known.min())
    split = Split(
        source,
        None,
        torch.arange(len(source)),
        binarization=like.binarization,
        dequantize=like.dequantize,
        levels=like.levels,
        seed=like.seed,
        fresh=False,
    )
    return split[:]
