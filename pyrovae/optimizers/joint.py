"""Pyro optimizer that drives one torch optimizer and scheduler for all parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyrovae import checks, distributed
from pyrovae.optimizers.functional_adam import FunctionalAdam

__all__ = ["JointOptimizer", "OptimizerFactory", "SchedulerFactory"]

OptimizerFactory: TypeAlias = Callable[[Iterable[Tensor]], Optimizer]
SchedulerFactory: TypeAlias = Callable[[Optimizer], LRScheduler]


class JointOptimizer(PyroOptim):
    """One torch optimizer for all parameters; Pyro's own optimizers make one per parameter.

    The optimizer is fused where possible. Gradients are clipped by their global norm and set to None after the step.
    Parameters that appear later are added. While ``accumulating`` is true, gradients are kept and added to those of
    the next call. If ``found_inf`` is a tensor with the value 1, nothing is updated, without waiting for the device.
    With several processes, gradients are summed over all of them, and an error of one (``failure``) is raised in all.

    Args:
        optimizer: makes the torch optimizer from a list of parameters, such as the class itself.
        scheduler: makes the learning-rate scheduler from the optimizer; it steps once per epoch.
        max_norm: largest global norm of the gradients, or None.

    Raises:
        ValueError: if torch refuses the options.

    Example:
        >>> from functools import partial
        >>> optim = JointOptimizer(partial(torch.optim.AdamW, lr=1e-3), max_norm=5.0)
    """

    def __init__(
        self,
        optimizer: OptimizerFactory = torch.optim.Adam,
        scheduler: SchedulerFactory | None = None,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(torch.optim.Adam, {})  # Pyro's own optimizers are never used
        self.max_norm = None if max_norm is None else checks.number("max_norm", max_norm, open_below=True)
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._pending: dict[str, Any] | None = None
        self._params: dict[Tensor, None] = {}
        self.failure: Exception | None = None
        self.accumulating = False
        self.found_inf: Tensor | None = None
        self._accumulated: dict[Tensor, Tensor] = {}
        self._functional: FunctionalAdam | None = None
        self.is_updated = False
        self._check_options()

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Make one step on ``params`` by their gradients, and clear these."""
        if self.is_updated:
            self.is_updated = False
            return
        if self._functional is not None:
            self._functional.flush()
        params = list(params)
        if self.accumulating:
            self._accumulate(params)
            return
        for param, grad in self._accumulated.items():
            param.grad = grad if param.grad is None else grad.add_(param.grad)
        params = list(dict.fromkeys([*params, *self._accumulated]))
        self._accumulated = {}
        if distributed.count() > 1:
            self._sum_over_processes([param for param in params if param not in self._params])
        else:
            self.add(params)
        if self.max_norm is not None:
            norm = nn.utils.clip_grad_norm_(self._params, self.max_norm)
            if self.found_inf is not None:
                torch.maximum(self.found_inf, (~norm.isfinite()).to(torch.float32), out=self.found_inf)
            elif not bool(norm.isfinite()):
                raise FloatingPointError(f"finite, but the norm of its gradients is {norm.item()}")
        if self.found_inf is None:
            self.optimizer.step()
        elif all(group.get("fused") for group in self.optimizer.param_groups):
            self.optimizer.found_inf = self.found_inf  # type: ignore[attr-defined] # as gradient scalers do
            self.optimizer.step()
        elif not bool(self.found_inf):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def add(self, params: Iterable[Tensor]) -> None:
        """Add parameters that are new, and load a state that waits for them, as the next step would do.

        With several processes nothing is added, since these must agree first.

        Args:
            params: all parameters of a step.
        """
        new = [param for param in params if param not in self._params]
        if new and distributed.count() == 1:
            self._add(new)

    def functional_update(self, params: Collection[Tensor]) -> FunctionalAdam | None:
        """Return the update as an object for a compiled graph; None if it is more than Adam's, or there are processes.

        Args:
            params: parameters that the graph updates.
        """
        alone = self.max_norm is None and self.found_inf is None and distributed.count() == 1
        if not alone or not FunctionalAdam.supports(self.optimizer, params):
            return None
        if self._functional is None:
            self._functional = FunctionalAdam(self.optimizer)
        self._functional.flush()
        return self._functional if self._functional.has_parameters(params) else None

    def count_update(self, params: Iterable[Tensor]) -> None:
        """Count an update that a graph has made by :meth:`functional_update`; the next call then does nothing."""
        assert self._functional is not None
        self._functional.count_step(params)
        self.is_updated = True

    @property
    def has_state(self) -> bool:
        """True if the optimizer keeps something of earlier steps, such as Adam's moments, or waits to load it."""
        if self._pending is None:
            return bool(self.optimizer.state)
        waiting = self._pending.get("optimizer")  # of a damaged file, this may be anything
        return isinstance(waiting, dict) and bool(waiting.get("state"))

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def end_epoch(self, loss: float) -> None:
        """Step the scheduler; ``ReduceLROnPlateau`` receives ``loss``."""
        try:
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(loss)
            elif self.scheduler is not None:
                self.scheduler.step()
        except (TypeError, ValueError, ArithmeticError) as error:
            raise checks.InputError(f"scheduler cannot step with these options: {checks.reason(error)}") from error

    def get_state(self) -> dict[str, Any]:
        """Return the state of optimizer and scheduler: tensors, numbers and strings only."""
        if self._pending is not None:
            return self._pending
        if self._functional is not None:
            self._functional.flush()
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scheduler": scheduler}

    def set_state(self, state_dict: dict[str, Any]) -> None:
        """Set the state; it is loaded at the first step, when the parameters are known."""
        self._pending = state_dict

    def _check_options(self) -> None:
        """Make optimizer and scheduler for a dummy parameter and let them step, so that bad options are refused now."""
        dummy: list[Tensor] = [nn.Parameter(torch.zeros(()))]
        self.optimizer, self.scheduler = self._make(dummy)
        if self.scheduler is not None:
            self.optimizer.step()
            self.end_epoch(0.0)
            self.optimizer, self.scheduler = self._make(dummy)

    def _accumulate(self, params: list[Tensor]) -> None:
        for param in params:
            if param.grad is not None:
                # Cloned, because the next step may write into the same tensor.
                self._accumulated[param] = (
                    self._accumulated[param].add_(param.grad) if param in self._accumulated else param.grad.clone()
                )
                param.grad = None

    def _sum_over_processes(self, new: list[Tensor]) -> None:
        """Sum the gradients over all processes, after the exchange of new parameters and errors."""
        has_news = bool(new) or self.failure is not None
        if self._params and distributed.sum_gradients(list(self._params), hold=has_news):
            return
        distributed.raise_everywhere(self.failure)
        store = pyro.get_param_store()
        names = {name for own in distributed.all_gather({store.param_name(param) for param in new}) for name in own}
        missing = next((name for name in sorted(names) if name not in store), None)
        sentence = f"programs must make the same parameters in all processes, but only some have made {missing!r}"
        distributed.raise_everywhere(None if missing is None else checks.InputError(sentence))
        self._add([store[name].unconstrained() for name in names])
        distributed.sum_gradients(list(self._params))

    def _add(self, new: list[Tensor]) -> None:
        # Pyro passes a set; sorted by name, the order is the same in every process.
        store = pyro.get_param_store()
        new = sorted(new, key=lambda param: store.param_name(param) or "")
        if self._params:
            self.optimizer.add_param_group({"params": new})
            _fuse(self.optimizer)
        else:
            self.optimizer, self.scheduler = self._make(new)
        self._params |= dict.fromkeys(new)
        if self._pending is not None:
            try:
                self.optimizer.load_state_dict(self._pending["optimizer"])
                if self.scheduler is not None and self._pending["scheduler"] is not None:
                    self.scheduler.load_state_dict(self._pending["scheduler"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise checks.InputError(
                    f"state must come from the same optimizer, but cannot be loaded: {checks.reason(error)}"
                ) from error
            self._pending = None

    def _make(self, params: list[Tensor]) -> tuple[Optimizer, LRScheduler | None]:
        try:
            optimizer = self._make_optimizer(params)
        except (AssertionError, TypeError, ValueError) as error:
            raise checks.InputError(f"optimizer cannot be made: {checks.reason(error)}") from error
        if not isinstance(optimizer, Optimizer):
            raise checks.InputError(
                "optimizer must make one of torch's, as torch.optim.Adam does, "
                f"but a {type(self._make_optimizer).__name__} was given"
            )
        if isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
            raise checks.InputError(
                "optimizer must take dense gradients and step without a closure, "
                f"but {type(optimizer).__name__} was given"
            )
        for group in optimizer.param_groups:
            checks.number("optimizer's lr", float(group["lr"]))
        _fuse(optimizer)
        if self._make_scheduler is None:
            return optimizer, None
        try:
            return optimizer, self._make_scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise checks.InputError(f"scheduler cannot be made: {checks.reason(error)}") from error


def _fuse(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        left_open = group.get("fused", False) is None and not group.get("foreach") and not group.get("differentiable")
        if left_open and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in group["params"]):
            group["fused"] = True
