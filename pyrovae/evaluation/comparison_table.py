"""Table of a comparison, as text, Markdown and comma-separated values."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyrovae import html
from pyrovae.reprs import short_repr

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison", "ComparisonRow", "join_names"]


@dataclass(frozen=True)
class ComparisonRow:
    """The results of one model, in nats per datum except ``bits_per_dim`` and ``stacking_weight``.

    Attributes:
        name: name of the model.
        num_data: number N of its data.
        nll: mean of -log p(x).
        standard_error: standard error of ``nll`` over the choice of data, including the Monte Carlo error; NaN for one
            datum.
        mc_error: standard error of ``nll`` over the choice of samples; NaN for K = 1.
        bias: excess of ``nll``: measured by a sandwich, or else estimated from the weights.
        bits_per_dim: ``nll`` in bits per dimension; None if not requested, or not defined for the data.
        difference: ``nll`` minus that of the best model; not negative.
        difference_error: standard error of ``difference``, including the Monte Carlo error; NaN for one datum.
        low: lower end of the 95 % interval of ``difference``, which allows for the biases of both models.
        high: upper end of this interval.
        paired: True if the data are those of the best model, so that differences are taken datum by datum.
        distinguishable: True if the interval excludes zero; None without an interval.
        stacking_weight: share in the mixture of all models with the highest probability of the data; not a probability
            that the model is the best. None if the data of the models differ, or if a model cannot be distinguished
            from the best one, so that the data do not determine it.
        verdict: sentences that say whether ``nll`` can be trusted.
    """

    name: str
    num_data: int
    nll: float
    standard_error: float
    mc_error: float
    bias: float
    bits_per_dim: float | None
    difference: float
    difference_error: float
    low: float
    high: float
    paired: bool
    distinguishable: bool | None
    stacking_weight: float | None
    verdict: str = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    r"""A table of models, the best first; as a string, it is the table with conclusions and warnings.

    Attributes:
        rows: results of each model, sorted by NLL and name.
        warnings: reasons against taking the table as it stands, in sentences.
        elpd: table of ``arviz.compare`` with sums over the data. ``elpd`` is :math:`\sum_i \log p(x_i)` of these data,
            in the place of ArviZ's ``elpd_loo``, an estimate of it from the data that a model was fitted to.
            ``stacking_weight`` is the share in the mixture of all models with the highest probability of the data (Yao
            et al., 2018, arXiv:1704.02030), NaN if not determined. None if the data of the models differ.
    """

    rows: tuple[ComparisonRow, ...]
    warnings: tuple[str, ...]
    elpd: pandas.DataFrame | None = field(repr=False)

    def __repr__(self) -> str:
        return short_repr(
            self, nll={row.name: round(row.nll, self._digits()) for row in self.rows}, warnings=len(self.warnings)
        )

    @property
    def sentences(self) -> list[str]:
        """Conclusions, warnings, and the verdict on each estimate."""
        best, *others = self.rows
        paired = f", paired over the same {best.num_data} data" if any(row.paired for row in others) else ""
        marked = "" if all(row.paired for row in others) else " Those marked * are of independent data."
        sentences = [f"Differences are to {best.name}{paired}.{marked}"]
        close = [row.name for row in others if row.distinguishable is False]
        if close:
            sentences.append(f"{join_names(close)} cannot be told apart from {best.name} by these data.")
        return [*sentences, *self.warnings, *(f"{row.name}: {row.verdict}" for row in self.rows)]

    def cells(self) -> list[list[str]]:
        """Return the printed table, with a header and without empty columns."""
        digits = self._digits()

        def nats(value: float, digits: int = digits) -> str:
            return f"{value:.{digits}f}" if math.isfinite(value) else "unknown"

        head = ["run", "NLL", "s.e.", "MC error", "bias", "bits/dim"]
        lines = [[*head, "difference", "its s.e.", "95 % interval", "told apart", "stacking"]]
        for row in self.rows:
            line = [row.name, nats(row.nll), nats(row.standard_error)]
            line += [nats(value, max(4, digits)) for value in (row.mc_error, row.bias)]
            line.append("" if row.bits_per_dim is None else f"{row.bits_per_dim:.4f}")
            if row is self.rows[0]:
                line += ["best", "", "", ""]
            else:
                line += [nats(row.difference), nats(row.difference_error) + ("" if row.paired else " *")]
                line.append("unknown" if row.distinguishable is None else f"[{nats(row.low)}, {nats(row.high)}]")
                line.append({True: "yes", False: "no", None: "unknown"}[row.distinguishable])
            line.append("" if row.stacking_weight is None else f"{row.stacking_weight:.2f}")
            lines.append(line)
        kept = [any(column[1:]) for column in zip(*lines, strict=True)]
        return [[cell for cell, keep in zip(line, kept, strict=True) if keep] for line in lines]

    def __str__(self) -> str:
        lines = self.cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = []
        for name, *numbers in lines:
            right = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
            text.append("  ".join([name.ljust(widths[0]), *right]).rstrip())
        return "\n".join([*text, "", *self.sentences])

    def _repr_html_(self) -> str:
        head, *lines = self.cells()
        rows = [(row.name, row.difference, row.low, row.high) for row in self.rows[1:]]
        plot = html.intervals(rows, f"NLL minus that of {self.rows[0].name}, nats per datum")
        return html.card(f"{len(self.rows)} models", html.table(head, lines), html.sentences(self.sentences), plot)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each model, the best first, with the fields of :class:`ComparisonRow`."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(row) for row in self.rows]).set_index("name")

    def markdown(self) -> str:
        """Return the table and its sentences as Markdown."""
        head, *lines = ([cell.replace("|", "\\|") for cell in line] for line in self.cells())
        rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
        sentences = (f"- {sentence}" for sentence in self.sentences)
        return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *sentences, ""])

    def csv(self) -> str:
        """Return all results, unrounded, as comma-separated values; unknown values are empty."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(column.name for column in dataclasses.fields(ComparisonRow))
        for row in self.rows:
            cells = dataclasses.astuple(row)
            table.writerow("" if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells)
        return text.getvalue()

    def _digits(self) -> int:
        """Return the number of decimals, from 2 to 6, that show two digits of the smallest error of a difference."""
        errors = [row.difference_error for row in self.rows if row.difference_error > 0]
        return min(6, max(2, 1 - math.floor(math.log10(min(errors))))) if errors else 2


def join_names(names: list[str]) -> str:
    """Join names with commas and "and".

    Example:
        >>> join_names(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
