"""Several processes that work on one run; with one process, nothing here does anything."""

from pyrovae.processes.exchange import (
    agree,
    ahead,
    by_first,
    failing_together,
    from_first,
    gathered,
    in_order,
    on_cpu,
    seed_of,
    sum_gradients,
    summed,
    turns,
)
from pyrovae.processes.group import LostProcess, count, fails_first, local_rank, rank, started

__all__ = [
    "LostProcess",
    "agree",
    "ahead",
    "by_first",
    "count",
    "failing_together",
    "fails_first",
    "from_first",
    "gathered",
    "in_order",
    "local_rank",
    "on_cpu",
    "rank",
    "seed_of",
    "started",
    "sum_gradients",
    "summed",
    "turns",
]
