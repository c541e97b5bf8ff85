"""Concatenation of the results of several batches of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrovae.evaluation.likelihood.bias import estimated_bias
from pyrovae.evaluation.likelihood.convergence import Convergence
from pyrovae.evaluation.likelihood.prior_comparison import CrossCheck
from pyrovae.evaluation.likelihood.result import STATISTICS, LogMarginal

__all__ = ["concatenate"]


def concatenate(parts: list[LogMarginal], cat: Callable[..., Tensor] = torch.cat) -> LogMarginal:
    """Concatenate the results of several batches of data; only the first batch's paths of annealed chains are kept.

    Args:
        parts: results of the batches, in order.
        cat: function that concatenates tensors, with the arguments of ``torch.cat``.
    """

    def column(name: str) -> Tensor:
        return cat([getattr(part, name) for part in parts])

    unbiased = [part.log_unbiased for part in parts]
    integrals = [part.integral for part in parts]
    integral = integrals[0]
    if integral is not None:
        columns_of = {name: cat([getattr(part, name) for part in integrals]) for name in vars(integral)}
        integral = replace(integral, **columns_of)
    check = _concatenated_checks(parts, cat)
    bounds = [part.convergence for part in parts if part.convergence is not None]
    figures: dict[str, Any] = {name: column(name) for name in STATISTICS}
    curve = None
    if bounds:
        columns = ("bound", "standard_error", "jackknife", "halved")
        curve = Convergence(
            num_samples=bounds[0].num_samples,
            unseen=cat([part.unseen for part in bounds]),
            **{name: cat([getattr(part, name) for part in bounds], 1) for name in columns},
        )
        annealed = ~figures["acceptance"].isnan()  # the growth of the bound is estimated better from all data together
        figures["bias"] = estimated_bias(curve.halved, curve.unseen, figures["ess"], figures["num_samples"], annealed)
    return replace(
        parts[0],
        **figures,
        tail=cat([part.tail for part in parts], 1),
        draws={site: cat([part.draws[site] for part in parts]) for site in parts[0].draws},
        log_likelihood=column("log_likelihood"),
        x=column("x"),
        convergence=curve,
        check=check,
        prior_found=None if parts[0].prior_found is None else column("prior_found"),
        integral=integral,
        log_unbiased=None if any(part is None for part in unbiased) else cat(unbiased, 1),
    )


def _concatenated_checks(parts: list[LogMarginal], cat: Callable[..., Tensor]) -> CrossCheck | None:
    """Concatenate the checks of all batches; None if one has none."""
    found = [(part.check, len(part.log_prob)) for part in parts]
    checks = [check for check, _ in found if check is not None]
    if len(checks) < len(parts):
        return None
    starts = [sum(count for _, count in found[:i]) for i in range(len(found))]
    columns = {
        name: cat([getattr(check, name) for check in checks]) for name in ("log_prob", "difference", "standard_error")
    }
    return CrossCheck(index=cat([check.index + start for check, start in zip(checks, starts, strict=True)]), **columns)
