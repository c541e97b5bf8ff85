"""Several processes that work on one run; with one process, nothing here does anything."""

from pyrovae.distributed.collectives import (
    agree,
    ahead,
    all_gather,
    all_reduce,
    broadcast,
    failing_together,
    in_order,
    on_cpu,
    on_rank_zero,
    seed_of,
    shard_indices,
    sum_gradients,
)
from pyrovae.distributed.process_group import LostProcess, count, fails_first, local_rank, rank, started

__all__ = [
    "LostProcess",
    "agree",
    "ahead",
    "all_gather",
    "all_reduce",
    "broadcast",
    "count",
    "failing_together",
    "fails_first",
    "in_order",
    "local_rank",
    "on_cpu",
    "on_rank_zero",
    "rank",
    "seed_of",
    "shard_indices",
    "started",
    "sum_gradients",
]
