"""The update of Adam and AdamW in plain torch operations, for use in a compiled graph."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

__all__ = ["FunctionalAdam"]


class FunctionalAdam:
    r"""The update of a torch Adam or AdamW, on its own state; everything that changes between steps is in tensors.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \cdot \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    (Kingma & Ba, 2015, arXiv:1412.6980; Loshchilov & Hutter, 2019, arXiv:1711.05101). The rates and the numbers of
    steps are read from the optimizer by :meth:`read_options`. Steps made here are counted by :meth:`count_step` and
    written to the optimizer by :meth:`flush`.

    Args:
        optimizer: an optimizer that :meth:`supports` accepts.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> adam = torch.optim.Adam([weight], lr=0.25)
        >>> weight.grad = torch.ones(2)
        >>> adam.step()
        >>> update = FunctionalAdam(adam)
        >>> update.read_options()
        >>> update({weight: torch.ones(2)}, torch.tensor(True))
        >>> update.count_step([weight])
        >>> weight.detach().allclose(torch.tensor(0.5))
        True
    """

    def __init__(self, optimizer: Adam | AdamW) -> None:
        self._optimizer = optimizer
        self._rows = {param: i for i, param in enumerate(_params(optimizer))}
        self._numbers = torch.zeros(len(self._rows), 7)
        self._steps: list[int] | None = None
        self._uncounted = [0] * len(self._rows)

    @staticmethod
    def supports(optimizer: Optimizer, params: Collection[Tensor]) -> TypeGuard[Adam | AdamW]:
        """Tell whether an optimizer's update of some parameters can be made here.

        It must be Adam or AdamW without hooks, and the parameters float32 on a CPU.

        Args:
            optimizer: any optimizer of torch.
            params: the parameters, which it must have updated before.
        """
        if type(optimizer) not in (Adam, AdamW) or _has_hooks(optimizer):
            return False
        known = all(
            not group["amsgrad"]
            and not group["maximize"]
            and not group.get("differentiable")
            and not isinstance(group["lr"], Tensor)
            for group in optimizer.param_groups
        )
        return known and all(
            param.dtype == torch.float32 and param.device.type == "cpu" and "exp_avg" in optimizer.state.get(param, {})
            for param in params
        )

    def has_parameters(self, params: Iterable[Tensor]) -> bool:
        """Tell whether the optimizer had these parameters when this object was made."""
        return all(param in self._rows for param in params)

    def __call__(self, grads: Mapping[Tensor, Tensor], is_finite: Tensor) -> None:
        """Update parameters, in operations that can be recorded.

        Args:
            grads: gradient of each parameter to update.
            is_finite: bool, a scalar; if false, nothing changes.
        """
        with torch.no_grad():
            for param, grad in grads.items():
                rate, root, fresh, fresh_squared, eps, kept, decay = self._numbers[self._rows[param]].unbind()
                weight, state = param.detach(), self._optimizer.state[param]
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                slope = grad + decay * weight
                new_mean = torch.lerp(mean, slope, fresh)
                new_square = torch.lerp(square, slope * slope, fresh_squared)
                new = kept * weight - rate * (new_mean / (new_square.sqrt() * root + eps))
                for old, value in ((weight, new), (mean, new_mean), (square, new_square)):
                    old.copy_(torch.where(is_finite, value, old))

    def read_options(self) -> None:
        """Read the optimizer's options and numbers of steps for the next update."""
        if self._steps is None:
            self._steps = [int(self._state(param).get("step", 0)) for param in self._rows]
        table = self._numbers.numpy()  # shares the memory, and is faster to write to
        start = 0
        for group in self._optimizer.param_groups:
            count = sum(param in self._rows for param in group["params"])  # some may have been added later
            steps = self._steps[start : start + count]
            rows = {t: self._row(group, t + 1) for t in steps}
            if len(rows) == 1:
                table[start : start + count] = rows[steps[0]]
            elif rows:
                table[start : start + count] = [rows[t] for t in steps]
            start += count

    def _row(self, group: dict[str, Any], t: int) -> list[float]:
        beta1, beta2 = group["betas"]
        rate, decay = float(group["lr"]), float(group["weight_decay"])
        decoupled = isinstance(self._optimizer, AdamW) or group.get("decoupled_weight_decay", False)
        return [
            rate / (1 - beta1**t),
            1 / math.sqrt(1 - beta2**t),
            1 - beta1,
            1 - beta2,
            group["eps"],
            1 - rate * decay if decoupled else 1.0,
            0.0 if decoupled else decay,
        ]

    def count_step(self, params: Iterable[Tensor]) -> None:
        """Count a step that was made on some parameters."""
        assert self._steps is not None
        for param in params:
            self._steps[self._rows[param]] += 1
            self._uncounted[self._rows[param]] += 1

    def flush(self) -> None:
        """Add the counted steps to the optimizer's state, so that it may make the next step itself."""
        for param, row in self._rows.items():
            if self._uncounted[row] and "step" in (state := self._state(param)):  # unless the state was cleared
                state["step"] += self._uncounted[row]
            self._uncounted[row] = 0
        self._steps = None

    def moments(self, params: Iterable[Tensor]) -> list[Tensor]:
        """List the optimizer's means and mean squares of some parameters; a graph refers to these very tensors."""
        states = [state for param in params if (state := self._state(param))]
        return [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]

    def tensors(self) -> list[Tensor]:
        """List the tensors that an update changes: parameters, the optimizer's moments and numbers of steps."""
        learned = [param for param in self._rows if self._state(param)]
        counts = [self._optimizer.state[param]["step"] for param in learned]
        return [*(param.detach() for param in learned), *self.moments(learned), *counts]

    def _state(self, param: Tensor) -> dict[str, Any]:
        return self._optimizer.state.get(param, {})  # indexing would create a state


def _has_hooks(optimizer: Optimizer) -> bool:
    own = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    return any((*own, _global_optimizer_pre_hooks, _global_optimizer_post_hooks))


def _params(optimizer: Optimizer) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]
