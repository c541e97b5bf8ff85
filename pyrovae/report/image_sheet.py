"""Image sheets for the page: many small images in one PNG, with a common grey scale."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrovae.figures.base import as_images

__all__ = ["PixelScale", "image_sheet"]

_SIDE = 64  # largest number of pixels of an image's longer side


@dataclass(frozen=True)
class PixelScale:
    """A grey scale that converts data to small images, so that data and decoded images can be compared.

    Attributes:
        low: value of black.
        high: value of white.

    Example:
        >>> PixelScale.of(torch.tensor([[-1.0, 0.0, 3.0]]))
        PixelScale(low=-1.0, high=3.0)
        >>> PixelScale(0.0, 1.0)(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    low: float
    high: float

    @classmethod
    def of(cls, x: Tensor) -> PixelScale:
        """Return the scale of data: from 0 to 1 if they lie within, else from their least to their largest value.

        Args:
            x: data, ``(N, *data_shape)``.
        """
        low, high = x.min().item(), x.max().item()
        return cls(0.0, 1.0) if low >= 0 and high <= 1 else cls(low, high)

    def __call__(self, x: Tensor) -> Tensor:
        """Return images as bytes, ``(N, 1 or 3, H, W)``; vectors that are no squares become strips.

        Args:
            x: data, ``(N, *data_shape)``.
        """
        scale = max(self.high - self.low, 1e-12)
        images = as_images(((x.detach().cpu().float() - self.low) / scale).clamp(0, 1))  # (N, C, H, W)
        height, width = images.shape[2:]
        share = min(1.0, _SIDE / max(height, width))
        columns = max(1, round(width * share))
        rows = max(1, round(height * share), math.ceil(columns / 4))
        if (rows, columns) != (height, width):
            images = F.interpolate(images, (rows, columns), mode="area")
        return images.mul(255).round().to(torch.uint8)


def image_sheet(images: Tensor, columns: int) -> dict[str, Any]:
    """Return one PNG of many images in a grid, as base64, with the size of each image.

    Args:
        images: images as bytes, ``(N, 1 or 3, H, W)``.
        columns: number of images in a row.
    """
    from PIL import Image

    count, channels, height, width = images.shape
    empty = images.new_zeros(-count % columns, channels, height, width)
    grid = torch.cat((images, empty)).unflatten(0, (-1, columns))  # (R, columns, C, H, W)
    grid = grid.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)
    buffer = io.BytesIO()
    Image.fromarray((grid[..., 0] if channels == 1 else grid).contiguous().numpy()).save(buffer, "PNG", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode()
    return {"png": png, "columns": columns, "width": width, "height": height}
