"""Noise that is a pure function of (seed, image, pixel), so that fixed binarisations never change.

It does not depend on the order, the batches, the device or the process in which images are read.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

__all__ = ["fixed_uniform"]


def fixed_uniform(seed: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return uniform numbers in [0, 1), the same for the same seed and image, whatever the batch.

    Each is the SplitMix64 hash (Steele et al., 2014, doi:10.1145/2660193.2660195) of its counter
    ``image * pixels + pixel``, offset by the hash of the seed.

    Args:
        seed: an integer.
        index: the images' numbers, int64 of shape ``(B,)``.
        shape: shape of one image.

    Returns:
        float32 of shape ``(B, *shape)``, multiples of 2**-24.

    Example:
        >>> a = fixed_uniform(0, torch.tensor([3, 5]), (2,))
        >>> bool((a[1] == fixed_uniform(0, torch.tensor([5]), (2,))[0]).all())
        True
    """
    pixels = prod(shape)
    start = _mix(torch.tensor(seed, dtype=torch.int64, device=index.device))
    counter = index[:, None] * pixels + torch.arange(1, pixels + 1, device=index.device)  # (B, pixels)
    bits = _mix(start + counter * -7046029254386353131)
    return (_shift(bits, 40).to(torch.float32) * 2.0**-24).reshape(len(index), *shape)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687
    z = (z ^ _shift(z, 27)) * -7723592293110705685
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    # int64's own shift repeats the sign bit.
    return (z >> bits) & ((1 << (64 - bits)) - 1)
