"""How unlike the training data a datum is, and how well such scores tell two sets apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.elbo.inference_gap import refine
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.prediction.predictive import reconstruct
from pyrovae.programs import Batch, PyroFunction, arguments_of

__all__ = ["Separation", "anomaly_scores", "separation"]


def anomaly_scores(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    num_samples: int = 200,
    *,
    refinement_steps: int = 100,
) -> dict[str, Tensor]:
    r"""Score each datum by how unlike the training data it is: the larger, the less like them.

    ============================  ====================================================================================
    ``reconstruction error``      :math:`\|x - \hat x\|^2`, of the mean of p(x|z) at the mean of q(z|x)
    ``-ELBO``                     in nats
    ``-log p(x)``                 the importance-weighted bound :math:`-L_K`, in nats
    ``likelihood regret``         what the ELBO gains when the guide is refined for the datum alone, in nats (Xiao et
                                  al., 2020, arXiv:2003.02977): an encoder serves badly what it has not seen
    ============================  ====================================================================================

    The regret is that of :func:`~pyrovae.evaluation.refine`, which changes the location and the scale of q(z|x) and
    not the encoder's weights.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number K of importance samples of each datum.
        refinement_steps: steps in which its guide is refined.

    Returns:
        by name, ``(B,)`` each.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> scores = anomaly_scores(vae.model, vae.guide, torch.eye(4), 20, refinement_steps=5)
        >>> scores["-log p(x)"].shape, len(scores)
        (torch.Size([4]), 4)
    """
    data = arguments_of(x, model, guide)[0]
    marginal = log_marginal(model, guide, x, num_samples=num_samples, num_draws=0)
    refined = refine(model, guide, x, refinement_steps, max(2, num_samples))
    return {
        "reconstruction error": (data - reconstruct(model, guide, x)).square().reshape(len(data), -1).sum(1),
        "-ELBO": -refined.elbo,
        "-log p(x)": -marginal.log_prob,
        "likelihood regret": refined.amortization_gap,
    }


@dataclass(frozen=True)
class Separation:
    """Hold how well a score tells anomalies from normal data.

    Attributes:
        auroc: the probability that an anomaly scores higher than a normal datum, ties counting half.
        low: lower end of its 95 % confidence interval.
        high: upper end.
        false_alarms: share of the normal data above each threshold, from 0 to 1: the x of the ROC curve.
        caught: share of the anomalies above it: its y.
    """

    auroc: float
    low: float
    high: float
    false_alarms: Tensor = field(repr=False)
    caught: Tensor = field(repr=False)


def separation(normal: Tensor, anomalous: Tensor) -> Separation:
    r"""Measure how well a score tells anomalies from normal data: the ROC curve, and its area with an interval.

    The area's variance is that of DeLong et al. (1988, doi:10.2307/2531595),
    :math:`\mathrm{Var}_i(V_i) / m + \mathrm{Var}_j(W_j) / n`, where :math:`V_i` is the share of anomalies above normal
    datum i, and :math:`W_j` the share of normal data below anomaly j. The interval is of its logit, so that it stays
    within 0 and 1. Where the two sets do not overlap, the interval is of no width, and says nothing.

    Args:
        normal: scores of m normal data, ``(m,)``.
        anomalous: scores of n anomalies, ``(n,)``.

    Raises:
        ValueError: if there are not two finite scores of each.

    Example:
        >>> found = separation(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.5, 5.0, 6.0, 7.0]))
        >>> found.auroc
        0.875
    """
    from scipy.stats import rankdata
    from sklearn.metrics import roc_curve

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
