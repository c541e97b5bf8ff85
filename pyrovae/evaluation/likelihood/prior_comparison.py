"""``CrossCheck``, an estimate of log p(x) compared with chains from the prior, which do not depend on the guide."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyrovae.reprs import json_number, short_repr

__all__ = ["CrossCheck"]

_LOG_2 = math.log(2)  # a check that finds less than half of p(x) could miss a mode as large as the known ones
_LOG_20 = math.log(20)  # by Markov's inequality, an unbiased estimate of p(x) exceeds it so far in 5 % of cases at most
_NUM_ERRORS = 3.5  # standard errors of a significant difference; well above 2, because eight chains give a rough error
_MIN_DIFFERENCE = 0.2  # nats; smaller differences are within the bias of the estimates of single data
_CONCLUSIVE_SHARE = 0.9  # share of the checked data on which half of p(x) must be found; set by hand
_LEAST_SHARE = 0.5  # smallest share to divide by, so that one lucky chain among useless ones is not blown up; by hand


@dataclass(frozen=True)
class CrossCheck:
    r"""Estimates of log p(x) of n data by chains from the prior, compared with estimates that start from the guide.

    Both are lower bounds in expectation. If the chains from the prior find more, the guide misses a part of the
    posterior, or its estimate is too small for another reason. If they find less than half of p(x), they are too short
    for a conclusion.

    A difference is significant if it is above 3.5 standard errors. If few chains find a mode, they disagree, and their
    standard error is large. But whatever the error, an estimate that is unbiased exceeds p(x) twentyfold with a
    probability of at most 5 % (Markov's inequality), so that a difference above log 20 is significant, too.

    Attributes:
        index: indices of the checked data, ``(n,)``.
        log_prob: log p(x) by annealed chains from the prior, in nats, ``(n,)``.
        difference: ``log_prob`` minus the checked estimate, in nats, ``(n,)``.
        standard_error: standard error of ``difference``, in nats, ``(n,)``.
    """

    index: Tensor
    log_prob: Tensor = field(repr=False)
    difference: Tensor
    standard_error: Tensor = field(repr=False)

    def __repr__(self) -> str:
        figures = self.summary()
        return short_repr(self, **{name: figures[name] for name in figures if name != "sentence"})

    @property
    def exceeds(self) -> Tensor:
        """True for data on which the chains from the prior find significantly more, ``(n,)``."""
        threshold = (_NUM_ERRORS * self.standard_error).nan_to_num(math.inf)  # the error of one chain is not known
        return self.difference > threshold.clamp(min=_MIN_DIFFERENCE, max=_LOG_20)

    @property
    def share_found(self) -> float:
        """Share of the checked data for which chains from the prior find half of p(x)."""
        return (self.difference > -_LOG_2).double().mean().item()

    @property
    def is_conclusive(self) -> bool:
        """True if chains from the prior find half of p(x) for nine in ten data, and so would find missed modes."""
        return self.share_found >= _CONCLUSIVE_SHARE

    @property
    def missing(self) -> float:
        """Mean shortfall of the checked estimate, in nats per datum.

        It is the mean significant difference divided by :attr:`share_found`, because chains from the prior are taken
        to find as large a share of the modes that the guide misses as of those that it knows; but at most twice it.
        """
        return self._shortfalls.mean().item()

    def missing_error(self, count: int) -> float:
        """Standard error of :attr:`missing` as that of all ``count`` data, of which the checked ones are a sample."""
        n = len(self.index)
        return self._shortfalls.std().item() * math.sqrt((1 - n / count) / n) if n > 1 else 0.0

    @property
    def _shortfalls(self) -> Tensor:
        return torch.where(self.exceeds, self.difference, 0.0) / max(self.share_found, _LEAST_SHARE)

    @property
    def sentence(self) -> str:
        """The conclusion about the checked estimate, in a sentence."""
        n, more = len(self.index), int(self.exceeds.sum())
        if more:
            return (
                f"Annealing from the prior finds more on {more} of the {n} data that it was run on: the guide misses a "
                f"part of the posterior, and the NLL is too large by about {self.missing:.2g} nats a datum."
            )
        if self.is_conclusive:
            return (
                f"Annealing from the prior finds no more on any of the {n} data that it was run on: modes that the "
                "guide misses were looked for, and not found."
            )
        missed = int((self.difference <= -_LOG_2).sum())
        return (
            f"Annealing from the prior finds less than half of p(x) on {missed} of the {n} data that it was run on: it "
            "is too short to find all modes that the guide misses, and it found none."
        )

    def summary(self) -> dict[str, Any]:
        """Return the results as plain numbers; None for unknown or infinite values."""
        return {
            "num_data": len(self.index),
            "num_exceeding": int(self.exceeds.sum()),
            "missing": json_number(self.missing),
            "median_difference": json_number(self.difference.median().item()),
            "is_conclusive": self.is_conclusive,
            "sentence": self.sentence,
        }
