"""Loss and gradients of any Pyro ELBO as a function of tensors, which can be recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, TraceEnum_ELBO
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae.objectives.base import Objective
from pyrovae.objectives.terms import collect_traces, sum_terms
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["loss_and_gradients", "without_python_values"]


def loss_and_gradients(
    elbo: ELBO, model: PyroFunction, guide: PyroFunction, arguments: Arguments
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the loss on a batch, reconstruction and KL, and gradients by parameter name.

    Args:
        elbo: the objective.
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: their arguments, x of shape ``(B, *data_shape)`` first.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> with without_python_values():
        ...     loss, terms, grads = loss_and_gradients(Trace_ELBO(), vae.model, vae.guide, (torch.ones(3, 4),))
        >>> bool(loss > 0), terms.shape, len(grads) == len(list(vae.parameters()))
        (True, torch.Size([2]), True)
    """
    loss = torch.zeros((), device=arguments[0].device)
    total: dict[str, Tensor] = {}
    params: dict[str, Tensor] = {}
    with poutine.trace(param_only=True) as capture, collect_traces(elbo) as traces:
        for value, surrogate in _particles(elbo, model, guide, arguments):
            loss = loss + value
            names: dict[Tensor, str] = {}
            # One name per tensor: a tensor with several names would be differentiated for each.
            for name, site in capture.trace.nodes.items():
                names.setdefault(site["value"].unconstrained(), name)
            params = {name: param for param, name in names.items()}
            # Particle by particle as in Pyro, so that sums have the same rounding.
            grads = torch.autograd.grad(surrogate, list(params.values()), allow_unused=True)
            for name, grad in zip(params, grads, strict=True):
                if grad is not None:
                    total[name] = total[name] + grad if name in total else grad
    return loss, sum_terms(traces, elbo.num_particles), _as_backward_leaves(total, params)


def _as_backward_leaves(grads: dict[str, Tensor], params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy gradients that share memory or differ in layout from their parameter; fused optimizers do not check this."""
    seen = set()
    for name, grad in grads.items():
        storage = grad.untyped_storage()._cdata
        if grad.stride() != params[name].stride() or storage in seen:
            grads[name] = torch.empty_like(params[name]).copy_(grad)
        seen.add(storage)
    return grads


@contextmanager
def without_python_values() -> Iterator[None]:
    """Prevent Pyro from reading values of tensors, which do not exist in a recording."""
    with pyro.validation_enabled(False), _ItemsStayTensors():
        yield


def _particles(
    elbo: ELBO, model: PyroFunction, guide: PyroFunction, arguments: Arguments
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield value and surrogate of each term of the loss, as the ELBO itself computes them."""
    if isinstance(elbo, Objective):
        yield elbo.losses(model, guide, arguments)
        return
    for pair in elbo._get_traces(model, guide, arguments, {}):
        if isinstance(elbo, TraceEnum_ELBO):
            with _MasksAreFull():
                value = surrogate = -_compute_dice_elbo(*pair)
        else:
            value, surrogate = elbo._differentiable_loss_particle(*pair)
        yield value / elbo.num_particles, surrogate / elbo.num_particles


class _ItemsStayTensors(TorchFunctionMode):
    """A mode in which ``Tensor.item`` returns the detached tensor: Pyro reads losses as numbers, a graph has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.item:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


class _MasksAreFull(TorchFunctionMode):
    """A mode in which every tensor is true, where Pyro asks whether to skip enumerated values of probability 0."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__bool__:
            return True
        return func(*args, **(kwargs or {}))
