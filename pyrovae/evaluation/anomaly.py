"""Anomaly scores of data, and the ROC curve of such scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.elbo.inference_gap import refine
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.evaluation.scores import squared_error
from pyrovae.prediction.predictive import reconstruct
from pyrovae.programs import Batch, PyroFunction, arguments_of, schema_of
from pyrovae.tensors import as_tensor

__all__ = ["Separation", "anomaly_scores", "separation"]


def anomaly_scores(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    num_samples: int = 200,
    *,
    refinement_steps: int = 100,
    progress: bool = True,
) -> dict[str, Tensor]:
    r"""Compute four anomaly scores of each datum; a larger score is more anomalous.

    ============================  ====================================================================================
    ``reconstruction error``      :math:`\|x - \hat x\|^2`, of the mean of p(x|z) at the mean of q(z|x); of a table, the
                                  sum of :meth:`Schema.squared_errors`
    ``-ELBO``                     in nats
    ``-log p(x)``                 the importance-weighted bound :math:`-L_K`, in nats
    ``likelihood regret``         gain of the ELBO from refining the guide for the datum alone, in nats (Xiao et al.,
                                  2020, arXiv:2003.02977); large where the encoder is poor, as on unfamiliar data
    ============================  ====================================================================================

    The regret is the gain of :func:`~pyrovae.evaluation.refine`, which changes the location and scale of q(z|x) instead
    of the encoder's weights.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number K of importance samples for each datum.
        refinement_steps: number of steps in which the guide is refined.
        progress: whether to show progress bars.

    Returns:
        scores by name, ``(B,)`` each.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> scores = anomaly_scores(vae.model, vae.guide, torch.eye(4), 20, refinement_steps=5)
        >>> scores["-log p(x)"].shape, len(scores)
        (torch.Size([4]), 4)
    """
    data, schema = arguments_of(x, model, guide)[0], schema_of(model, guide)
    means = reconstruct(model, guide, x)
    marginal = log_marginal(model, guide, x, num_samples=num_samples, num_draws=0, progress=progress)
    refined = refine(model, guide, x, refinement_steps, max(2, num_samples), progress=progress)
    return {
        "reconstruction error": squared_error(data, means)
        if schema is None
        else schema.squared_errors(data, means).sum(1),
        "-ELBO": -refined.elbo,
        "-log p(x)": -marginal.log_prob,
        "likelihood regret": refined.amortization_gap,
    }


@dataclass(frozen=True)
class Separation:
    """The ROC curve of a score of anomalies and normal data.

    Attributes:
        auroc: area under the curve, the probability that an anomaly scores higher than a normal datum; ties count half.
        low: lower end of its 95 % confidence interval.
        high: upper end of this interval.
        false_positive_rate: share of the normal data above each threshold, from 0 to 1, ``(J,)``.
        true_positive_rate: share of the anomalies above each threshold, ``(J,)``.
    """

    auroc: float
    low: float
    high: float
    false_positive_rate: Tensor = field(repr=False)
    true_positive_rate: Tensor = field(repr=False)


def separation(normal: Tensor, anomalous: Tensor) -> Separation:
    r"""Compute the ROC curve of a score, and its area with a confidence interval.

    The area's variance is that of DeLong et al. (1988, doi:10.2307/2531595),
    :math:`\mathrm{Var}_i(V_i) / m + \mathrm{Var}_j(W_j) / n`, where :math:`V_i` is the share of anomalies above normal
    datum i, and :math:`W_j` the share of normal data below anomaly j. The interval is computed for the logit of the
    area, so that it stays within 0 and 1. If the two sets do not overlap, the interval has no width and no meaning.

    Args:
        normal: scores of m normal data, ``(m,)``.
        anomalous: scores of n anomalies, ``(n,)``.

    Raises:
        ValueError: if there are not at least two finite scores of each kind.

    Example:
        >>> found = separation(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.5, 5.0, 6.0, 7.0]))
        >>> found.auroc
        0.875
    """
    from scipy.stats import rankdata
    from sklearn.metrics import roc_curve

    normal, anomalous = as_tensor("normal", normal), as_tensor("anomalous", anomalous)
    for name, scores in (("normal", normal), ("anomalous", anomalous)):
        if scores.dim() != 1 or len(scores) < 2 or not bool(scores.isfinite().all()):
            raise checks.InputError(
                f"{name} must hold at least two finite scores, (N,), but has shape {tuple(scores.shape)}"
            )
    m, n = len(normal), len(anomalous)
    scores = torch.cat((normal, anomalous)).detach().cpu().double()
    false_alarms, caught, _ = roc_curve(torch.arange(m + n).ge(m).numpy(), scores.numpy(), drop_intermediate=False)
    joint, own = (
        torch.cat([torch.as_tensor(rankdata(part.numpy())) for part in parts])
        for parts in ((scores,), (scores[:m], scores[m:]))
    )
    above = 1 - (joint - own)[:m] / n  # (m,) share of the anomalies above each normal datum
    below = (joint - own)[m:] / m  # (n,) share of the normal data below each anomaly
    area = below.mean().item()
    error = math.sqrt(above.var().item() / m + below.var().item() / n)
    low = high = area
    if error > 0 and 0 < area < 1:
        logit, width = math.log(area / (1 - area)), 1.96 * error / (area * (1 - area))
        low, high = (1 / (1 + math.exp(-end)) for end in (logit - width, logit + width))
    return Separation(area, low, high, torch.as_tensor(false_alarms), torch.as_tensor(caught))
