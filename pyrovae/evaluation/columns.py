"""Each column of a table under a program: its reconstruction error, its calibration, and its share of log p(x)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import checks
from pyrovae.columns import Schema
from pyrovae.distributions import Columnwise
from pyrovae.distributions.support_bounds import unwrap
from pyrovae.execution import evaluating, is_latent, see_zeros, trace, values_of
from pyrovae.missing import fill_missing, is_missing
from pyrovae.prediction import reconstruct
from pyrovae.programs import Batch, PyroFunction, arguments_of, schema_of
from pyrovae.reprs import short_repr

if TYPE_CHECKING:
    import pandas

__all__ = ["ColumnReport", "report_columns"]

_ROWS = 500  # rows at a time
_REPLICATES = 99  # rows drawn for the rank of each cell


@dataclass(frozen=True)
class ColumnReport:
    r"""Densities, errors and ranks of the cells of a table under a program; NaN where a value is missing.

    Attributes:
        schema: the columns.
        x: the rows, ``(B, C)``.
        log_prob: :math:`\mathrm{E}_{q(z|x)}[\log p(x_j|z)]`, in nats, float64 ``(B, C)``. Its sum over columns, minus
            the KL, is the ELBO.
        kl: :math:`\mathrm{E}_{q(z|x)}[\log q(z|x) - \log p(z)]`, in nats, ``(B,)``.
        error: squared errors of the reconstructions, as :meth:`Schema.squared_errors`, ``(B, C)``.
        rank: share of the values drawn from p(x|z) that are smaller than the cell, at one draw of z from q(z|x),
            ``(B, C)``, ties broken at random. If program and guide are right, it is uniform.
    """

    schema: Schema
    x: Tensor = field(repr=False)
    log_prob: Tensor = field(repr=False)
    kl: Tensor = field(repr=False)
    error: Tensor = field(repr=False)
    rank: Tensor = field(repr=False)

    def __repr__(self) -> str:
        return short_repr(self, num_data=len(self.x), num_columns=len(self.schema), elbo=self.elbo.mean().item())

    @property
    def elbo(self) -> Tensor:
        """The ELBO of each row, ``(B,)``, in nats."""
        return self.log_prob.nansum(1) - self.kl

    @property
    def excess(self) -> Tensor:
        """Loss of each cell against the mean of its column, in nats, ``(B, C)``: its share of a low log p(x)."""
        return self.log_prob.nanmean(0) - self.log_prob

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each column.

        ``log_prob`` is the mean in nats, ``error`` the root of the mean squared error; ``inside_50`` and ``inside_90``
        are the shares of cells within the central 50 % and 90 % of the values drawn from p(x|z).
        """
        import pandas

        known = ~self.rank.isnan()

        def share(width: float) -> Tensor:
            inside = ((self.rank - 0.5).abs() <= width / 2) & known
            return inside.double().sum(0) / known.sum(0)

        columns = {"column": self.schema.names, "kind": [column.kind for column in self.schema.columns]}
        numbers = {"log_prob": self.log_prob.nanmean(0), "error": self.error.nanmean(0).sqrt()}
        numbers |= {"inside_50": share(0.5), "inside_90": share(0.9), "missing": 1 - known.double().mean(0)}
        return pandas.DataFrame({**columns, **{name: values.numpy() for name, values in numbers.items()}})

    def worst_rows(self, count: int = 10) -> pandas.DataFrame:
        """Return the rows with the lowest ELBO, and the column that is to blame for each.

        ``row`` is the position in x, ``elbo`` in nats; ``column`` has the largest excess, ``excess`` in nats, and
        ``value`` is the cell.

        Args:
            count: number of rows.
        """
        import pandas

        rows = self.elbo.argsort()[: checks.integer("count", count)]
        blamed = self.excess[rows].nan_to_num(-torch.inf)
        worst = blamed.argmax(1)
        frame = self.schema.to_frame(self.x[rows])
        found = {
            "row": rows.numpy(),
            "elbo": self.elbo[rows].numpy(),
            "column": [self.schema.names[i] for i in worst],
            "excess": blamed.amax(1).numpy(),
            "value": [frame.iloc[i, int(j)] for i, j in enumerate(worst)],
        }
        return pandas.DataFrame(found)


def report_columns(model: PyroFunction, guide: PyroFunction, x: Batch, num_draws: int = 20) -> ColumnReport:
    """Report how a program explains each cell of a table.

    Args:
        model: program of p(x, z) with a :class:`~pyrovae.TableLikelihood`.
        guide: program of q(z|x).
        x: rows, ``(B, C)``, NaN where a value is missing; or a data frame.
        num_draws: number of draws of z from q(z|x) for each row.

    Raises:
        ValueError: if the program has no likelihood of tables.

    Example:
        >>> vae = VAE(StandardNormal(2), TableLikelihood((3,), 2), DiagonalNormal((3,), 2))
        >>> found = report_columns(vae.model, vae.guide, torch.randn(50, 3))
        >>> found.log_prob.shape, found.to_dataframe().shape, list(found.worst_rows(2).columns)
        (torch.Size([50, 3]), (3, 7), ['row', 'elbo', 'column', 'excess', 'value'])
    """
    checks.integer("num_draws", num_draws)
    schema, (rows, *others) = schema_of(model), arguments_of(x, model, guide)
    if schema is None:
        raise checks.InputError("model must have a TableLikelihood, whose columns are reported, but has not")
    parts = [
        _explain(model, see_zeros(guide), (rows[i], *(part[i] for part in others)), num_draws)
        for i in torch.arange(len(rows)).split(_ROWS)
    ]
    log_prob, kl, rank = (torch.cat(part) for part in zip(*parts, strict=True))
    batches = (tuple(part[i] for part in (rows, *others)) for i in torch.arange(len(rows)).split(_ROWS))
    means = torch.cat([reconstruct(model, guide, part if others else part[0]) for part in batches])
    missing = is_missing(rows).cpu()
    error = schema.squared_errors(rows, means).cpu().masked_fill(missing, torch.nan)
    return ColumnReport(schema, rows.cpu(), log_prob.masked_fill(missing, torch.nan), kl, error, rank)


def _explain(
    model: PyroFunction, guide: PyroFunction, arguments: tuple[Tensor, ...], num_draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return expected log-probabilities of cells, ``(B, C)``, the KL, ``(B,)``, and ranks of cells, ``(B, C)``."""
    x = arguments[0]
    cells, kl, rank = torch.zeros(x.shape, dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64), None
    with evaluating(model, guide):
        for _ in range(num_draws):
            guided = trace(guide, arguments)
            traced = trace(poutine.condition(model, values_of(guided)), (fill_missing(x), *arguments[1:]))
            fn = _columns_of(traced)
            cells += fn.mask(~is_missing(x)).log_prob(fill_missing(x)).double().cpu()
            kl += (_log_prob_of_latents(guided) - _log_prob_of_latents(traced, like=guided)).double().cpu()
            rank = _rank(fn, x).cpu() if rank is None else rank
    assert rank is not None
    return cells / num_draws, kl / num_draws, rank


def _columns_of(traced: Trace) -> Columnwise:
    found = [unwrap(site["fn"]) for site in traced.nodes.values() if site["type"] == "sample" and site["is_observed"]]
    columns = [fn for fn in found if isinstance(fn, Columnwise)]
    if len(columns) != 1:
        raise checks.InputError("model must observe x by one TableLikelihood to report its columns, but does not")
    return columns[0]


def _log_prob_of_latents(traced: Trace, like: Trace | None = None) -> Tensor:
    names = [name for name, site in (like or traced).nodes.items() if is_latent(site)]
    sites = [traced.nodes[name] for name in names]
    return torch.stack([site["fn"].log_prob(site["value"]) for site in sites]).sum(0)


def _rank(fn: Columnwise, x: Tensor) -> Tensor:
    """Return the randomised rank of each cell among values drawn at the same z, in (0, 1); NaN if missing."""
    drawn = fn.sample((_REPLICATES,))
    smaller, equal = (drawn < x).sum(0), (drawn == x).sum(0)
    rank = (smaller + torch.rand(x.shape, device=x.device) * (equal + 1)) / (_REPLICATES + 1)
    return rank.double().masked_fill(is_missing(x), torch.nan)
