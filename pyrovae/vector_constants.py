"""Constants of torch's vector functions, loaded before the functions are used."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["load_vector_constants"]


@cache
def load_vector_constants() -> None:
    """Make float32 log1p, expm1, softplus, log-sigmoid and logaddexp as fast as they can be with AVX-512.

    These functions read a constant by a masked load, and only for an input of -0. Until the first such input, the page
    of memory that has the constant may be absent, and every masked load then takes the processor's slow path: log1p
    takes 8.4 ns a number instead of 0.8 (AMD EPYC, family 25, model 17, torch 2.14.1). One input of -0 loads the page
    for the whole process. No result changes.

    Example:
        >>> load_vector_constants()
    """
    torch.full((64,), -0.0, dtype=torch.float32, device="cpu").log1p()
