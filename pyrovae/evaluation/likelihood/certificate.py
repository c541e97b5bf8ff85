"""``Certificate``, an upper bound of the NLL that holds with a given confidence, without any assumption."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyrovae import checks
from pyrovae.reprs import short_repr

__all__ = ["Certificate", "certify", "round_up"]


@dataclass(frozen=True)
class Certificate:
    r"""An upper bound of the NLL of some data under a model, which holds with a given confidence.

    If :math:`\hat p` is non-negative and :math:`\mathrm{E}\,\hat p \le p`, Markov's inequality gives
    :math:`P(\log \hat p \ge \log p + b) \le e^{-b}`. Here p is the product of p(x) over the data, and
    :math:`\hat p` the product of their estimates. So the allowance :math:`b = \log(1 / (1 - \mathrm{confidence}))` is
    paid once for all data.

    The bound is about these data and this model, as the model is computed; it says nothing about other data from the
    same population. It fails for a share of at most 1 - confidence of the evaluations that were decided on beforehand;
    of the lowest of m certificates, the confidence is only :math:`1 - m (1 - \mathrm{confidence})`.

    Attributes:
        confidence: probability, over the choice of samples, with which the bound holds.
        total: upper bound of the sum of -log p(x) over the data, in nats.
        num_data: number N of the data.
    """

    confidence: float
    total: float
    num_data: int

    def __repr__(self) -> str:
        return short_repr(self, nll=self.nll, confidence=self.confidence, num_data=self.num_data)

    @property
    def nll(self) -> float:
        """Upper bound of the mean of -log p(x), in nats per datum."""
        return self.total / self.num_data

    def sentence(self, bits_per_dim: float | None = None) -> str:
        """Describe the bound; its figures are rounded up.

        Args:
            bits_per_dim: the bound in bits per dimension, for data that have such.

        Example:
            >>> Certificate(0.99, 864.951, 10).sentence()
            'NLL at most 86.50 nats with 99 % confidence (Markov; no assumption)'
        """
        bits = "" if bits_per_dim is None else f", {round_up(bits_per_dim, 4)} bits/dim,"
        percent = f"{100 * self.confidence:.6g} %"
        return f"NLL at most {round_up(self.nll, 2)} nats{bits} with {percent} confidence (Markov; no assumption)"

    def summary(self, bits_per_dim: float | None = None) -> dict[str, Any]:
        """Return the bound as plain numbers, with its sentence."""
        return {
            "confidence": self.confidence,
            "nll": self.nll,
            "total": self.total,
            "num_data": self.num_data,
            "bits_per_dim": bits_per_dim,
            "sentence": self.sentence(bits_per_dim),
        }


def certify(log_unbiased: Tensor, confidence: float = 0.99) -> Certificate | None:
    r"""Return the certificate of estimates of p(x); None if they give no finite bound.

    Args:
        log_unbiased: logarithms of S alternative estimates of p(x) of each datum, ``(S, B)``, in nats. The estimates
            are not negative, and the mean of their product over the data is at most that of the p(x), for each
            alternative. So is that of the mean of the S products, which is what is certified.
        confidence: probability with which the bound shall hold, between 0 and 1.

    Raises:
        ValueError: if ``confidence`` is not between 0 and 1.

    Example:
        >>> certify(torch.full((1, 1000), -90.0)).nll
        90.00460517018598
    """
    if not 0 < checks.number("confidence", confidence, maximum=1.0) < 1:
        raise checks.InputError(f"confidence must be between 0 and 1, but {confidence} was given")
    products = log_unbiased.double().sum(1)  # (S,)
    log_estimate = products.logsumexp(0).item() - math.log(len(products))
    if not math.isfinite(log_estimate):
        return None
    return Certificate(confidence, -log_estimate - math.log1p(-confidence), log_unbiased.shape[1])


def round_up(value: float, digits: int) -> str:
    """Round a number up to some decimals, so that an upper bound remains one.

    Example:
        >>> round_up(86.5001, 2), round_up(86.5, 2), round_up(-0.123, 2)
        ('86.51', '86.50', '-0.12')
    """
    rounded = f"{value:.{digits}f}"
    return rounded if float(rounded) >= value else f"{float(rounded) + 10.0**-digits:.{digits}f}"
