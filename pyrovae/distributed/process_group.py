"""Who the processes are that work on one run: torchrun's, or those of ``torch.distributed``'s default group."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from pyrovae import checks

__all__ = [
    "LostProcess",
    "count",
    "initialized",
    "is_first_failure",
    "local_rank",
    "lost_process_errors",
    "rank",
    "single_process",
]

_PATIENCE = timedelta(minutes=30)  # for a process that is silent; one that ended is noticed at once
_LOST = f"another process ended, or did not answer within {_PATIENCE.total_seconds() / 60:.0f} minutes"
_meetings = 0
_store: dist.Store | None = None
_alone = False  # while the first process does what only one shall do


class LostProcess(RuntimeError):
    """Say that another process ended, or is silent."""


def count() -> int:
    """Count the processes; 1 without a process group."""
    return dist.get_world_size() if not _alone and dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0.

    Example:
        >>> rank(), count()
        (0, 1)
    """
    return dist.get_rank() if count() > 1 else 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0, which is that of its GPU."""
    return _of_environment("LOCAL_RANK", 0) if count() > 1 else 0


@contextmanager
def initialized() -> Iterator[None]:
    """Join the processes that torchrun started with this one, if it did, and leave them at the end.

    They talk through gloo on CPU and NCCL on GPU; each takes the GPU of its local rank.

    Raises:
        ValueError: if torchrun's environment variables are no numbers or some are missing.
    """
    global _meetings, _store
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
    _meetings += 1
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # a store may outlive the attempt before
    with lost_process_errors("the processes cannot meet"):
        store, number, _ = next(dist.rendezvous("env://", timeout=_PATIENCE))
        _store = dist.PrefixStore(f"pyrovae {attempt} {_meetings}", store)
        backend = "cpu:gloo,cuda:nccl" if own_gpu and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=_PATIENCE)
    try:
        yield
    finally:
        with suppress(RuntimeError):
            deadline = time.monotonic() + 3  # else torchrun ends those that are just about to fail likewise
            while 0 < _store.add("failed", 0) < size and time.monotonic() < deadline:
                time.sleep(0.05)
        _store = None
        dist.destroy_process_group()


def is_first_failure() -> bool:
    """Tell whether this process is the first that fails, and so the one to say why."""
    if _store is None:
        return rank() == 0
    with suppress(RuntimeError):
        return _store.add("failed", 1) == 1
    return True  # who keeps the store is gone


@contextmanager
def lost_process_errors(sentence: str = _LOST) -> Iterator[None]:
    """Make what torch raises when another process does not answer one sentence."""
    try:
        yield
    except RuntimeError as error:  # torch has no class of its own for what gloo says
        raise LostProcess(f"{sentence} ({checks.reason(error)})") from error


@contextmanager
def single_process() -> Iterator[None]:
    """Let this process be the only one, as far as :func:`count` tells, while the others wait."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def _of_environment(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise checks.InputError(f"{name} must be a number, as torchrun sets it, but {text} was given")
    return int(text)
