"""Validation bound, which does not depend on the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pyrovae import distributed
from pyrovae.data import Split
from pyrovae.objectives import NonFiniteLoss, estimate_elbo_terms
from pyrovae.programs import PyroFunction, mode
from pyrovae.rng import forked_rng, seed_generators
from pyrovae.training.batching import Labels, batches, count_batches

__all__ = ["subset_elbo", "validate"]

_SUBSET = 500  # number of data of a rough bound, to detect diverged training


def validate(
    model: PyroFunction,
    guide: PyroFunction,
    labels: Labels,
    split: Split,
    batch_size: int,
    terms: Callable[..., Tensor] | None = None,
) -> list[float]:
    """Return reconstruction and KL of x in nats per datum, in evaluation mode, with the same noise at every call.

    Each batch has its own seed; batches are sharded over ranks.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        labels: use of labels by the programs.
        split: split of the data.
        batch_size: number of data per batch.
        terms: function of a batch's arguments that returns both, summed over the batch; by default,
            :func:`estimate_elbo_terms` of the programs.

    Raises:
        FloatingPointError: if they are not finite, naming the site, in all processes.
    """
    labels = "always" if labels == "always" else "no"
    terms = partial(estimate_elbo_terms, model, guide) if terms is None else terms
    indices = distributed.shard_indices(count_batches(labels, split, batch_size))
    totals: list[Tensor] = []
    with distributed.failing_together(), forked_rng(split.device), mode(model, guide, training=False):
        for i, arguments in zip(indices, batches(labels, split, batch_size, part="turn"), strict=True):
            seed_generators(distributed.derive_seed(i))
            totals.append(terms(*arguments))
    parts = distributed.gather_shards(torch.stack(totals).double().cpu().tolist() if totals else [])
    return (torch.tensor(parts, dtype=torch.float64).sum(0) / len(split)).tolist()


def subset_elbo(model: PyroFunction, guide: PyroFunction, labels: Labels, split: Split, batch_size: int) -> float:
    """Return the ELBO of the first data of a split, in nats per datum; minus infinity if it is not finite.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        labels: use of labels by the programs.
        split: split of the data.
        batch_size: number of data per batch.
    """
    some = split.take(torch.arange(min(len(split), _SUBSET)))
    try:
        reconstruction, kl = validate(model, guide, labels, some, batch_size)
    except NonFiniteLoss:
        return -math.inf
    return reconstruction - kl
