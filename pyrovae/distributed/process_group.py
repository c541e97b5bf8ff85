"""Process group of a run: started by torchrun, or the default group of ``torch.distributed``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist

from pyrovae import checks

__all__ = [
    "LostProcess",
    "attempt_name",
    "count",
    "initialized",
    "is_first_failure",
    "local_rank",
    "lost_process_errors",
    "rank",
    "single_process",
]

_TIMEOUT = timedelta(minutes=30)  # for a process that does not answer; an ended process is noticed at once
_LOST = f"another process ended, or did not answer within {_TIMEOUT.total_seconds() / 60:.0f} minutes"
_store: dist.Store | None = None
_is_single = False  # true on rank 0 during work that only one process does


class LostProcess(RuntimeError):
    """The error that another process ended or does not answer."""


def count() -> int:
    """Return the number of processes; 1 without a process group."""
    return dist.get_world_size() if not _is_single and dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, from 0.

    Example:
        >>> rank(), count()
        (0, 1)
    """
    return dist.get_rank() if count() > 1 else 0


def local_rank() -> int:
    """Return the rank of this process on its machine, from 0, which is the number of its GPU."""
    return _of_environment("LOCAL_RANK", 0) if count() > 1 else 0


@contextmanager
def initialized() -> Iterator[None]:
    """Initialize the process group if torchrun started this process, and destroy it at the end.

    Communication uses gloo on CPU and NCCL on GPU; each process uses the GPU of its local rank.

    Raises:
        ValueError: if some of torchrun's environment variables are missing or no numbers.
    """
    global _store
    size = _of_environment("WORLD_SIZE", 1)
    if size == 1 or dist.is_initialized():
        yield
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise checks.InputError(f"{missing[0]} must be set where WORLD_SIZE is {size}, as torchrun does")
    place = _of_environment("LOCAL_RANK", 0)
    own_gpu = torch.cuda.is_available() and place < torch.cuda.device_count()
    if own_gpu:
        torch.cuda.set_device(place)
    with lost_process_errors("the processes cannot meet"):
        store, number, _ = next(dist.rendezvous("env://", timeout=_TIMEOUT))
        _store = dist.PrefixStore(f"pyrovae {attempt_name(store, number, size)}", store)
        backend = "cpu:gloo,cuda:nccl" if own_gpu and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=_TIMEOUT)
    try:
        yield
    finally:
        with suppress(RuntimeError):
            deadline = time.monotonic() + 3  # else torchrun would kill processes that are about to fail too
            while 0 < _store.add("failed", 0) < size and time.monotonic() < deadline:
                time.sleep(0.05)
        _store = None
        dist.destroy_process_group()


def attempt_name(store: dist.Store, rank: int, size: int) -> str:
    """Return a name of this attempt, the same in all its processes.

    torchrun's store outlives a failed attempt, and so do the values in it. Its count of restarts does not tell attempts
    apart, because each torchrun counts for itself. So the first process answers the others, each by a name of its own.
    """
    own = uuid4().hex
    if rank > 0:
        store.set(f"process {rank}", own)
        attempt = store.get(f"attempt of {own}").decode()
        store.set(f"{attempt} has {rank}", "")
        return attempt
    missing = set(range(1, size))
    deadline = time.monotonic() + _TIMEOUT.total_seconds()
    while missing:
        for other in [other for other in missing if store.check([f"process {other}"])]:
            store.set(f"attempt of {store.get(f'process {other}').decode()}", own)
        missing -= {other for other in missing if store.check([f"{own} has {other}"])}
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {min(missing)} did not answer")
        time.sleep(0.02)
    return own


def is_first_failure() -> bool:
    """Tell whether this process is the first to fail, which then reports the error."""
    if _store is None:
        return rank() == 0
    with suppress(RuntimeError):
        return _store.add("failed", 1) == 1
    return True  # the process with the store has ended


@contextmanager
def lost_process_errors(sentence: str = _LOST) -> Iterator[None]:
    """Turn errors of torch about a lost process into :class:`LostProcess` with one sentence."""
    try:
        yield
    except RuntimeError as error:  # torch has no exception class for errors of gloo
        raise LostProcess(f"{sentence} ({checks.reason(error)})") from error


@contextmanager
def single_process() -> Iterator[None]:
    """Make :func:`count` return 1 inside this context, while the other processes wait."""
    global _is_single
    _is_single = True
    try:
        yield
    finally:
        _is_single = False


def _of_environment(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise checks.InputError(f"{name} must be a number, as torchrun sets it, but {text} was given")
    return int(text)
