"""Log-factorials and differences of log-gamma functions, accurate for large arguments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["log_factorial", "log_gamma_difference", "log_gamma_half_step"]

_RAISED = 8  # added to the argument, so that the series is accurate to float64
# Coefficients of the odd inverse powers in Stirling's series, B_2k / 2k(2k - 1).
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def log_factorial(x: Tensor) -> Tensor:
    r"""Return :math:`\log x! = \log \Gamma(x + 1)` in double precision.

    By Stirling's series at :math:`x + 9` (DLMF 5.11.1) and the recurrence from there down (DLMF 5.5.1), which is faster
    than ``torch.lgamma``.

    Args:
        x: not negative, ``(*)``, float64.

    Example:
        >>> log_factorial(torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)).exp()
        tensor([  1.0000,   1.0000, 120.0000], dtype=torch.float64)
    """
    return _LogFactorial.apply(x)


def log_gamma_difference(z: Tensor, x: Tensor) -> Tensor:
    r"""Return :math:`\log \Gamma(z + x) - \log \Gamma(z)`, differentiable, in double precision.

    At the larger argument :math:`w = z + 8`, the difference of two Stirling series (DLMF 5.11.1) is
    :math:`(w + x - \tfrac12) \log(1 + x / w) + x \log w - x + s(w + x) - s(w)`, in which terms that are large for large
    z are subtracted in closed form. The recurrence (DLMF 5.5.1) leads from w down to z.

    Args:
        z: positive, ``(*)``, float64.
        x: not negative, of a shape that broadcasts with it, float64.

    Example:
        >>> z = torch.tensor([0.5, 1e12], dtype=torch.float64)
        >>> log_gamma_difference(z, torch.tensor(2.0, dtype=torch.float64)), (z * (z + 1)).log()
        (tensor([-0.2877, 55.2620], dtype=torch.float64), tensor([-0.2877, 55.2620], dtype=torch.float64))
    """
    return _LogGammaDifference.apply(z, x)


def log_gamma_half_step(z: float) -> float:
    r"""Return :math:`\log \Gamma(z + \tfrac12) - \log \Gamma(z) - \tfrac12 \log z`, which vanishes as z grows.

    By its asymptotic series (DLMF 5.11.13) where z is large.

    Args:
        z: positive.

    Example:
        >>> round(log_gamma_half_step(0.5), 6), log_gamma_half_step(1e9)
        (-0.225791, -1.25e-10)
    """
    if z > 1000:
        return (-1 / 8 + 1 / (192 * z * z)) / z
    return math.lgamma(z + 0.5) - math.lgamma(z) - 0.5 * math.log(z)


class _LogFactorial(torch.autograd.Function):
    """The log-factorial; only the argument is kept for the gradient, to save memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        w = x + (1 + _RAISED)
        total = w.log().sub_(1).mul_(w - 0.5).add_(0.5 * math.log(2 * math.pi) - 0.5)
        return total.add_(_stirling(w)).sub_(_rising(x + 1).log_())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * torch.digamma(x + 1)


class _LogGammaDifference(torch.autograd.Function):
    """The difference of log-gamma functions; only the arguments are kept for the gradient, to save memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, x: Tensor) -> Tensor:
        w, y = z + _RAISED, z + x
        total = (x / w).log1p_().mul_(y + (_RAISED - 0.5)).add_(x * (w.log() - 1))
        total.add_(_stirling(y + _RAISED)).sub_(_stirling(w))
        return total.sub_(_rising(y).div_(_rising(z)).log_())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, x = ctx.saved_tensors
        slope = torch.digamma(z + x)
        of_z = (gradient * (slope - torch.digamma(z))).sum_to_size(z.shape) if ctx.needs_input_grad[0] else None
        of_x = (gradient * slope).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None
        return of_z, of_x


# In place where possible, to save memory.


def _stirling(w: Tensor) -> Tensor:
    """Return the series in inverse powers of Stirling's approximation."""
    inverse = w.reciprocal()
    square = inverse.square()
    total = square * _SERIES[-1]
    for coefficient in _SERIES[-2:0:-1]:
        total.add_(coefficient).mul_(square)
    return total.add_(_SERIES[0]).mul_(inverse)


def _rising(z: Tensor) -> Tensor:
    """Return z (z + 1) ... (z + 7), by pairs with the same sum."""
    a = (z + 7).mul_(z)
    product = (a + 6).mul_(a)
    return product.mul_(a.add_(10)).mul_(a.add_(2))
