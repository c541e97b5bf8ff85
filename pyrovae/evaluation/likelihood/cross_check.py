"""Second estimates of log p(x) for some data, by chains from the prior, which do not depend on the guide."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealed import Annealed
from pyrovae.evaluation.likelihood.prior_comparison import CrossCheck
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of
from pyrovae.progress import bar as progress_bar
from pyrovae.rng import forked_rng
from pyrovae.tensors import is_data, rows

__all__ = ["cross_check"]


def cross_check(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch | Callable[[Tensor], Batch],
    result: LogMarginal,
    num_data: int = 20,
    *,
    num_chains: int = 8,
    num_temperatures: int = 100,
    seed: int = 0,
    chunk_size: int | None = None,
    progress: bool = True,
) -> CrossCheck:
    """Estimate log p(x) of some data by annealed chains from the prior, and compare them with a result.

    Samples and chains from the guide cannot detect a mode that the guide misses: their weights agree, k̂ is small, and
    the estimate lacks the mode's share of p(x). Chains from the prior reach all modes of the posterior if they are
    long enough; they are taken to be long enough if they find what the guide finds.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: the data of ``result``, ``(B, *data_shape)``, or the tuple ``(x, y)``; or a function that returns those at
            some positions, ``(n,)``, for data that do not fit in memory. Only the checked data are read.
        result: estimates to check.
        num_data: number of random data to check.
        num_chains: number of chains for each datum.
        num_temperatures: number T of temperatures of each chain.
        seed: seed of the choice of data and of the chains; torch's own generators are not changed.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if x does not match the result, or the latents cannot be annealed.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> x = torch.ones(3, 4)
        >>> ml = log_marginal(vae.model, vae.guide, x, num_samples=500)
        >>> cross_check(vae.model, vae.guide, x, ml).is_conclusive
        True
    """
    count = len(result.log_prob)
    n = min(checks.integer("num_data", num_data), count)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    index = torch.randperm(count, generator=generator)[:n].sort().values
    some = arguments_of(_data_at(x, index, count), model, guide)
    with forked_rng(some[0].device):
        torch.manual_seed(seed)
        torch.set_rng_state(generator.get_state())  # the chains' noise follows on the choice of data
        from_prior = Annealed(num_temperatures, num_chains, start="prior")
        with progress_bar("check from the prior", n, "datum", hidden=not progress) as bar:
            chunks = Chunks(chunk_size, bar)
            other = from_prior.estimate_batches(model, guide, [some], num_draws=0, chunks=chunks)
    index = index.to(result.log_prob.device)
    return CrossCheck(
        index=index,
        log_prob=other.log_prob,
        difference=other.log_prob - result.log_prob[index],
        standard_error=other.standard_error.hypot(result.standard_error[index]),
    )


def _data_at(x: Batch | Callable[[Tensor], Batch], index: Tensor, count: int) -> Batch:
    """Return some of the ``count`` data of a result."""
    if callable(x):
        return x(index)
    if not is_data(x):
        return x  # which is refused with the sentence of all programs
    parts = x if isinstance(x, tuple) else (x,)
    if len(parts[0]) != count:
        raise checks.InputError(f"x must be the {count} data of the result, but {len(parts[0])} were given")
    some = tuple(rows(part, index) for part in parts)
    return some if isinstance(x, tuple) else some[0]
