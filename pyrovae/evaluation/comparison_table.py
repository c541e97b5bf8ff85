"""The table of a comparison: its rows, and how it reads as text, Markdown and comma-separated values."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyrovae.reprs import short_repr

if TYPE_CHECKING:
    import pandas

__all__ = ["Compared", "Comparison", "listed"]


@dataclass(frozen=True)
class Compared:
    """The figures of one of the models, in nats per datum but for ``bits_per_dim`` and ``stacking_weight``.

    Attributes:
        name: of the model.
        num_data: number N of its data.
        nll: mean of -log p(x).
        standard_error: of ``nll`` over the choice of data, Monte Carlo error included; NaN for one datum.
        mc_error: of ``nll`` over the choice of samples; NaN for K = 1.
        bias: by how much ``nll`` is too large, as a sandwich has measured, or else as the weights themselves say.
        bits_per_dim: ``nll`` in bits per dimension; None where it was not asked for, or the data have no bits.
        difference: ``nll`` less that of the best; not negative.
        difference_error: its standard error, Monte Carlo error included; NaN for one datum.
        low: lower end of the 95 % interval of ``difference``, which allows for the biases of both.
        high: its upper end.
        paired: whether the data are those of the best, so that the difference was taken datum by datum.
        distinguishable: whether the interval leaves out zero; None where there is no interval.
        stacking_weight: share in the mixture of all models that explains the data best, which is no probability that
            the model is the best; None where their data differ or one cannot be told apart from the best, so that the
            data do not determine it.
        verdict: whether ``nll`` can be trusted, in a sentence.
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
    r"""Hold a table of models, the best first; as a string, it is the table with what there is to say of it.

    Attributes:
        rows: the figures of each model, the lowest NLL first; those that tie are in the order of their names.
        warnings: what speaks against taking the table as it stands, in sentences.
        elpd: the table of ``arviz.compare``, whose figures are sums over the data: ``elpd`` is
            :math:`\sum_i \log p(x_i)` of these data as they are, where ArviZ has an estimate of it, ``elpd_loo``, from
            data that the model was fitted to; and ``stacking_weight`` the share in the mixture of all models which
            gives them the highest probability (Yao et al., 2018, arXiv:1704.02030), NaN where it is not determined.
            None where the models' data differ.
    """

    rows: tuple[Compared, ...]
    warnings: tuple[str, ...]
    elpd: pandas.DataFrame | None = field(repr=False)

    def __repr__(self) -> str:
        return short_repr(
            self, nll={row.name: round(row.nll, self._digits()) for row in self.rows}, warnings=len(self.warnings)
        )

    @property
    def sentences(self) -> list[str]:
        """What the table comes to, what speaks against it, and whether each of its numbers can be trusted."""
        best, *others = self.rows
        paired = f", paired over the same {best.num_data} data" if any(row.paired for row in others) else ""
        marked = "" if all(row.paired for row in others) else " Those marked * are of independent data."
        said = [f"Differences are to {best.name}{paired}.{marked}"]
        close = [row.name for row in others if row.distinguishable is False]
        if close:
            said.append(f"{listed(close)} cannot be told apart from {best.name} by these data.")
        return [*said, *self.warnings, *(f"{row.name}: {row.verdict}" for row in self.rows)]

    def cells(self) -> list[list[str]]:
        """Return the table as it is printed, its head first; no column is empty."""
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

    def markdown(self) -> str:
        """Return the table and its sentences as Markdown."""
        head, *lines = ([cell.replace("|", "\\|") for cell in line] for line in self.cells())
        rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
        sentences = (f"- {sentence}" for sentence in self.sentences)
        return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *sentences, ""])

    def csv(self) -> str:
        """Return all figures, unrounded, as comma-separated values; what is unknown is empty."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(column.name for column in dataclasses.fields(Compared))
        for row in self.rows:
            cells = dataclasses.astuple(row)
            table.writerow("" if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells)
        return text.getvalue()

    def _digits(self) -> int:
        """Return how many decimals show two digits of the smallest error of a difference: from two to six."""
        errors = [row.difference_error for row in self.rows if row.difference_error > 0]
        return min(6, max(2, 1 - math.floor(math.log10(min(errors))))) if errors else 2


def listed(names: list[str]) -> str:
    """Join names with commas and an and.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
