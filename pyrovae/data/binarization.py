"""Noise of data: fixed, a function of seed, datum and feature; or fresh, from torch's generator.

Fixed noise does not depend on the order, the batches, the device or the process in which data are read. Fresh
noise is part of every training step, so it must be fast: it is sampled as bytes where this is exact.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

__all__ = ["fixed_uniform", "fresh_binary"]


def fixed_uniform(seed: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return uniform numbers in [0, 1) that depend only on seed, datum and feature.

    Each is the SplitMix64 hash (Steele et al., 2014, doi:10.1145/2660193.2660195) of its counter
    ``datum * features + feature``, offset by the hash of the seed.

    Args:
        seed: an integer.
        index: numbers of the data, int64 of shape ``(B,)``.
        shape: shape of one datum.

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


def fresh_binary(v: Tensor, levels: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Sample 1 with probability :math:`v / (L - 1)`, else 0, from torch's generator.

    On a CPU, levels are compared with random bytes. Bytes that would favour some levels are sampled again, so the
    probability is exact. Floats are compared with a byte too; in the one case of 256 in which the byte does not decide,
    24 more bits are sampled. On a GPU no value is read, so that the host does not wait for the device.

    Args:
        v: levels from 0 to L - 1, or floats in [0, 1], of any shape.
        levels: number L, from 2 to 65,536, or None for floats. Above 256, levels are treated as floats.
        dtype: type of the result.

    Returns:
        zeros and ones, of the shape of v.

    Example:
        >>> fresh_binary(torch.tensor([0, 255, 0, 255]), levels=256)
        tensor([0., 1., 0., 1.])
    """
    x = torch.empty(v.shape, dtype=dtype, device=v.device)
    if levels is not None and levels > 256:
        v, levels = v.double() / (levels - 1), None
    if levels is None:
        return _of_floats(v, x)
    v, maximum = v.to(torch.uint8), levels - 1
    if v.device.type != "cpu":
        return torch.lt(torch.randint(0, maximum, v.shape, dtype=torch.uint8, device=v.device), v, out=x)
    width = 255 // maximum  # number of bytes per level
    random = _bytes(v.numel())
    array = random.numpy()  # numpy searches several times as fast
    again = np.flatnonzero(array >= width * maximum)
    while len(again):
        array[again] = _bytes(len(again)).numpy()
        again = again[array[again] >= width * maximum]
    return torch.lt(random.view(v.shape), v if width == 1 else v * width, out=x)


def _of_floats(v: Tensor, x: Tensor) -> Tensor:
    if v.device.type != "cpu":
        return torch.lt(torch.rand(v.shape, device=v.device), v, out=x)
    v = v.to(torch.float64 if v.dtype == torch.float64 else torch.float32) * 256
    whole = v.floor()
    random = _bytes(v.numel()).view(v.shape)
    torch.lt(random, whole, out=x)
    undecided = torch.from_numpy(np.flatnonzero((random == whole).numpy()))
    rest = (v - whole).flatten()[undecided]
    x.view(-1)[undecided] = (torch.rand(len(rest)) < rest).to(x.dtype)
    return x


def _bytes(count: int) -> Tensor:
    eights = torch.empty(-(-count // 8), dtype=torch.int64)
    return eights.random_(-(2**63), None).view(torch.uint8)[:count]  # all 64 bits


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687
    z = (z ^ _shift(z, 27)) * -7723592293110705685
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    # A logical shift: that of int64 repeats the sign bit.
    return (z >> bits) & ((1 << (64 - bits)) - 1)
