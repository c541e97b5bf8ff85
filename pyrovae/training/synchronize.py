"""Synchronization of several processes in training: the same start, noise for each rank, merged buffers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks, distributed
from pyrovae.programs import PyroFunction, modules_of
from pyrovae.rng import all_generators, set_all_generators
from pyrovae.training.checkpoint import load_weights, weights_of

__all__ = ["clone_buffers", "merge_buffers", "per_rank_rng", "synchronize_start"]


def synchronize_start(model: PyroFunction, guide: PyroFunction, arguments: dict[str, object]) -> None:
    """Give all processes the weights and the generators' states of rank 0.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: numbers and strings by name, which must be the same in all processes.

    Raises:
        ValueError: in all processes, if these arguments or the programs differ.
    """
    if distributed.count() == 1:
        return
    given = distributed.all_gather(arguments)
    for name in arguments:
        values = list(dict.fromkeys(str(own[name]) for own in given))
        if len(values) > 1:
            raise checks.InputError(f"{name} must be the same in all processes, but {' and '.join(values)} were given")
    weights, rng = distributed.broadcast((distributed.on_cpu(weights_of(model, guide)), all_generators()))
    with distributed.failing_together():
        try:
            load_weights(weights, model, guide)
        except checks.InputError:
            raise checks.InputError("programs must be the same in all processes, but their parameters differ") from None
    set_all_generators(rng)


@contextmanager
def per_rank_rng() -> Iterator[torch.Generator | None]:
    """Seed the generators of each process differently, and yield a generator that is the same in all.

    Both seeds derive from one random number of torch's generator, whose state the processes share. At the end, all
    generators have the state after that draw. With one process, nothing changes, and None is yielded.
    """
    if distributed.count() == 1:
        yield None
        return
    number = distributed.broadcast(
        int(torch.randint(2**62, ()))
    )  # rank 0's, since its callback may have drawn from the generator
    common = all_generators()
    seed = distributed.derive_seed(number, distributed.rank())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - programs may draw from it
    random.seed(seed)
    try:
        yield torch.Generator().manual_seed(number)
    finally:
        set_all_generators(common)


def clone_buffers(model: PyroFunction, guide: PyroFunction) -> dict[str, Tensor]:
    """Clone the programs' buffers before an epoch; an empty dictionary with one process."""
    if distributed.count() == 1:
        return {}
    held = [dict(module.named_buffers()) for module in modules_of(model, guide)]
    return {f"{i} {name}": buffer.clone() for i, own in enumerate(held) for name, buffer in own.items()}


def merge_buffers(before: dict[str, Tensor], model: PyroFunction, guide: PyroFunction, seen: int) -> None:
    """Set the changed buffers to their mean over all processes, weighted by the number of data of each.

    Args:
        before: the buffers that :func:`clone_buffers` returned.
        model: program of p(x, z).
        guide: program of q(z|x).
        seen: number of data that this process has seen.
    """
    if distributed.count() == 1:
        return
    now = clone_buffers(model, guide)
    mine = {name: tensor.cpu() for name, tensor in now.items() if not torch.equal(tensor, before[name])}
    gathered = distributed.all_gather((seen, mine))
    for i, module in enumerate(modules_of(model, guide)):
        for name, buffer in module.named_buffers():
            found = [(share, changed[f"{i} {name}"]) for share, changed in gathered if f"{i} {name}" in changed]
            if found and buffer.is_floating_point():
                total = sum(share for share, _ in found)
                means = [(share / total) * tensor.double() for share, tensor in found]
                buffer.copy_(torch.stack(means).sum(0))
            elif found:  # a counter, for example of steps
                buffer.copy_(found[0][1])
