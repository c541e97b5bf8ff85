"""Scores of single data: log p(x) with its error, the ELBO, and how badly each is reconstructed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.missing import is_missing
from pyrovae.prediction import reconstruct
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of, schema_of

if TYPE_CHECKING:
    import pandas

__all__ = ["score", "squared_error"]

_AT_A_TIME = 500  # data that are reconstructed at a time


def score(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    estimator: Estimator | None = None,
    *,
    num_samples: int | None = None,
    chunk_size: int | None = None,
) -> pandas.DataFrame:
    r"""Score each datum by its log p(x), ELBO and reconstruction.

    ==================  ==============================================================================================
    ``log_prob``        log p(x), in nats
    ``standard_error``  its Monte Carlo error, in nats
    ``pareto_k``        shape k̂ of its weights' tail; NaN where there is none, as for annealed chains
    ``elbo``            ELBO, in nats
    ``anomaly_score``   :math:`\|x - \hat x\|^2`, the error of the reconstruction, larger for more anomalous data; NaN
                        for a program that cannot reconstruct (:func:`anomaly_scores` has others); of a table, the sum
                        of :meth:`Schema.squared_errors`
    ``reliable``        whether the estimate can be trusted by its own diagnostics: see :attr:`LogMarginal.reliable`
    ==================  ==============================================================================================

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        estimator: estimator of log p(x); 5,000 importance samples if not given.
        num_samples: short for ``Importance(num_samples)``.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.

    Returns:
        a data frame with a row for each datum.

    Raises:
        ValueError: if model and guide do not match, or do not fit the data.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> table = score(vae.model, vae.guide, torch.eye(4), num_samples=100)
        >>> list(table.columns)
        ['log_prob', 'standard_error', 'pareto_k', 'elbo', 'anomaly_score', 'reliable']
    """
    found = log_marginal(
        model, guide, x, estimator, num_samples=num_samples, num_draws=0, chunk_size=chunk_size, progress=False
    ).to_dataframe()
    arguments = arguments_of(x, model, guide)
    parts = zip(*(part.split(_AT_A_TIME) for part in arguments), strict=True)
    errors = torch.cat([_reconstruction_errors(model, guide, part) for part in parts])
    found["anomaly_score"] = errors.cpu().numpy()
    return found[["log_prob", "standard_error", "pareto_k", "elbo", "anomaly_score", "reliable"]]


def _reconstruction_errors(model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> Tensor:
    """Return the squared errors of reconstructions, float64 ``(B,)``."""
    x = arguments[0].double()
    try:
        means = reconstruct(model, guide, arguments if len(arguments) > 1 else arguments[0])
    except checks.InputError:
        return torch.full((len(x),), math.nan, dtype=torch.float64)
    schema = schema_of(model, guide)
    return squared_error(x, means.double()) if schema is None else schema.squared_errors(x, means).sum(1)


def squared_error(x: Tensor, means: Tensor) -> Tensor:
    """Return the squared error of the observed cells of each datum, ``(B,)``, of two tensors ``(B, *data_shape)``."""
    return torch.where(is_missing(x), 0.0, (x - means).square()).reshape(len(x), -1).sum(1)  # x may be one number
