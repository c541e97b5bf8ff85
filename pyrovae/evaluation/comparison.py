"""Comparison of models by log p(x) of each datum: differences from the best model, paired over the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from pyrovae import checks
from pyrovae.arviz_import import compare_elpd
from pyrovae.evaluation.comparison_table import Comparison, ComparisonRow, join_names
from pyrovae.evaluation.likelihood.diagnostics import pareto_threshold
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.missing import same_values

if TYPE_CHECKING:
    import pandas

__all__ = ["compare"]


def compare(
    results: Mapping[str, LogMarginal],
    bits_per_dim: Callable[[float], float | None] | None = None,
    gaps: Mapping[str, float] | None = None,
) -> Comparison:
    r"""Compare models by their log p(x) of the same data.

    Data that are hard for one model are hard for the others too, so the difference of two NLLs,
    :math:`\bar d = \frac1N \sum_i d_i` with :math:`d_i = \log p_\text{best}(x_i) - \log p(x_i)`, is known far more
    precisely than either of them. Its standard error is that of a mean,

    .. math:: \sqrt{\frac{1}{N (N - 1)} \sum_i (d_i - \bar d)^2},

    and its 95 % interval is :math:`\bar d` plus or minus this error times Student's 97.5 % quantile for N - 1 degrees
    of freedom. This includes the Monte Carlo error, as part of the scatter of :math:`d_i`, but not the biases of the
    two NLLs. The interval is therefore extended downwards by the bias of the other model and upwards by that of the
    best model. On the side of a model with k̂ above 0.7 for more than a fifth of the data it is unbounded, because the
    weights cannot show the bias then; a sandwich or annealing can. A warning says where this decides whether two models
    can be distinguished. If the data of two models are not identical, the difference is not paired: the error is that
    of two independent means (Welch, 1947), and the row is marked. Each interval compares one model with the best one;
    there is no correction for multiple comparisons. The difference of two certified NLLs is not certified, because a
    certificate bounds an NLL from above only.

    Args:
        results: results of :func:`log_marginal` by name of the model; two or more.
        bits_per_dim: function that converts nats to bits/dim, such as the method of a :class:`~pyrovae.DataSet`.
        gaps: ``gap`` of the :class:`Sandwich`, in nats, by name of the model, for the models that have one. It replaces
            the bias that is estimated from the weights.

    Raises:
        ValueError: if there are fewer than two results, an estimate is not finite, or the shapes of the data differ.

    Example:
        >>> x = torch.ones(3, 4)
        >>> vaes = [VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2)) for _ in range(2)]
        >>> results = {f"vae {i}": log_marginal(vae.model, vae.guide, x, num_samples=100) for i, vae in enumerate(vaes)}
        >>> best, other = compare(results).rows
        >>> best.difference, other.difference > 0, other.paired
        (0.0, True, True)
    """
    _check(results)
    log_prob = {name: result.log_prob.detach().double().cpu() for name, result in results.items()}
    order = sorted(results, key=lambda name: (-log_prob[name].mean().item(), name))
    best = order[0]
    paired = {name: same_values(results[name].x.cpu(), results[best].x.cpu()) for name in order}
    elpd = _elpd({name: log_prob[name] for name in order}, results) if all(paired.values()) else None
    measured = dict(gaps or {})
    bias = {name: max(0.0, measured.get(name, _bias(result))) for name, result in results.items()}
    allowance = {
        name: math.inf if result.has_heavy_tails and name not in measured else bias[name]
        for name, result in results.items()
    }
    rows = []
    for name in order:
        result = results[name]
        difference, error, freedom = _difference(log_prob[best], log_prob[name], paired[name])
        half = _quantile(freedom) * error if error > 0 else error
        low, high = difference - half, difference + half
        if name != best:
            low, high = low - allowance[name], high + allowance[best]
        rows.append(
            ComparisonRow(
                name=name,
                num_data=len(result.log_prob),
                nll=result.nll,
                standard_error=result.sampling_error,
                mc_error=result.monte_carlo_error,
                bias=bias[name],
                bits_per_dim=None if bits_per_dim is None else bits_per_dim(result.nll),
                difference=difference,
                difference_error=error,
                low=low,
                high=high,
                paired=paired[name],
                distinguishable=None if math.isnan(half) else low > 0,
                stacking_weight=None if elpd is None else float(elpd.loc[name, "stacking_weight"]),
                verdict=result.verdict,
            )
        )
    if elpd is not None and not all(row.distinguishable for row in rows[1:]):  # whatever is put first takes it all
        elpd["stacking_weight"] = math.nan
        rows = [replace(row, stacking_weight=None) for row in rows]
    return Comparison(tuple(rows), tuple(_warnings(rows, results)), elpd)


def _check(results: Mapping[str, LogMarginal]) -> None:
    if len(results) < 2:
        raise checks.InputError(f"results must be of two models or more, but of {len(results)} were given")
    shapes = {name: tuple(result.x.shape[1:]) for name, result in results.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{shape} for {name}" for name, shape in shapes.items())
        raise checks.InputError(f"results must be of data of one shape, but the shapes are {found}")
    for name, result in results.items():
        infinite = int((~result.log_prob.isfinite()).sum())
        if infinite:
            raise checks.InputError(f"results must be finite, but log p(x) of {infinite} data is not for {name}")


def _difference(best: Tensor, other: Tensor, paired: bool) -> tuple[float, float, float]:
    """Return the difference of two NLLs, its standard error, and the error's degrees of freedom."""
    if paired:
        d, N = best - other, len(other)
        return d.mean().item(), d.std().item() / math.sqrt(N) if N > 1 else math.nan, N - 1
    difference = (best.mean() - other.mean()).item()
    if min(len(best), len(other)) == 1:
        return difference, math.nan, 0
    parts = [(part.var().item() / len(part), len(part) - 1) for part in (best, other)]
    variance = sum(part for part, _ in parts)
    scatter = sum(part**2 / freedom for part, freedom in parts)
    return difference, math.sqrt(variance), variance**2 / scatter if scatter > 0 else math.inf


def _quantile(freedom: float) -> float:
    """Return Student's 97.5 % quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _warnings(rows: list[ComparisonRow], results: Mapping[str, LogMarginal]) -> list[str]:
    best, *others = rows
    found = []
    apart = [row.name for row in others if not row.paired]
    if apart:
        found.append(
            f"The data of {join_names(apart)} are not those of {best.name}: nothing is paired, and the difference "
            "compares the models only if both sets of data have the same distribution."
        )
    efforts = {row.name: _effort(results[row.name]) for row in rows}
    if len(set(efforts.values())) > 1 and any(not result.is_adaptive for result in results.values()):
        found.append(
            f"The estimators differ: {'; '.join(f'{effort} ({name})' for name, effort in efforts.items())}. Each is a "
            "lower bound, and a tighter one gives a lower NLL of the same model."
        )
    if all(result.log_unbiased is not None for result in results.values()):
        found.append(
            "A certificate bounds an NLL from above, and no NLL from below: none of these differences is certified."
        )
    for row in others:
        worse = row if row.bias > best.bias else best
        more = " or more" if results[worse.name].has_heavy_tails else ""
        if row.distinguishable is False and row.difference > 1.96 * row.difference_error and worse.bias > 0:
            found.append(
                f"The NLL of {worse.name} may be too large by {worse.bias:.2g} nats{more}, so that {row.name} and "
                f"{best.name} cannot be told apart: anneal both, or bound both by a sandwich."
            )
    return found


def _bias(result: LogMarginal) -> float:
    """Return the bias of an NLL, including what a check by chains from the prior finds missing."""
    return result.mean_bias + (0.0 if result.check is None else result.check.missing)


def _effort(result: LogMarginal) -> str:
    K, evaluations = int(result.num_samples.max()), int(result.num_evaluations.max())
    return f"{result.method}, K = {K}" + (f" by {evaluations} evaluations" if evaluations != K else "")


def _elpd(log_prob: Mapping[str, Tensor], results: Mapping[str, LogMarginal]) -> pandas.DataFrame:
    """Return ArviZ's table with log p(x) of these data in the place of its leave-one-out estimates."""
    return compare_elpd(
        {name: values.numpy() for name, values in log_prob.items()},
        {name: int(results[name].num_samples.max()) for name in log_prob},
        {name: bool((results[name].pareto_k > pareto_threshold(results[name].num_samples)).any()) for name in log_prob},
    )
