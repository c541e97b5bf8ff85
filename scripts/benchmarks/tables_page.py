"""The section of the page on tables that compares VAEs with scikit-learn, from the result files of ``tables.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import page_section
from tables_contenders import DENSITIES, IMPUTERS
from tables_data import PATTERNS, TABLES

__all__ = ["write"]

NAME = "tables judged"
VAE = "VAE"
Value = Callable[[dict[str, Any]], float | None]

INTRODUCTION = """\
## Judged against scikit-learn

```sh
python scripts/benchmarks/tables.py
```

The results are in `docs/tables/`, and this section is generated from them: {sources}.

**Data.** Complete tables, of which values are removed: 20 % or 50 % of the cells at random, or each with half its rank
in its column as probability, so that large values are missing more often and 25 % of all. Training, validation and test
rows (60, 20 and 20 %, another split for each seed) all have gaps. Numbers that were rounded get uniform noise of one
step, and so do the codes of categories, so that all models are densities of the same rows, which have a bound; a
probability of categories or grey levels is such a density too. Positive numbers that a log-normal distribution fits
better are given to all as logarithms, and log p is that of the table's own units.

**Contenders.** All choose on the validation rows, by log p of their observed values, from several candidates, or an
equal mixture of the best three or five. Those of scikit-learn are trained with gaps by expectation-maximisation
(`PCA`, `FactorAnalysis`, and `GaussianMixture` after a start at rows whose gaps were drawn from one normal
distribution) or on such drawn rows (`KernelDensity`, five draws a row); their marginals of observed values are exact.
`GaussianMixture` chooses components (1 to 8), covariance (full, tied, diagonal) and ridge; PCA and factor analysis the
rank, `KernelDensity` the bandwidth, `KNNImputer` the number of neighbours. The VAEs choose the number of latents, a
linear decoder or `WithLinear`, and the likelihood: normal, Student's t with a scale of z, that of each kind of column
(`TableLikelihood`), or of grey levels. Their prior is a mixture of five normal
distributions, and their encoder is told which values are missing. They are trained on the importance-weighted bound of
5 samples in {steps} steps, and evaluated by 1,000 importance samples.
Which candidates there are was settled with the results of seed 0 on some tables in view.
{errors}
"""


def write(page: str, folder: Path) -> None:
    """Write the section between its marks on the page, from the files in a folder."""
    page_section.write(page, NAME, section(_files(folder)))


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    by_name = {kept["recipe"]["table"]: kept for kept in found}
    return {name: by_name[name] for name in TABLES if name in by_name}


def section(files: dict[str, dict[str, Any]]) -> str:
    """Return the section in Markdown; tables that were not measured completely have fewer seeds, which it tells."""
    if not files:
        return "Not measured yet."
    rows = [row | {"table": name} for name, kept in files.items() for row in kept["results"]]
    vaes = [row for row in rows if row["contender"] == VAE]
    errors = ""
    if vaes:
        reliable = {name: fmean(row["reliable"] for row in vaes if row["table"] == name) for name in files}
        errors = (
            f"The Monte Carlo error of the mean is at most {max(row['mc_error'] for row in vaes):.3f} nats. k̂ is low "
            f"enough for this share of the test rows: "
            f"{', '.join(f'{name} {share:.0%}' for name, share in reliable.items())}; log p of the others is estimated "
            "too small, to the disadvantage of the VAEs."
        )
    parts = [
        INTRODUCTION.format(sources=_sources(files), steps=_steps(files), errors=errors),
        _log_prob(rows),
        _imputation(rows),
        _calibration(rows),
        f"Not measured yet: {', '.join(name for name in TABLES if name not in files)}.\n" * (len(files) < len(TABLES)),
    ]
    return "\n".join(part for part in parts if part)


def _steps(files: dict[str, dict[str, Any]]) -> str:
    return " or ".join(f"{steps:,}" for steps in sorted({kept["recipe"]["steps"] for kept in files.values()}))


def _sources(files: dict[str, dict[str, Any]]) -> str:
    dates = sorted({kept["date"] for kept in files.values()})
    versions = sorted({", ".join(map(" ".join, kept["versions"].items())) for kept in files.values()})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{span}, {'; '.join(versions)}"


def _log_prob(rows: list[dict[str, Any]]) -> str:
    names = [*DENSITIES, VAE]
    found = Comparison(rows, names, lambda row: row.get("log_prob"), larger=True)
    words = (
        "**Held-out log p(x_obs)**, in nats per row, larger is better: mean and standard deviation over seeds, which "
        "have splits of their own. The last column is the VAE's difference to the best other, seed by seed. "
    )
    return f"{words}{found.verdict}\n\n{found.table(2)}\n"


def _imputation(rows: list[dict[str, Any]]) -> str:
    names = [*IMPUTERS, VAE]
    found = Comparison(rows, names, lambda row: row.get("rmse"), larger=False)
    words = (
        "**Imputed numbers and ordered categories**: root mean square error in standard deviations of the training "
        "rows, smaller is better. "
    )
    text = f"{words}{found.verdict}\n\n{found.table(3)}\n"
    found = Comparison(rows, names, lambda row: row.get("accuracy"), larger=True)
    if not found.settings:
        return text
    words = "**Imputed categories**, without an order or of two: share of right ones. "
    return f"{text}\n{words}{found.verdict}\n\n{found.table(3)}\n"


def _calibration(rows: list[dict[str, Any]]) -> str:
    drawing = sorted({row["contender"] for row in rows if row.get("coverage") is not None}, key=[*IMPUTERS, VAE].index)
    found = Comparison(rows, drawing, lambda row: row.get("coverage"), larger=True)
    widths = Comparison(rows, drawing, lambda row: row.get("width"), larger=True)
    heads = ["table", "missing", *(f"{name}: {what}" for name in drawing for what in ("covered", "width"))]
    lines = [heads, ["---"] * len(heads)]
    for table, pattern in found.settings:
        cells = []
        for name in drawing:
            for measured, digits in ((found, 3), (widths, 2)):
                cells.append(_cell(measured.values(table, pattern, name), digits, False))
        lines.append([table, pattern, *cells])
    words = (
        "**Calibration**: share of missing numbers inside the 90 % interval of 39 imputations, and its width in "
        "standard deviations. `SimpleImputer`, `KNNImputer` and forests give one value and no interval; "
        "`IterativeImputer` draws with `sample_posterior=True`."
    )
    return f"{words}\n\n{_markdown(lines)}\n"


class Comparison:
    """A measure of contenders over tables, patterns and seeds.

    Args:
        rows: results.
        names: contenders, in the order of columns.
        value: the measure of a result, or None where it has none.
        larger: True if larger is better.
    """

    def __init__(self, rows: list[dict[str, Any]], names: Sequence[str], value: Value, *, larger: bool) -> None:
        self.names = names
        self.larger = larger
        self._found: dict[tuple[str, str, str], dict[int, float]] = {}
        for row in rows:
            number = value(row)
            if number is not None and row["contender"] in names:
                self._found.setdefault((row["table"], row["pattern"], row["contender"]), {})[row["seed"]] = number

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Tables and patterns of which every contender has a result."""
        pairs = [(table, pattern) for table in TABLES for pattern in PATTERNS]
        return [pair for pair in pairs if self.names and all(self.values(*pair, name) for name in self.names)]

    def values(self, table: str, pattern: str, name: str) -> list[float]:
        """Return the measure of the seeds that all contenders have."""
        of_each = [self._found.get((table, pattern, other), {}) for other in self.names]
        common = set(of_each[0]).intersection(*of_each) if of_each else set()
        return [self._found[table, pattern, name][seed] for seed in sorted(common)]

    def first(self, table: str, pattern: str) -> str:
        """Return the contender with the best mean."""
        return (max if self.larger else min)(self.names, key=lambda name: fmean(self.values(table, pattern, name)))

    def is_close(self, table: str, pattern: str) -> bool:
        """Tell whether the VAE is first, or as near to the first as the first's standard deviation over seeds."""
        first, own = (self.values(table, pattern, name) for name in (self.first(table, pattern), VAE))
        return abs(fmean(first) - fmean(own)) <= (stdev(first) if len(first) > 1 else 0.0)

    @property
    def verdict(self) -> str:
        """Sentences that say where the VAE is first and where it loses."""
        settings = self.settings
        firsts = [pair for pair in settings if self.first(*pair) == VAE]
        close = [pair for pair in settings if self.is_close(*pair)]
        lost = [f"{table} with {pattern} missing" for table, pattern in settings if (table, pattern) not in close]
        words = (
            f"The VAE is first in {len(firsts)} of {len(settings)} settings, and first or within one standard "
            f"deviation of the first in {len(close)}."
        )
        return words + (f" It loses on {'; '.join(lost)}." if lost else "")

    def table(self, digits: int) -> str:
        """Return mean and standard deviation of each contender, the best in bold, and the VAE's paired difference."""
        heads = ["table", "missing", "seeds", *self.names, "VAE - best other"]
        lines = [heads, ["---"] * len(heads)]
        for table, pattern in self.settings:
            first = self.first(table, pattern)
            cells = [_cell(self.values(table, pattern, name), digits, name == first) for name in self.names]
            others = [name for name in self.names if name != VAE]
            other = (max if self.larger else min)(others, key=lambda name: fmean(self.values(table, pattern, name)))
            own, best = self.values(table, pattern, VAE), self.values(table, pattern, other)
            difference = [a - b for a, b in zip(own, best, strict=True)]
            lines.append([table, pattern, str(len(own)), *cells, _cell(difference, digits, False, sign="+")])
        return _markdown(lines)


def _cell(values: list[float], digits: int, bold: bool, sign: str = "") -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    text = f"{fmean(values):{sign}.{digits}f}{spread}"
    return f"**{text}**" if bold else text


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
