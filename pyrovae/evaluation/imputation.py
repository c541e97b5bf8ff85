"""``impute``, the distribution of missing values given the observed ones, with its reliability."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks, html
from pyrovae.columns import Schema
from pyrovae.distributions import Columnwise, QuantizedCategorical
from pyrovae.distributions.support_bounds import unwrap
from pyrovae.evaluation.likelihood.diagnostics import pareto_threshold
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution import DataSites, Unobserved, evaluating, find_data_sites, trace
from pyrovae.execution.chunking import Chunks
from pyrovae.missing import fill_missing, is_missing
from pyrovae.prediction.predictive import mean_of
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of, concise_errors, schema_of
from pyrovae.reprs import short_repr

if TYPE_CHECKING:
    import pandas

__all__ = ["Imputation", "impute"]

_SHOWN = 10  # cells of the table in notebooks


@dataclass(frozen=True)
class Imputation:
    r"""Missing values given the observed ones, :math:`p(x_\mathrm{mis} | x_\mathrm{obs})`, of each datum.

    Attributes:
        x: the data, NaN where a value is missing, ``(B, *data_shape)``.
        mean: the conditional mean where a value is missing, else the observed value, ``(B, *data_shape)``; of classes,
            the most probable one.
        standard_deviation: the conditional standard deviation of each missing value, in units of x, else 0; NaN for
            classes.
        imputations: S draws of the missing values together, with the observed values, ``(S, B, *data_shape)``.
        evidence: log p of the observed values, with k̂ and other diagnostics of the weights of each datum.
        schema: the columns of the table that the program was made for; None if it was made for other data.
    """

    x: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    standard_deviation: Tensor = field(repr=False)
    imputations: Tensor = field(repr=False)
    evidence: LogMarginal = field(repr=False)
    schema: Schema | None = field(default=None, repr=False)

    @property
    def missing(self) -> Tensor:
        """Mask of the missing values, ``(B, *data_shape)``."""
        return is_missing(self.x)

    @property
    def reliable(self) -> Tensor:
        """Reliability of the weights of each datum, ``(B,)``; True for data without gaps."""
        complete = ~self.missing.reshape(len(self.missing), -1).any(1)
        return self.evidence.reliable.to(complete.device) | complete

    @property
    def notes(self) -> list[str]:
        """Remarks about the results, in sentences."""
        doubtful = int((~self.reliable).sum())
        if not doubtful:
            return []
        return [
            f"The weights of {doubtful} of {len(self.x)} data are not reliable (k̂ above "
            f"{pareto_threshold(int(self.evidence.num_samples.max())):.2f}, or too few effective weights): their "
            "imputations may miss values that are probable; more samples, or Annealed chains, may help."
        ]

    def __repr__(self) -> str:
        return short_repr(
            self,
            num_data=len(self.x),
            num_missing=int(self.missing.sum()),
            num_imputations=len(self.imputations),
            num_reliable=int(self.reliable.sum()),
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each missing value.

        Its columns are ``datum``, ``cell``, the position in the flattened datum, or ``column``, the name, of a table's
        rows, ``mean``, ``standard_deviation``, the draws ``draw_0`` and so on, and ``pareto_k`` and ``reliable`` of the
        datum. Means and draws of a table's categories are their codes; ``schema.to_frame(found.mean)`` has their names.
        """
        import pandas

        datum, cell = self.missing.reshape(len(self.missing), -1).cpu().nonzero(as_tuple=True)

        def at(values: Tensor) -> Any:
            return values.reshape(len(values), -1).cpu()[datum, cell].numpy()

        columns: dict[str, Any] = {"datum": datum.numpy()}
        columns |= (
            {"cell": cell.numpy()} if self.schema is None else {"column": [self.schema.names[i] for i in cell.tolist()]}
        )
        columns |= {"mean": at(self.mean), "standard_deviation": at(self.standard_deviation)}
        columns |= {f"draw_{i}": at(draw) for i, draw in enumerate(self.imputations)}
        of_datum = {"pareto_k": self.evidence.pareto_k, "reliable": self.reliable}
        columns |= {name: values.cpu()[datum].numpy() for name, values in of_datum.items()}
        return pandas.DataFrame(columns)

    def _repr_html_(self) -> str:
        count = int(self.missing.sum())
        place = "cell" if self.schema is None else "column"
        shown = self.to_dataframe()[["datum", place, "mean", "standard_deviation"]].head(_SHOWN)
        rows = [[str(i), str(j), f"{m:.4g}", f"{s:.4g}"] for i, j, m, s in shown.itertuples(index=False)]
        if count > _SHOWN:
            rows.append(["…", "", "", ""])
        title = f"Imputation of {count} missing values in {len(self.x)} data"
        return html.card(title, html.table(["datum", place, "mean", "std"], rows), html.sentences(self.notes))


def impute(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    estimator: Estimator | None = None,
    *,
    num_samples: int | None = None,
    num_imputations: int = 10,
    num_draws: int = 200,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Imputation:
    r"""Impute missing values: their mean and spread given the observed values, and draws of them.

    The estimator weighs latents by :math:`w = p(x_\mathrm{obs}, z) / q(z|x_\mathrm{obs})`, and draws of the posterior
    are resampled by weight (Mattei & Frellsen, 2019, arXiv:1812.02633): with draws :math:`z_s`,

    .. math::
        \mathrm{E}[x_i | x_\mathrm{obs}] \approx \frac1S \sum_s \mathrm{E}[x_i | z_s] , \qquad
        \mathrm{Var}[x_i | x_\mathrm{obs}] \approx \frac1S \sum_s \mathrm{Var}[x_i | z_s] + \mathrm{Var}_s\,
        \mathrm{E}[x_i | z_s] ,

    and :math:`x_\mathrm{mis} \sim p(x_\mathrm{mis} | z_s)` for multiple imputations (Rubin, 1987). Chains of
    ``Annealed`` give draws where importance weights fail, which their k̂ tells.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, with NaN where a value is missing, or the tuple ``(x, y)``.
        estimator: estimator of log p(x_obs), which draws the latents; ``Importance()`` if not given.
        num_samples: short for ``Importance(num_samples)``.
        num_imputations: number of draws of x for each datum, at most ``num_draws``.
        num_draws: number S of posterior draws that mean and spread are averages over.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if an option is invalid, the programs do not fit the data, p(x|z) depends on x, or the estimator
            keeps no draws.

    Example:
        >>> vae = VAE(StandardNormal(2), Gaussian((3,), 2), DiagonalNormal((3,), 2))
        >>> x = torch.tensor([[1.0, float("nan"), 2.0], [0.0, 1.0, 2.0]])
        >>> found = impute(vae.model, vae.guide, x, num_samples=100, progress=False)
        >>> found.mean.shape, found.imputations.shape, found.mean[1]
        (torch.Size([2, 3]), torch.Size([10, 2, 3]), tensor([0., 1., 2.]))
        >>> found
        Imputation(num_data=2, num_missing=1, num_imputations=10, num_reliable=...)
    """
    checks.integer("num_imputations", num_imputations, minimum=0)
    if checks.integer("num_draws", num_draws) < num_imputations:
        raise checks.InputError(
            f"num_draws must be at least num_imputations, {num_imputations}, but {num_draws} was given"
        )
    arguments = arguments_of(x, model, guide)
    if not arguments[0].is_floating_point():
        raise checks.InputError(f"x must be floats, with NaN where a value is missing, but is {arguments[0].dtype}")
    batch = arguments if len(arguments) > 1 else arguments[0]
    evidence = log_marginal(
        model,
        guide,
        batch,
        estimator,
        num_samples=num_samples,
        num_draws=num_draws,
        chunk_size=chunk_size,
        progress=progress,
    )
    if not evidence.draws:
        raise checks.InputError(f"estimator must keep posterior draws to impute from, but {estimator!r} keeps none")
    filled = (fill_missing(arguments[0]), *arguments[1:])
    sites = find_data_sites(model, filled)
    if sites.depends_on_x or sites.latents_depend_on_x:
        raise checks.InputError("model must have distributions that do not depend on x to impute it, but one does")
    chunks = Chunks(chunk_size)
    chunks.choose(model, filled)
    draws = {name: z.to(arguments[0].device) for name, z in evidence.draws.items()}  # (B, S, *event_shape)
    size = max(1, chunks.size // num_draws)
    parts = []
    for some in torch.arange(len(arguments[0])).split(size):
        given, drawn = tuple(part[some] for part in filled), {name: z[some] for name, z in draws.items()}
        parts.append(_decode(model, sites, given, drawn, num_imputations))
    mean, deviation, imputations = (torch.cat([part[i] for part in parts], dim) for i, dim in enumerate((0, 0, 1)))
    gaps = is_missing(arguments[0])
    mean, imputations = (torch.where(gaps, part.to(filled[0]), filled[0]) for part in (mean, imputations))
    deviation = torch.where(gaps, deviation.to(filled[0]), 0.0)
    return Imputation(arguments[0], mean, deviation, imputations, evidence, schema_of(model))


def _decode(
    model: PyroFunction, sites: DataSites, arguments: Arguments, draws: dict[str, Tensor], num_imputations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and standard deviation of x over draws of the latents, and samples of x.

    Args:
        model: program of p(x, z).
        sites: the sites at which it observes x.
        arguments: its arguments, of B data.
        draws: latents by site, ``(B, S, *event_shape)``.
        num_imputations: number of samples of x, of the first draws.

    Returns:
        ``(B, *data_shape)`` twice, and ``(num_imputations, B, *data_shape)``.
    """
    B, S = next(iter(draws.values())).shape[:2]
    repeated = tuple(part.repeat_interleave(S, 0) for part in arguments)
    latents = {name: z.flatten(0, 1) for name, z in draws.items()}
    with evaluating(model), Unobserved(sites.entries):
        found = trace(poutine.condition(model, latents), repeated)
    sites.check(found, latents)
    means, deviations, samples = {}, {}, {}
    with concise_errors(arguments[0]):
        for name in sites.entries:
            fn, value = found.nodes[name]["fn"], found.nodes[name]["value"]
            samples[name] = value.unflatten(0, (B, S)).movedim(1, 0)[:num_imputations].flatten(0, 1)
            means[name], deviations[name] = _moments(fn, value, (B, S))
    S = num_imputations
    drawn = sites.join(samples, repeated[0][: B * S]) if S else repeated[0][:0]
    return (
        sites.join(means, arguments[0].double()),
        sites.join(deviations, arguments[0].double()),
        drawn.reshape(S, *arguments[0].shape),
    )


def _moments(fn: Any, value: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of a site over S draws of the latents of B data, ``(B, *event_shape)``.

    Args:
        fn: its distribution, of batch shape ``(B * S,)``.
        value: a sample of it.
        shape: B and S.
    """
    base = unwrap(fn)
    if isinstance(base, Columnwise):
        return base.mixture_moments(shape)
    if isinstance(base, torch.distributions.Categorical) and not isinstance(base, QuantizedCategorical):
        probs = base.probs.expand(*fn.batch_shape, *fn.event_shape, -1).unflatten(0, shape).mean(1)
        chosen = probs.argmax(-1).double()
        return chosen, torch.full_like(chosen, math.nan)
    mean = mean_of(fn).double().unflatten(0, shape)  # (B, S, *event_shape)
    try:
        within = fn.variance.double().unflatten(0, shape).mean(1)
        between = mean.var(1, correction=0)
        return mean.mean(1), (within + between).sqrt()
    except NotImplementedError:  # the spread of the samples
        return mean.mean(1), value.double().unflatten(0, shape).std(1)
