"""Distributed training and evaluation; with one process, these functions do nothing."""

from pyrovae.distributed.collectives import (
    all_gather,
    all_reduce,
    broadcast,
    derive_seed,
    derive_seeds,
    failing_together,
    gather_shards,
    on_cpu,
    on_rank_zero,
    raise_everywhere,
    rank_zero_first,
    shard_indices,
    sum_gradients,
)
from pyrovae.distributed.process_group import LostProcess, count, initialized, is_first_failure, local_rank, rank

__all__ = [
    "LostProcess",
    "all_gather",
    "all_reduce",
    "broadcast",
    "count",
    "derive_seed",
    "derive_seeds",
    "failing_together",
    "gather_shards",
    "initialized",
    "is_first_failure",
    "local_rank",
    "on_cpu",
    "on_rank_zero",
    "raise_everywhere",
    "rank",
    "rank_zero_first",
    "shard_indices",
    "sum_gradients",
]
