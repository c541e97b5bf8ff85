"""What training changes, to go on from it exactly."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae import checks, distributed
from pyrovae.compilation import Compile
from pyrovae.optimizers import JointOptimizer
from pyrovae.programs import PyroFunction, modules_of
from pyrovae.training.history import Epoch, History

__all__ = [
    "State",
    "buffers_of",
    "compile_mode_of",
    "load_weights",
    "merge_buffers",
    "per_rank_rng",
    "restore",
    "state_of",
    "synchronize",
    "weights_of",
]

State: TypeAlias = dict[str, Any]
"""Everything that exact resuming needs: tensors, numbers and strings in dictionaries and lists."""


def weights_of(model: PyroFunction, guide: PyroFunction) -> dict[str, Tensor]:
    """Collect what training changes: the store's parameters, and the buffers of the programs' modules."""
    store = pyro.get_param_store()
    weights = {name: store[name].unconstrained().detach() for name in sorted(store.keys())}
    for i, module in enumerate(modules_of(model, guide)):
        weights |= {f"buffer {i} {name}": buffer for name, buffer in module.named_buffers()}
    return weights


def load_weights(weights: dict[str, Tensor], model: PyroFunction, guide: PyroFunction) -> None:
    """Put weights back that :func:`weights_of` collected.

    Raises:
        ValueError: if they are another program's.
    """
    own = weights_of(model, guide)
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise checks.InputError("state must come from the same programs, but its parameters differ from theirs")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def state_of(
    optim: JointOptimizer,
    history: History,
    model: PyroFunction,
    guide: PyroFunction,
    best: Any,
    compile: Compile,
) -> State:
    """Collect weights, the best ones so far, the optimizer's state, the history, generators, how steps are compiled."""
    return {
        "weights": {name: tensor.clone() for name, tensor in weights_of(model, guide).items()},
        "best": best,
        "optimizer": copy.deepcopy(optim.get_state()),
        "history": history.rows(),
        "compile": compile,
        "rng": _generators(),
    }


def restore(state: State, optim: JointOptimizer, history: History, model: PyroFunction, guide: PyroFunction) -> None:
    """Put a state back.

    Raises:
        ValueError: if it is no state, or another program's.
    """
    try:
        load_weights(state["weights"], model, guide)
        optim.set_state(state["optimizer"])
        history.epochs[:] = [Epoch(*row) for row in state["history"]]
        _set_generators(state["rng"])
    except checks.InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError) as error:
        raise checks.InputError(
            f"state must be what a callback of fit received, but is not: {checks.reason(error)}"
        ) from error


def compile_mode_of(state: State) -> Compile:
    """Tell how the steps were compiled that led to a state: those that follow from it are the same only if they are."""
    return state.get("compile", "graph") if isinstance(state, dict) else "graph"  # an older state says nothing


def synchronize(model: PyroFunction, guide: PyroFunction, arguments: dict[str, object]) -> None:
    """Let all processes begin with the weights and the generators of the first.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: numbers and words that must be the same in all, by their names.

    Raises:
        ValueError: in all of them, if these differ, or if they do not have the same programs.
    """
    if distributed.count() == 1:
        return
    given = distributed.all_gather(arguments)
    for name in arguments:
        values = list(dict.fromkeys(str(own[name]) for own in given))
        if len(values) > 1:
            raise checks.InputError(f"{name} must be the same in all processes, but {' and '.join(values)} were given")
    weights, rng = distributed.broadcast((distributed.on_cpu(weights_of(model, guide)), _generators()))
    with distributed.failing_together():
        try:
            load_weights(weights, model, guide)
        except checks.InputError:
            raise checks.InputError("programs must be the same in all processes, but their parameters differ") from None
    _set_generators(rng)


@contextmanager
def per_rank_rng() -> Iterator[torch.Generator | None]:
    """Give each of several processes noise of its own, and one generator for what they draw alike.

    Both follow from a single number that is drawn from torch's generator, which the processes have in common, and
    which is afterwards as it was left by that draw, as are the others. One process alone goes on with its own.
    """
    if distributed.count() == 1:
        yield None
        return
    number = distributed.broadcast(int(torch.randint(2**62, ())))  # its callback may have drawn, too
    common = _generators()
    seed = distributed.derive_seed(number, distributed.rank())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - programs may draw from it
    random.seed(seed)
    try:
        yield torch.Generator().manual_seed(number)
    finally:
        _set_generators(common)


def buffers_of(model: PyroFunction, guide: PyroFunction) -> dict[str, Tensor]:
    """Keep the programs' buffers as they are, where several processes change them."""
    if distributed.count() == 1:
        return {}
    held = [dict(module.named_buffers()) for module in modules_of(model, guide)]
    return {f"{i} {name}": buffer.clone() for i, own in enumerate(held) for name, buffer in own.items()}


def merge_buffers(before: dict[str, Tensor], model: PyroFunction, guide: PyroFunction, seen: int) -> None:
    """Give all processes the mean of the buffers that training changed, weighted by the data that each has seen.

    Args:
        before: what :func:`buffers_of` kept.
        model: program of p(x, z).
        guide: program of q(z|x).
        seen: by this process.
    """
    if distributed.count() == 1:
        return
    now = buffers_of(model, guide)
    mine = {name: tensor.cpu() for name, tensor in now.items() if not torch.equal(tensor, before[name])}
    told = distributed.all_gather((seen, mine))
    for i, module in enumerate(modules_of(model, guide)):
        for name, buffer in module.named_buffers():
            found = [(share, changed[f"{i} {name}"]) for share, changed in told if f"{i} {name}" in changed]
            if found and buffer.is_floating_point():
                total = sum(share for share, _ in found)
                means = [(share / total) * tensor.double() for share, tensor in found]
                buffer.copy_(torch.stack(means).sum(0))
            elif found:  # a count, say of steps
                buffer.copy_(found[0][1])


def _generators() -> dict[str, Any]:
    kind, keys, *position = np.random.get_state(legacy=True)  # noqa: NPY002 - as above
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
        "python": random.getstate(),
    }


def _set_generators(rng: dict[str, Any]) -> None:
    torch.set_rng_state(rng["torch"].cpu())
    if torch.cuda.is_available():
        for i, tensor in enumerate(rng["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(tensor.cpu(), i)
    kind, keys, *position = rng["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002 - as above
    random.setstate(rng["python"])
