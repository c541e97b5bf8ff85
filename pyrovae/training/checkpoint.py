"""Checkpoints: everything that exact resuming of a training needs."""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import pyro
from torch import Tensor

from pyrovae import checks
from pyrovae.compilation import Compile
from pyrovae.optimizers import JointOptimizer
from pyrovae.programs import PyroFunction, modules_of
from pyrovae.rng import all_generators, set_all_generators
from pyrovae.training.history import Epoch, History
from pyrovae.training.weight_average import WeightAverage

__all__ = ["State", "compile_mode_of", "copied", "load_weights", "restore", "state_of", "weights_of"]

State: TypeAlias = dict[str, Any]
"""Everything that exact resuming needs: tensors, numbers and strings in dictionaries and lists."""


def weights_of(model: PyroFunction, guide: PyroFunction) -> dict[str, Tensor]:
    """Return everything that training changes: the store's parameters and the buffers of the programs' modules."""
    store = pyro.get_param_store()
    weights = {name: store[name].unconstrained().detach() for name in sorted(store.keys())}
    for i, module in enumerate(modules_of(model, guide)):
        weights |= {f"buffer {i} {name}": buffer for name, buffer in module.named_buffers()}
    return weights


def load_weights(weights: dict[str, Tensor], model: PyroFunction, guide: PyroFunction) -> None:
    """Load weights that :func:`weights_of` returned.

    Raises:
        ValueError: if they belong to another program.
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
    warmup: dict[str, int],
    average: WeightAverage,
    spare: State | None = None,
) -> State:
    """Return the state: weights and their average, optimizer, history, generators, compilation and steps of warm-up.

    Its tensors are copies, which take the place of those of ``spare``, an earlier state that is not needed any more:
    new memory would take several times as long.
    """
    spare = spare or {}
    return {
        "weights": copied(weights_of(model, guide) | average.raw_weights, spare.get("weights")),
        "average": copied(average.state(), spare.get("average")),
        "best": best,
        "optimizer": copied(optim.get_state(), spare.get("optimizer")),
        "history": history.rows(),
        "compile": compile,
        **warmup,
        "rng": all_generators(),
    }


def copied(tree: Any, spare: Any = None) -> Any:
    """Copy the tensors in dictionaries, lists and tuples, to those at the same places of ``spare`` where they fit.

    Args:
        tree: tensors, numbers and strings in dictionaries, lists and tuples.
        spare: an earlier copy, which is overwritten; or None.

    Example:
        >>> first = copied({"a": [torch.zeros(2)]})
        >>> second = copied({"a": [torch.ones(2)]}, first)
        >>> second["a"][0] is first["a"][0], second
        (True, {'a': [tensor([1., 1.])]})
    """
    if isinstance(tree, Tensor):
        fits = (
            isinstance(spare, Tensor)
            and (spare.shape, spare.dtype, spare.device) == (tree.shape, tree.dtype, tree.device)
            and spare.data_ptr() != tree.data_ptr()
        )
        return spare.copy_(tree.detach()) if fits else tree.detach().clone()
    if isinstance(tree, dict):
        before = spare if isinstance(spare, dict) else {}
        return {key: copied(value, before.get(key)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        known = spare if isinstance(spare, list | tuple) and len(spare) == len(tree) else [None] * len(tree)
        return type(tree)(copied(value, old) for value, old in zip(tree, known, strict=True))
    return copy.deepcopy(tree)


def restore(
    state: State,
    optim: JointOptimizer,
    history: History,
    model: PyroFunction,
    guide: PyroFunction,
    average: WeightAverage,
) -> None:
    """Restore a state.

    Raises:
        ValueError: if it is no state, or belongs to another program.
    """
    try:
        load_weights(state["weights"], model, guide)
        average.restore(state.get("average"))  # older states have no entry
        optim.set_state(state["optimizer"])
        history.epochs[:] = [Epoch(*row) for row in state["history"]]
        set_all_generators(state["rng"])
    except checks.InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError) as error:
        raise checks.InputError(
            f"state must be what a callback of fit received, but is not: {checks.reason(error)}"
        ) from error


def compile_mode_of(state: State) -> Compile:
    """Return the compile mode that led to a state; exact resuming needs the same mode."""
    return state.get("compile", "graph") if isinstance(state, dict) else "graph"  # older states have no entry
