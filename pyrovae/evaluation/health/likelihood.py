"""Check of probabilities: a likelihood that is sure of values that the data do not have."""

from __future__ import annotations

import math

from pyrovae.evaluation.health.examined import Examined
from pyrovae.evaluation.health.terms import observed_terms

__all__ = ["saturated_likelihood"]

_SURE = 1e-6  # probability of a value
_COST = 0.02  # share of -log p(x|z) that such values cost, and nats per datum:
_NATS = 0.5


def saturated_likelihood(examined: Examined) -> str | None:
    """Tell that p(x|z) all but rules values out that occur."""
    for terms in observed_terms(examined):
        wrong = terms.log_prob < math.log(_SURE)
        if not terms.discrete or not bool(wrong.any()):
            continue
        N = len(terms.value)
        cost, total = (-part.double().nansum().item() / N for part in (terms.log_prob[wrong], terms.log_prob))
        share = (wrong.sum() / (~terms.log_prob.isnan()).sum()).item()
        if cost > max(_NATS, _COST * total):
            return (
                f"The likelihood is saturated: it gives {share:.2%} of the values a probability "
                f"below {_SURE:g}, and they cost {cost:.2f} of the {total:.2f} nats per datum of the reconstruction; "
                "fewer epochs (patience), dropout or weight decay, a smaller learning rate, or a wider family of "
                "likelihoods, may help."
            )
    return None
