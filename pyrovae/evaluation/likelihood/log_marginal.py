"""``log_marginal``, the marginal likelihood of each datum with its errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from pyrovae import checks
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.importance import Importance
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of, count_data
from pyrovae.progress import bar as progress_bar
from pyrovae.tensors import is_data

__all__ = ["log_marginal"]


def log_marginal(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch | Iterable[Batch],
    estimator: Estimator | None = None,
    *,
    num_samples: int | None = None,
    num_draws: int = 10,
    chunk_size: int | None = None,
    progress: bool = True,
) -> LogMarginal:
    r"""Estimate log p(x) of each datum with its Monte Carlo error.

    Each estimator draws weights whose mean is p(x): :class:`Importance`, :class:`Annealed`, :class:`Adaptive`, or your
    own subclass of :class:`Estimator`. The log of the mean weight is a lower bound of log p(x) in expectation. Samples
    are drawn in chunks and data in batches, so that memory is bounded for any number of data.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels, or a list or
            generator of such batches.
        estimator: the estimator; ``Importance()``, with 5,000 samples, if not given.
        num_samples: short for ``Importance(num_samples)``.
        num_draws: number S of posterior draws to keep for each datum, resampled by weight.
        chunk_size: number of latents to run the model on at a time. Chosen by the program's size if not given, and on
            a GPU by its free memory. The samples of a seed depend on it.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if an option is invalid, a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=100)
        >>> ml.log_prob.shape, ml.standard_error.shape, bool((ml.log_prob >= ml.elbo).all())
        (torch.Size([3]), torch.Size([3]), True)
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), Annealed(num_temperatures=10))
        >>> ml.acceptance.shape
        torch.Size([3])
    """
    if estimator is None:
        estimator = Importance() if num_samples is None else Importance(num_samples)
    elif num_samples is not None:
        raise checks.InputError(
            f"num_samples must be left out where an estimator is given, which has options of its own, but "
            f"{num_samples} was given beside {estimator}"
        )
    checks.instance("estimator", estimator, Estimator)
    checks.integer("num_draws", num_draws, minimum=0)
    batches = (arguments_of(batch, model, guide) for batch in ([cast("Batch", x)] if is_data(x) else x))
    with progress_bar("log p(x)", count_data(x), "datum", hidden=not progress) as bar:
        return estimator.estimate_batches(model, guide, batches, num_draws=num_draws, chunks=Chunks(chunk_size, bar))
