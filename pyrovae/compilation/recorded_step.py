"""A training step recorded for batches of one shape: replay, compilation, and the optimizer's update in the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyrovae.compilation.agreement import StepResults
from pyrovae.compilation.functional import loss_and_gradients, without_python_values
from pyrovae.compilation.graph_capture import Recording
from pyrovae.compilation.program_state import weight_decays
from pyrovae.optimizers import FunctionalAdam, JointOptimizer
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["ROUNDING", "RecordedStep", "first_line", "restoring"]

ROUNDING = 0.01
"""Allowed difference of compiled gradients, as a share of the norm of all; far larger than rounding in float32."""

_UPDATE_ROUNDING = 1e-3  # allowed difference of updates from the same gradients, as a share of their norm


class RecordedStep:
    """A recorded training step: loss, ELBO terms and gradients for batches of the recorded shape.

    Args:
        elbo: the objective.
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: their arguments, x of shape ``(B, *data_shape)`` first.
        modules: the programs' modules.
        optimizer: optimizer whose update a compiled step makes, if it can be recorded.

    Attributes:
        names: names of the parameters that have a gradient, in the order of the gradients.
        params: these parameters.
        updates: True if the compiled step updates the parameters.

    Raises:
        Exception: any error of torch or Pyro, if the step cannot be recorded.
    """

    def __init__(
        self,
        elbo: ELBO,
        model: PyroFunction,
        guide: PyroFunction,
        arguments: Arguments,
        modules: Sequence[nn.Module],
        optimizer: JointOptimizer | None = None,
    ) -> None:
        self.names: list[str] = []
        self.updates = False
        self._program = elbo, model, guide
        self._buffers = [buffer for module in modules for buffer in module.buffers()]
        self._decays = dict(weight_decays(modules))
        self._optimizer = optimizer
        self._update: FunctionalAdam | None = None
        with restoring(arguments[0].device, self._buffers):
            self._recording = Recording(self._step, arguments)
        store = pyro.get_param_store()
        self.params = [store[name].unconstrained() for name in self.names]
        self._learned = [(param, param.requires_grad) for module in modules for param in module.parameters()]
        self._moments: list[Tensor] = []

    def __call__(self, *arguments: Tensor, compiled: bool = False) -> tuple[Tensor, ...]:
        """Return loss, terms and gradients; a compiled step may also update the parameters, if the loss is finite.

        Args:
            arguments: arguments with the recorded shapes.
            compiled: True to run the compiled step, if there is one.
        """
        if not (compiled and self.updates):
            return self._recording(*arguments, compiled=compiled)
        assert self._update is not None
        self._update.read_options()
        return self._recording(*arguments, compiled=True)

    @property
    def is_compiled(self) -> bool:
        """True if the step was compiled."""
        return self._recording.is_compiled

    @property
    def is_current(self) -> bool:
        """True if the recorded tensors are still in use: parameters, their ``requires_grad``, and Adam's moments."""
        store = pyro.get_param_store()
        now = [store[name].unconstrained() if name in store else None for name in self.names]
        moments = self._update.moments(self.params) if self.updates and self._update is not None else []
        return (
            all(a is b for a, b in zip(now, self.params, strict=True))
            and all(param.requires_grad == learned for param, learned in self._learned)
            and len(moments) == len(self._moments)
            and all(a is b for a, b in zip(moments, self._moments, strict=True))
        )

    def count_update(self) -> None:
        """Count the update that the last call made, in the optimizer."""
        assert self._optimizer is not None
        self._optimizer.count_update(self.params)

    def results(self, *arguments: Tensor, compiled: bool = False) -> StepResults:
        """Return the results of a call, and restore everything that it changed."""
        with self._restoring(arguments[0].device):
            loss, terms, *grads = self(*arguments, compiled=compiled)
            buffers = [buffer.clone() for buffer in self._buffers]
            return StepResults(loss.item(), terms.clone(), [grad.clone() for grad in grads], buffers)

    def compile(self, *arguments: Tensor) -> str | None:
        """Compile the step by Inductor, with the update if possible; return why it cannot be used, or None."""
        if self._optimizer is not None and arguments[0].device.type == "cpu":
            self._update = self._optimizer.functional_update(self.params)
        self.updates = self._update is not None
        reason = self._try_compile(*arguments)
        if reason is not None and self.updates:
            self.updates = False
            reason = self._try_compile(*arguments)
        self._moments = self._update.moments(self.params) if self.updates and self._update is not None else []
        return reason

    def _try_compile(self, *arguments: Tensor) -> str | None:
        try:
            with self._restoring(arguments[0].device):
                if self.updates:
                    assert self._update is not None
                    self._update.read_options()
                    self._recording.compile(*arguments, instead=self._updating_step)
                else:
                    self._recording.compile(*arguments)
            expected, found = (self.results(*arguments, compiled=compiled) for compiled in (False, True))
            if expected.agree_with(found, ROUNDING) and (
                not self.updates or self._updates_as_the_optimizer(*arguments)
            ):
                return None
            reason = "Inductor's step does not repeat the recorded one from the same noise"
        except Exception as error:
            reason = f"Inductor cannot compile the step ({first_line(error)})"
        self._recording.forget()
        return reason

    def capture(self, *arguments: Tensor) -> None:
        """Capture the kernels on a GPU as a CUDA graph."""
        with self._restoring(arguments[0].device):
            self._recording.capture(*arguments)

    def _step(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        with without_python_values():
            loss, terms, grads = loss_and_gradients(*self._program, arguments)
        self.names[:] = grads
        return loss, terms, *grads.values()

    def _updating_step(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        loss, terms, *grads = self._step(*arguments)
        assert self._update is not None
        self._update(dict(zip(self.params, self._decayed(grads, len(arguments[0])), strict=True)), loss.isfinite())
        return loss, terms, *grads

    def _decayed(self, grads: Sequence[Tensor], size: int) -> list[Tensor]:
        return [
            grad + self._decays[param] * size * param.detach() if param in self._decays else grad
            for param, grad in zip(self.params, grads, strict=True)
        ]

    def _updates_as_the_optimizer(self, *arguments: Tensor) -> bool:
        """Tell whether a compiled step updates the parameters as the optimizer does with the same gradients."""
        assert self._optimizer is not None
        before = [param.detach().clone() for param in self.params]
        with self._restoring(arguments[0].device):
            _, _, *grads = self(*arguments, compiled=True)
            ours = [param.detach().clone() for param in self.params]
        held = [param.grad for param in self.params]
        try:
            with self._restoring(arguments[0].device):
                for param, grad in zip(self.params, self._decayed(grads, len(arguments[0])), strict=True):
                    param.grad = grad
                self._optimizer.optimizer.step()
                theirs = [param.detach().clone() for param in self.params]
        finally:
            for param, before_it in zip(self.params, held, strict=True):
                param.grad = before_it
        difference, moved, size = (
            math.sqrt(sum((a - b).double().square().sum().item() for a, b in zip(first, second, strict=True)))
            for first, second in ((ours, theirs), (theirs, before), (before, [torch.zeros(())] * len(before)))
        )
        return difference <= _UPDATE_ROUNDING * moved + 1e-6 * size

    @contextmanager
    def _restoring(self, device: torch.device) -> Iterator[None]:
        with restoring(device, self._buffers + (self._update.tensors() if self._update is not None else [])):
            yield


@contextmanager
def restoring(device: torch.device, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore generators and tensors at the end of this context."""
    before = [(tensor, tensor.clone()) for tensor in tensors]
    try:
        with forked_rng(device):
            yield
    finally:
        for tensor, value in before:
            tensor.copy_(value)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
