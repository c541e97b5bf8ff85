"""The faster of two kernels for a linear layer, oneDNN's or torch's own, by timing both on the machine at hand.

On some processors with AVX-512, oneDNN takes half the time of MKL, which torch calls; on an AMD EPYC with AVX2 it takes
1.1 to 2 times as long. The two round differently. So the first choice for a shape is kept on disk: the same seed gives
the same bits in every process on this machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.files import state_folder, write_once

__all__ = ["has_onednn", "onednn_linear", "prefers_onednn"]

_MIN_MULTIPLICATIONS = 2**20  # multiplications of a product, below which oneDNN's overhead of 30 us exceeds any gain
_MAX_MULTIPLICATIONS = 2**26  # of a product that is timed, so that a choice takes some 20 ms
_ROUNDS = 7  # of which the fastest counts, since other processes disturb single ones
_MARGIN = 0.95  # oneDNN's share of torch's time below which it is chosen: a tie stays with torch


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return :math:`x W^T + b`, computed by oneDNN without gradients.

    Args:
        x: input, ``(*, I)``; all tensors are float32 on the CPU.
        weight: W, ``(O, I)``.
        bias: b, ``(O,)``, or None.

    Example:
        >>> onednn_linear(torch.ones(5, 3), torch.ones(2, 3), None).shape
        torch.Size([5, 2])
    """
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def has_onednn() -> bool:
    """Tell whether torch was built with oneDNN, and it is switched on."""
    return torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()


def prefers_onednn(x: Tensor, weight: Tensor) -> bool:
    """Tell whether oneDNN is the faster library for a product of these shapes, layouts and torch's threads.

    Shapes are timed when they are asked for first. Numbers of rows between two powers of 2 share a choice.

    Args:
        x: input, ``(*, I)``, float32 on the CPU; its values are not read.
        weight: W, ``(O, I)``.

    Example:
        >>> prefers_onednn(torch.ones(5, 3), torch.ones(2, 3))  # too small for oneDNN
        False
    """
    outputs, inputs = weight.shape
    if x.numel() * outputs < _MIN_MULTIPLICATIONS or not has_onednn():
        return False
    rows = 1 << (x.numel() // inputs).bit_length() - 1
    rows = max(1, min(rows, _MAX_MULTIPLICATIONS // (inputs * outputs)))
    return _choice(Product(rows, inputs, outputs, _is_transposed(x), _is_transposed(weight), torch.get_num_threads()))


class Product(NamedTuple):
    """A product of a matrix of inputs and a weight, as far as its time depends on it."""

    rows: int
    inputs: int
    outputs: int
    x_transposed: bool
    weight_transposed: bool
    threads: int


@cache
def _choice(product: Product) -> bool:
    """Read the choice for a product; make it if there is none, of several processes by the first."""
    path = None
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be read
        path = state_folder() / "linear_kernels" / _machine() / "-".join(str(int(part)) for part in product)
        if path.exists():
            return path.read_bytes() == b"oneDNN"
    faster = _is_faster(product)
    if path is not None:
        with suppress(OSError):  # where it cannot be written, the choice holds for this process
            write_once(path, b"oneDNN" if faster else b"torch")
            return path.read_bytes() == b"oneDNN"
    return faster


def _is_faster(product: Product) -> bool:
    """Tell whether oneDNN computes a product in less time than torch."""

    def matrix(rows: int, columns: int, transposed: bool) -> Tensor:
        shape = (columns, rows) if transposed else (rows, columns)
        made = torch.ones(shape, dtype=torch.float32, device="cpu")
        return made.t() if transposed else made

    x = matrix(product.rows, product.inputs, product.x_transposed)
    weight = matrix(product.outputs, product.inputs, product.weight_transposed)
    with torch.no_grad():
        theirs, ours = shortest_times(lambda: torch.mm(x, weight.t()), lambda: onednn_linear(x, weight, None))
    return ours < _MARGIN * theirs


def shortest_times(*functions: Callable[[], object]) -> list[float]:
    """Return the shortest time of each function, in seconds, over rounds in which they take turns."""
    for function in functions:
        function()
    times = [float("inf")] * len(functions)
    for _ in range(_ROUNDS):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


@cache
def _machine() -> str:
    """Return a name of what the times depend on besides the product: the processor, the libraries, their settings."""
    lines = [torch.__config__.show(), platform.machine(), platform.processor()]
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:  # Linux
        first = file.read().partition("\n\n")[0].splitlines()
        lines += [line for line in first if line.startswith(("model name", "flags"))]
    settings = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
    lines += [f"{name}={os.environ.get(name)}" for name in settings]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _is_transposed(x: Tensor) -> bool:
    return not x.is_contiguous() and x.mT.is_contiguous()


def _dense(x: Tensor) -> Tensor:
    # On a slice of a wider matrix, oneDNN would be a thousand times slower.
    return x if x.is_contiguous() or x.mT.is_contiguous() else x.contiguous()
