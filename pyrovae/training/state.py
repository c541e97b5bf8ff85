"""What training changes, to go on from it exactly."""

from __future__ import annotations

import copy
import random
from typing import Any, TypeAlias

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.handlers import Program, modules_of
from pyrovae.optimizers import JointOptimizer
from pyrovae.training.history import Epoch, History

__all__ = ["State", "load_weights", "restore", "state_of", "weights_of"]

State: TypeAlias = dict[str, Any]
"""Everything that exact resuming needs: tensors, numbers and strings in dictionaries and lists."""


def weights_of(model: Program, guide: Program) -> dict[str, Tensor]:
    """Collect what training changes: the store's parameters, and the buffers of the programs' modules."""
    store = pyro.get_param_store()
    weights = {name: store[name].unconstrained().detach() for name in sorted(store.keys())}
    for i, module in enumerate(modules_of(model, guide)):
        weights |= {f"buffer {i} {name}": buffer for name, buffer in module.named_buffers()}
    return weights


def load_weights(weights: dict[str, Tensor], model: Program, guide: Program) -> None:
    """Put weights back that :func:`weights_of` collected.

    Raises:
        ValueError: if they are another program's.
    """
    own = weights_of(model, guide)
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise checks.InputError("state must come from the same programs, but its parameters differ from theirs")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def state_of(optim: JointOptimizer, history: History, model: Program, guide: Program, best: Any) -> State:
    """Collect weights, the best ones so far, the optimizer's state, the history and all generators."""
    kind, keys, *position = np.random.get_state(legacy=True)  # noqa: NPY002 - the state that programs may draw from
    return {
        "weights": {name: tensor.clone() for name, tensor in weights_of(model, guide).items()},
        "best": best,
        "optimizer": copy.deepcopy(optim.get_state()),
        "history": history.rows(),
        "rng": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
            "python": random.getstate(),
        },
    }


def restore(state: State, optim: JointOptimizer, history: History, model: Program, guide: Program) -> None:
    """Put a state back.

    Raises:
        ValueError: if it is no state, or another program's.
    """
    try:
        load_weights(state["weights"], model, guide)
        optim.set_state(state["optimizer"])
        history.epochs[:] = [Epoch(*row) for row in state["history"]]
        rng = state["rng"]
        torch.set_rng_state(rng["torch"].cpu())
        if rng["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([tensor.cpu() for tensor in rng["cuda"]])
        kind, keys, *position = rng["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002 - as above
        random.setstate(rng["python"])
    except checks.InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError) as error:
        raise checks.InputError(
            f"state must be what a callback of fit received, but is not: {checks.reason(error)}"
        ) from error
