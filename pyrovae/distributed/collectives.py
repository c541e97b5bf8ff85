"""What the processes of one run tell each other, and what only one of them does.

All processes must call these functions in the same order; one alone has nobody to tell.
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
    """Return every process's value, in all processes.

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
    """Return the first process's value, in all processes."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    with lost_process_errors():
        dist.broadcast_object_list(values)
    return value if rank() == 0 else values[0]


def raise_everywhere(error: Exception | None) -> None:
    """Raise one process's error in all of them; do nothing if none has one.

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
    """Do something in all processes; what is raised in one is raised in all at the end.

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
    """Let the first process do some work while the others wait; hand its result, or its error, to all.

    Args:
        work: begins when all processes are here; within it the process is alone.

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
    told = broadcast((result, None if error is None else _portable(error)))
    if error is not None:
        raise error
    if told[1] is not None:
        raise told[1]
    return told[0]  # type: ignore[return-value] # None only with an error


def rank_zero_first(work: Callable[[], T]) -> T:
    """Do some work first in one process, such as a download, then in one of each machine, then in the others."""
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
    """Tell which of so many parts are this process's, by turns.

    Example:
        >>> shard_indices(3)
        range(0, 3)
    """
    return range(rank(), number, count())


def gather_shards(mine: list[T], *, everywhere: bool = True) -> list[T]:
    """Put together what all processes made of their :func:`shard_indices`, in order.

    Args:
        mine: what this process made.
        everywhere: in all processes, or in the first alone, where the others get nothing.

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
    """Return the sum of every process's tensor, the same to the bit in all."""
    if count() == 1:
        return tensor
    return _add_up(tensor.clone())


def sum_gradients(params: Sequence[Tensor], *, hold: bool = False) -> bool:
    """Replace the gradients by their sums over all processes, the same to the bit in all, in one exchange.

    Where only some processes have a gradient, those of the others count as zero; where none has, it stays None.

    Args:
        params: in the same order in all processes.
        hold: leave all gradients as they are, in all processes, because this one has something to say.

    Returns:
        whether they were summed, or held.
    """
    if count() == 1:
        return not hold
    dtype = reduce(torch.promote_types, (param.dtype for param in params))
    grads = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
    told = torch.tensor([hold, *(param.grad is not None for param in params)], dtype=dtype).to(grads[0].device)
    total = _add_up(torch.cat([*(grad.reshape(-1).to(dtype) for grad in grads), told]))
    *sums, told = total.split([*(param.numel() for param in params), len(told)])
    held, *known = told.tolist()
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


def _portable(error: Exception) -> Exception:
    with suppress(Exception):
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")
