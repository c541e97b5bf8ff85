"""Verdicts on estimates of log p(x): sentences that say whether the estimate, not the model, can be trusted."""

from __future__ import annotations

import math

from torch import Tensor

from pyrovae.evaluation.likelihood.diagnostics import pareto_threshold
from pyrovae.evaluation.likelihood.result import MAX_CHAIN_ERROR, MIN_ACCEPTANCE, LogMarginal

__all__ = ["verdict"]

_MAX_CHAIN_BIAS = 0.5  # nats; chains with a larger estimated bias are not said to agree; set by hand


def verdict(result: LogMarginal) -> str:
    """Describe whether an estimate can be trusted, from its weights, its chains, and the search for missed modes.

    It is a verdict on the estimate, not on the model: log p(x) of a model that ignores its latents is easy to estimate.

    Args:
        result: the estimate, from importance samples, annealed chains, or both.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> verdict(log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=5000)).split(":")[0]
        'k̂ is below 0.70 for every datum'
    """
    annealed = ~result.acceptance.isnan()
    parts = []
    lost = int((~result.log_prob.isfinite()).sum())
    if lost:
        parts.append(f"Of {lost} data every weight is zero, and the NLL of the set has no value.")
    if result.is_exact:
        terms, rounding = int(result.num_samples.max()), result.standard_error.max().item()
        return " ".join(
            [
                *parts,
                f"All latents are discrete, and p(x) is the sum over their {terms} joint values: it is exact to the "
                f"rounding of its densities, {rounding:.1g} nats.",
            ]
        )
    if result.is_adaptive:
        return " ".join([*parts, f"By the errors of its samples and chains the NLL is {_range(result)}."])
    if not bool(annealed.all()):
        parts.append(_importance_verdict(result, ~annealed))
    if bool(annealed.any()):
        parts.append(_chain_verdict(result, annealed))
    if result.integral is not None and result.integral.disagrees:
        parts.append(result.integral.sentence)
    parts.append(_mode_verdict(result))
    return " ".join(part for part in parts if part)


def _importance_verdict(result: LogMarginal, chosen: Tensor) -> str:
    K, ess, k_hat = result.num_samples[chosen], result.ess[chosen], result.pareto_k[chosen]
    thresholds = pareto_threshold(K)
    fitted = ~k_hat.isnan()
    few = int(K.min())
    threshold = f"{thresholds.min().item():.2f}" if few == int(K.max()) else "its threshold"
    if not bool(fitted.any()):
        if few >= 25 and bool((ess > 0.999 * K).all()):
            rounding = result.standard_error[chosen].max().item()
            exact = "exact" if rounding < 1e-3 else f"exact to the rounding of its densities, {rounding:.2g} nats"
            return f"The weights are equal: where the guide has mass it is the posterior, and the estimate is {exact}."
        return f"K = {few} is too few samples to tell whether the estimate can be trusted."
    failed = (k_hat > thresholds)[fitted]
    bad = failed.double().mean().item()
    data = "every datum" if len(K) == len(result.log_prob) else f"the {len(K)} data that were sampled from the guide"
    above = f"k̂ exceeds {threshold} for {bad:.0%} of the data"
    if bad < 0.01:
        above = f"k̂ exceeds {threshold} for {int(failed.sum())} of {len(K)} data"
    if result.has_heavy_tails:
        bias = result.bias[chosen].nan_to_num().mean().item()
        return (
            f"{above}: importance sampling with this guide cannot be trusted for them. The NLL is too large, by about "
            f"{bias:.2g} nats as its growth with K says, and perhaps by far more."
        )
    start = f"k̂ is below {threshold} for {data}" if bad == 0 else f"{above}, which are estimated too large"
    if bad > 0.1:
        return f"{start}: these cannot be trusted one by one, but the NLL of all is {_range(result)}."
    return (
        f"{start}: this estimate of the model's log p(x), be the model good or bad, can be trusted to within its "
        f"errors: the NLL is {_range(result)}."
    )


def _chain_verdict(result: LogMarginal, chosen: Tensor) -> str:
    C, error, accepted = result.num_samples[chosen], result.standard_error[chosen], result.acceptance[chosen]
    if int(C.min()) == 1:
        return "One weight for each datum is too few to tell whether the estimate can be trusted."
    rejecting = (accepted < MIN_ACCEPTANCE).double().mean().item()
    if rejecting > 0.01:
        return (
            f"The chains of {rejecting:.0%} of the data reject most of their moves: they cannot be trusted, "
            "and need more temperatures."
        )
    bias = result.bias[chosen].nan_to_num().mean().item()
    disagreeing = (~(error <= MAX_CHAIN_ERROR)).double().mean().item()
    if disagreeing > 0.1 or bias > _MAX_CHAIN_BIAS:
        return (
            f"The chains of {disagreeing:.0%} of the data disagree: by their spread the NLL is too large by about "
            f"{bias:.2g} nats, and more temperatures would bring it down."
        )
    data = "The annealed chains" if len(C) == len(result.log_prob) else f"The annealed chains of {len(C)} data"
    agreeing = f"{data} agree: by their spread the NLL is too large by {bias:.2g} nats; a sandwich can measure it."
    if result.is_refined:
        agreeing += (
            " Chains from a refined guide agree also where it misses a mode, so that the NLL can be too large by more, "
            "and the interval too narrow."
        )
    return agreeing


def _mode_verdict(result: LogMarginal) -> str:
    """Describe the search for modes that the guide misses."""
    if result.check is not None:
        return result.check.sentence
    if result.modes_checked:
        return "Samples from the prior found modes wherever they are."
    if result.prior_found is not None:
        return (
            "Samples from the prior found too little of p(x) to say anything of modes that the guide misses, which "
            "were not looked for otherwise."
        )
    return "Modes that the guide misses were not looked for."


def _range(result: LogMarginal) -> str:
    """Return the interval of the NLL, with enough digits to distinguish its ends."""
    low, high = result.interval
    if math.isnan(high):
        return "unknown"
    digits = max(2, 2 - math.floor(math.log10(max(high - low, 1e-6)))) if math.isfinite(low) else 2
    return f"{low:.{digits}f} to {high:.{digits}f} nats (95 %)"
