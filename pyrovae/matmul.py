"""Precision and library of the matrix products of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyrovae import checks
from pyrovae.linear_kernels import has_onednn, onednn_linear, prefers_onednn

__all__ = ["Precision", "fast_matmul", "full_precision", "is_fast_matmul", "precision", "without_onednn"]

Precision: TypeAlias = Literal["float32", "tf32", "bfloat16"]
"""Type to which the factors of a network's matrix products are rounded."""

_MIN_MULTIPLICATIONS = 2**20  # multiplications of a convolution, below which the overhead exceeds the gain
_LAYERS = {F.linear, F.conv1d, F.conv2d, F.conv3d}
_LAYERS |= {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
_MATMUL = {torch.matmul, Tensor.matmul, Tensor.__matmul__}
_rounded: ContextVar[bool] = ContextVar("rounded", default=False)
_fast: ContextVar[bool] = ContextVar("fast", default=False)


@contextmanager
def precision(name: Precision, device: torch.device) -> Iterator[None]:
    """Compute the products of linear and convolutional layers in a given precision.

    torch's settings are restored at the end.

    Nothing else is affected: inputs and outputs of layers stay float32, and densities are computed in float32.
    Layers of float64 are not affected either.

    Args:
        name: ``float32``, also for convolutions on a GPU, where torch's own default is ``tf32``; ``tf32``, on devices
            that support it (factors have a mantissa of 10 bits, and the range of float32); ``bfloat16`` (a mantissa of
            7 bits, for the output of a layer too).
        device: device of the computation.

    Raises:
        ValueError: if it is none of these.

    Example:
        >>> layer, x = torch.nn.Linear(300, 4), torch.randn(2, 300)
        >>> with precision("bfloat16", x.device):
        ...     y = layer(x)
        >>> y.dtype, torch.equal(y, layer(x)), torch.allclose(y, layer(x), atol=0.1)
        (torch.float32, False, True)
    """
    checks.choice("precision", name, get_args(Precision))
    with ExitStack() as stack:
        if name == "bfloat16":
            stack.enter_context(_set(_rounded, True))
            stack.enter_context(_Bfloat16Layers())
        if device.type == "cuda":
            stack.enter_context(_tf32(name == "tf32"))
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute products in float32 inside this context, even within :func:`precision`.

    Example:
        >>> layer, x = torch.nn.Linear(300, 4), torch.randn(2, 300)
        >>> with precision("bfloat16", x.device), full_precision():
        ...     y = layer(x)
        >>> torch.equal(y, layer(x))
        True
    """
    with _set(_rounded, False), _tf32(False):
        yield


@contextmanager
def without_onednn() -> Iterator[None]:
    """Compute by torch's own kernels inside this context: oneDNN chooses some of its kernels by their time.

    Example:
        >>> with without_onednn():
        ...     torch.backends.mkldnn.enabled
        False
    """
    before = torch._C._get_mkldnn_enabled()  # mkldnn.flags sets more, and not the same in all versions of torch
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Compute float32 layers on the CPU by faster kernels: linear layers, transposed convolutions, tanh.

    A linear layer is computed by oneDNN if that is faster for its shape on this machine, see
    :mod:`pyrovae.linear_kernels`. Transposed convolutions take a quarter of torch's time: with channels last in memory;
    as one matrix product if the image is a single pixel; or by another kernel if there is one output channel. Values
    and gradients are equal up to rounding; tanh is computed by another formula and differs by up to 2e-7. Everything
    else is unchanged, as is everything if torch was built without oneDNN.

    Example:
        >>> layer, x = torch.nn.Linear(300, 400), torch.randn(100, 300)
        >>> with fast_matmul():
        ...     y = layer(x)
        >>> torch.allclose(y, layer(x), atol=1e-5)
        True
    """
    with nullcontext() if _fast.get() else _FastKernels(), _set(_fast, True):
        yield


def is_fast_matmul(x: Tensor) -> bool:
    """Tell whether operations on ``x`` may use faster formulas: within :func:`fast_matmul`, and in full precision.

    Args:
        x: a tensor on the device in question.

    Example:
        >>> with fast_matmul():
        ...     is_fast_matmul(torch.ones(3))
        True
    """
    return _fast.get() and not _rounded.get() and _is_eager(x)


def _is_eager(x: Tensor) -> bool:
    """Tell whether operations on a tensor run as they are: not cast, transformed by functorch, or recorded."""
    return (
        not torch.is_autocast_enabled(x.device.type)
        and not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
    )


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def _set(flag: ContextVar[bool], value: bool) -> Iterator[None]:
    before = flag.set(value)
    try:
        yield
    finally:
        flag.reset(before)


class _Bfloat16Layers(TorchFunctionMode):
    """Round the inputs and weights of float32 layers to bfloat16; their output is float32 again."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _LAYERS or not _rounded.get():
            return func(*args, **kwargs)
        given = kwargs.get("input", args[0] if args else None)
        if not isinstance(given, Tensor) or given.dtype != torch.float32:
            return func(*args, **kwargs)
        return func(*map(_round, args), **{name: _round(part) for name, part in kwargs.items()}).float()


def _round(part: Any) -> Any:
    return part.bfloat16() if isinstance(part, Tensor) and part.dtype == torch.float32 else part


class _FastKernels(TorchFunctionMode):
    """Replace linear layers, products with matrices, transposed convolutions and tanh by faster kernels."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_for_linear(*args):
            return _Linear.apply(args[0], args[1], args[2] if len(args) > 2 else None)
        if func in _MATMUL and not kwargs and _is_matrix(args[1]) and _is_for_linear(args[0], args[1].t()):
            return _Linear.apply(args[0], args[1].t(), None)
        if func is F.conv_transpose2d and not kwargs and len(args) == 8 and _is_for_image(*args):
            return _transposed(*args)
        if (func is torch.tanh or func is Tensor.tanh) and not kwargs and _is_plain(*args):
            return _Tanh.apply(*args)
        return func(*args, **(kwargs or {}))


def _is_for_linear(x: Any, weight: Any, bias: Any = None) -> bool:
    return bool(
        _is_plain(x)
        and _is_plain(weight)
        and (bias is None or _is_plain(bias))
        and weight.dim() == 2
        and x.dim() > 1
        and x.shape[-1] == weight.shape[1]  # else torch raises its own error
        and (bias is None or bias.shape == weight.shape[:1])
        and not _rounded.get()
        and prefers_onednn(x, weight)
    )


def _is_matrix(weight: Any) -> bool:
    return _is_plain(weight) and weight.dim() == 2


def _is_for_image(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, out: Any, groups: int, by: Any) -> bool:
    return bool(
        _is_plain(x)
        and _is_plain(weight)
        and (bias is None or _is_plain(bias))
        and x.dim() == 4
        and x.shape[1] == weight.shape[0]  # else torch raises its own error
        and groups == 1
        and by == (1, 1)
        and x.numel() * weight[0].numel() >= _MIN_MULTIPLICATIONS
        and not _rounded.get()
        and has_onednn()
    )


def _is_plain(x: Any) -> bool:
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.layout == torch.strided
        and _is_eager(x)
    )


def _transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, out: Any, groups: int, by: Any
) -> Tensor:
    """Compute a transposed convolution of ``(N, C, H, W)`` with kernels ``(C, channels, *kernel)``."""
    channels, *kernel = weight.shape[1:]
    if x.shape[2:] == (1, 1) and padding == (0, 0) and out == (0, 0):
        rows = weight.permute(2, 3, 1, 0).reshape(-1, len(weight))  # (pixels * channels, C)
        biases = None if bias is None else bias.repeat(kernel[0] * kernel[1])
        return _Linear.apply(x.flatten(1), rows, biases).unflatten(1, (*kernel, channels)).permute(0, 3, 1, 2)
    if channels == 1:
        return torch.ops.aten.slow_conv_transpose2d(x.contiguous(), weight, kernel, bias, stride, padding, out, by)
    last = x.contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(last, weight, bias, stride, padding, out, groups, by)


class _Linear(torch.autograd.Function):
    """A linear layer whose output is computed by oneDNN, and its gradients where that is faster."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)  # (N, out)
        return (
            _product(gradient, weight.t()) if of_x else None,
            _product(rows.t(), x.flatten(0, -2).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return _Linear.apply(x, weight, None) if prefers_onednn(x, weight) else F.linear(x, weight)


class _Tanh(torch.autograd.Function):
    r"""tanh as :math:`2 \sigma(2 x) - 1`, for which torch has a faster kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = (2 * x).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, y)
