"""Collective operations of the processes of a run: gathering, sums, errors, and work on rank 0.

All processes must call these functions in the same order. With one process, they return their argument.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pyrovae.distributed.process_group import count, local_rank, lost_process_errors, rank, single_process

__all__ = [
    "all_gather",
    "all_reduce",
    "broadcast",
    "derive_seed",
    "derive_seeds",
    "failing_together",
    "gather_shards",
    "on_cpu",
    "on_rank_zero",
    "raise_everywhere",
    "rank_zero_first",
    "shard_indices",
    "sum_gradients",
]

T = TypeVar("T")


def all_gather(value: T) -> list[T]:
    """Return the values of all processes, in all processes.

    Example:
        >>> all_gather("a")
        ['a']
    """
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    with lost_process_errors():
        dist.all_gather_object(values, value)
    return values


def broadcast(value: T) -> T:
    """Return the value of rank 0, in all processes."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    with lost_process_errors():
        dist.broadcast_object_list(values)
    return value if rank() == 0 else values[0]


def raise_everywhere(error: Exception | None) -> None:
    """Raise the error of one process in all processes; do nothing if there is none.

    Example:
        >>> raise_everywhere(None)
    """
    if count() == 1:
        errors = [error]
    else:
        errors = all_gather(None if error is None else _portable(error))
        if error is not None and not any(errors[: rank()]):
            raise error  # with its own traceback
    for first in errors:
        if first is not None:
            raise first


@contextmanager
def failing_together() -> Iterator[None]:
    """Run a block in all processes; an error in one process is raised in all at the end of the block.

    Example:
        >>> with failing_together():
        ...     pass
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        if count() == 1:
            raise
        failure = error
    raise_everywhere(failure)


def on_rank_zero(work: Callable[[], T]) -> T:
    """Run a function on rank 0 while the others wait; return its result, or raise its error, in all processes.

    Args:
        work: starts when all processes have arrived; inside, :func:`count` is 1.

    Example:
        >>> on_rank_zero(lambda: 2 + 2)
        4
    """
    if count() == 1:
        return work()
    all_gather(None)
    result, error = None, None
    if rank() == 0:
        try:
            with single_process():
                result = work()
        except Exception as raised:
            error = raised
    outcome = broadcast((result, None if error is None else _portable(error)))
    if error is not None:
        raise error
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]  # type: ignore[return-value] # None only with an error


def rank_zero_first(work: Callable[[], T]) -> T:
    """Run a function, such as a download, on rank 0, then on local rank 0 of each machine, then on the other ranks."""
    if count() == 1:
        return work()
    mine = 0 if rank() == 0 else 1 if local_rank() == 0 else 2
    results: list[T] = []
    for turn in range(3):
        with failing_together():
            if turn == mine:
                results.append(work())
    return results[0]


def shard_indices(number: int) -> range:
    """Return the indices of this rank's parts among ``number`` parts: every n-th, of n processes.

    Example:
        >>> shard_indices(3)
        range(0, 3)
    """
    return range(rank(), number, count())


def gather_shards(mine: list[T], *, everywhere: bool = True) -> list[T]:
    """Gather the results of all processes for their :func:`shard_indices`, in the order of the indices.

    Args:
        mine: results of this process.
        everywhere: True if all processes get the list, False if only rank 0 does, and the others an empty one.

    Example:
        >>> gather_shards(["a", "b"])
        ['a', 'b']
    """
    if count() == 1:
        return mine
    if everywhere:
        parts = all_gather(mine)
    else:
        parts = [[]] * count()
        with lost_process_errors():
            dist.gather_object(mine, parts if rank() == 0 else None)
    return [parts[i % count()][i // count()] for i in range(sum(map(len, parts)))]


def on_cpu(value: T) -> T:
    """Move the tensors of a dataclass, a dictionary or a list to the CPU, where every process can read them.

    Example:
        >>> on_cpu({"a": [torch.ones(2)]})
        {'a': [tensor([1., 1.])]}
    """
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.cpu()
    elif isinstance(value, dict):
        moved = {name: on_cpu(part) for name, part in value.items()}
    elif isinstance(value, list):
        moved = [on_cpu(part) for part in value]
    elif is_dataclass(value) and not isinstance(value, type):
        moved = replace(value, **{field.name: on_cpu(getattr(value, field.name)) for field in fields(value)})
    return moved


def all_reduce(tensor: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes, bitwise the same in all."""
    if count() == 1:
        return tensor
    return _add_up(tensor.clone())


def sum_gradients(params: Sequence[Tensor], *, hold: bool = False) -> bool:
    """Replace gradients by their sums over all processes, bitwise the same in all, in one exchange.

    If only some processes have a gradient, those of the others count as zero; if none has, it stays None.

    Args:
        params: the parameters, in the same order in all processes.
        hold: True to leave the gradients of all processes unchanged, because this one has news to exchange first.

    Returns:
        True if gradients were summed, False if any process asked to hold.
    """
    if count() == 1:
        return not hold
    dtype = reduce(torch.promote_types, (param.dtype for param in params))
    grads = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
    flags = torch.tensor([hold, *(param.grad is not None for param in params)], dtype=dtype).to(grads[0].device)
    total = _add_up(torch.cat([*(grad.reshape(-1).to(dtype) for grad in grads), flags]))
    *sums, flags = total.split([*(param.numel() for param in params), len(flags)])
    held, *known = flags.tolist()
    if held:
        return False
    for param, grad, some in zip(params, sums, known, strict=True):
        param.grad = grad.view(param.shape).to(param.dtype) if some else None
    return True


def _add_up(tensor: Tensor) -> Tensor:
    with lost_process_errors():
        dist.all_reduce(tensor)
    return tensor


def derive_seed(*numbers: int) -> int:
    """Mix numbers into a seed of 63 bits, such as a run's seed and the number of a batch.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    return int.from_bytes(hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()[:8], "little") >> 1


def derive_seeds(seed: int, count: int) -> list[int]:
    """Return :func:`derive_seed` of ``(seed, i)`` for each i, or of more numbers where it would repeat a stream.

    Torch's generator of a CPU uses the lower 32 bits of a seed, which are different for all of them.

    Example:
        >>> derive_seeds(0, 2) == [derive_seed(0, 0), derive_seed(0, 1)]
        True
    """
    found: dict[int, int] = {}
    for i in range(count):
        seed_of, attempt = derive_seed(seed, i), 0
        while seed_of % 2**32 in found:
            attempt += 1
            seed_of = derive_seed(seed, i, attempt)
        found[seed_of % 2**32] = seed_of
    return list(found.values())


def _portable(error: Exception) -> Exception:
    with suppress(Exception):
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")
