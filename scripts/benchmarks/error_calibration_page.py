"""The section of the page on likelihoods that says how far told errors are true, and its picture: both from results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import error_calibration_truth as truth
import jinja2
import page_section
from matplotlib.ticker import NullLocator
from scipy.special import betaincinv

from pyrovae import checks, figures
from pyrovae.figures.base import COLOURS, blank

ESTIMATORS = {
    "importance-256": "importance sampling, K = 256",
    "importance-5000": "importance sampling, K = 5,000",
    "annealed": "annealing, 8 chains of 50 temperatures",
    "annealed-refined": "annealing with a refined start, 8 chains of 50 temperatures in 4 pairs",
    "adaptive": "to within a target",
    "comparison": "a decoder compared with itself",
}
"""Titles of the measurements by name, in the page's order."""
SHORT = {
    "importance-256": "importance sampling,\nK = 256",
    "importance-5000": "importance sampling,\nK = 5,000",
    "annealed": "annealing,\n8 chains, T = 50",
    "adaptive": "to within\na target",
}
"""Titles of the measurements in the picture, which leaves out the others."""
NAME = "error calibration"

SECTION = """\
## How these errors were checked

With two latents, $\\log p(x)$ can be integrated numerically. For small trained VAEs, quadrature gives the exact
$\\log p(x)$ of 200 test data. For random sets of these data, the error that each estimate reports was compared with its
true error:

```sh
python scripts/benchmarks/error_calibration.py --root DIR
```

The results are in `docs/error_calibration/`, each with its own command, and this section is generated from them: \
{{ seeds }}, {{ dates }}, {{ versions }}.
{% if missing %}
Not measured yet: {{ missing|join("; ") }}.
{% endif %}
![True and estimated errors, and how often the interval covers the exact NLL]({{ folder }}/coverage.png)

In the tables, the **error** is the exact mean of $\\log p(x)$ minus the estimate, in nats per datum: positive if the
NLL is too large. It is a mean over the sets, as are the **estimated bias** and the **estimated Monte Carlo error**. The
latter should be equal to the **standard deviation** of the error, except for differences of the bias between sets.
**Covered** is the share of the 95 % intervals (`ml.interval`) that contain the exact NLL, with a 95 % interval for that
share (Clopper & Pearson, 1934). **Bounded** is the share of intervals with a lower end; an interval has none if k̂ is
above 0.7 for more than a fifth of the data, and then only its upper end can be wrong. The sets have no samples in
common, but many have data in common, because all are subsets of the same 200. Two latents are few: these results do not
show how errors grow with the number of latents. A [sandwich](#the-sandwich) measures that.

**What the chains' own weights do not show.** The error of annealing on the Gaussian, Student t and MNIST models comes
mostly from 3 to 7 of the 200 data, whose estimates are 2.6 to 46 nats too low: the guide misses the mode that has
nearly all of p(x). On most of them the eight chains agree as well as elsewhere. Neither their spread, their acceptance
nor thermodynamic integration tells which data these are, and the gap to the ELBO only roughly. Chains from the prior
do. With eight of 50 temperatures for each datum, and what they find counted as [above](#modes-that-the-guide-misses),
the intervals cover: before, those of these three models covered in 65, 65 and 10 % of sets. The threshold of log 20 and
the division by the share of data that they find were chosen on the Gaussian and the MNIST model; the other nine
check them. The price is wide intervals where chains from the prior find half of p(x) for half of the data only: on
MNIST the estimated bias is nearly twice the true one.

**A refined start** (`refinement_rounds=3`) lowers the errors of most data, but not of those on which the guide misses a
mode. There its chains agree too, so the estimated bias is too small: on the discretized logistic model it is half of
the error. The intervals are narrower, and cover less often than those of the guide as it is (its table is below). On
the Student t model, two of the 200 data have a mode with 93 % of p(x) that the guide misses, and the eight chains from
the prior find it only sometimes. Of 60 sets (`--num_sets 60`), 55 are covered without refinement and 43
with it, also with 32 chains from the prior (`num_prior_chains`). The verdict warns of it. A [sandwich](#the-sandwich)
measures the error itself.

**Where it still fails.** The flow posterior misses modes of 8 to 20 % of p(x) on some data, also where k̂ is below 0.5.
The guide's samples cannot show it, and at K = 5,000, where other errors are small, the intervals of importance
sampling cover least often. `prior_share` looks for such modes; without it, and without a check, an interval
holds as far as the guide's modes go, as the verdict says. With more latents, chains from the prior may find nothing at
all; the verdict then says that they were too short.
{% for name, rows in tables.items() %}
**{{ titles[name][0]|upper }}{{ titles[name][1:] }}.** {{ sentences[name] }}

{{ table(rows) }}
{% endfor %}"""


class Count(NamedTuple):
    """A number k of n."""

    k: int
    n: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Clopper & Pearson's 95 % interval of the share."""
        k, n = self
        low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 0.025))
        return low, 1.0 if k == n else float(betaincinv(k + 1, n - k, 0.975))

    @property
    def share(self) -> float:
        """The share itself."""
        return self.k / self.n

    def __str__(self) -> str:
        low, high = self.bounds
        share = f"{self.share:.0%}"
        if (share == "0%") != (self.k == 0) or (share == "100%") != (self.k == self.n):
            share = f"{self.share:.1%}"
        return f"{share} ({low:.0%} to {high:.0%})"


def stem(name: str) -> str:
    """Return the name of a model as that of a file."""
    return name.replace(", ", "-").replace(" ", "-")


def kept(folder: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the results, by estimator and model, in the page's order."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]
    by = {(record["estimator"], record["model"]): record for record in found}
    models = [*truth.CASES, *sorted({model for _, model in by} - set(truth.CASES))]
    tables = {
        estimator: {model: by[estimator, model] for model in models if (estimator, model) in by}
        for estimator in ESTIMATORS
    }
    return {estimator: records for estimator, records in tables.items() if records}


def count(records: Sequence[dict[str, Any]], key: str, where: str | None = None) -> Count:
    """Count the sets for which something holds, among all or those for which something else does."""
    values = [
        value
        for record in records
        for value, chosen in zip(record["sets"][key], record["sets"][where or key], strict=True)
        if where is None or chosen
    ]
    return Count(sum(values), len(values))


def on_target(records: Sequence[dict[str, Any]]) -> Count:
    """Count the sets whose error is within the target, among those that say so."""
    values = [
        abs(error) <= record["recipe"]["target"]
        for record in records
        for error, reached in zip(record["sets"]["error"], record["sets"]["reached"], strict=True)
        if reached
    ]
    return Count(sum(values), len(values))


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation; None of one value."""
    if len(values) < 2:
        return None
    return (sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1)) ** 0.5


def row(record: dict[str, Any]) -> dict[str, str]:
    """Return a model's row of its estimator's table."""
    sets, recipe = record["sets"], record["recipe"]
    number = len(sets["bias"])
    cells = {"model": record["model"], "sets": f"{number} of {recipe['set_size']}"}
    if record["estimator"] == "comparison":
        return cells | {
            "difference": f"{mean(sets['difference']):+.4f}",
            "its estimated standard error": f"{mean(sets['difference_error']):.4f}",
            "estimated bias of the narrow guide": f"{mean(sets['bias']):.4f}",
            "told apart": str(count([record], "apart")),
        }
    spread = deviation(sets["error"])
    cells |= {
        "error": f"{mean(sets['error']):+.4f}",
        "estimated bias": f"{mean(sets['bias']):.4f}",
        "standard deviation": "" if spread is None else f"{spread:.4f}",
        "estimated Monte Carlo error": f"{mean(sets['mc_error']):.4f}",
        "covered": str(count([record], "covers")),
        "bounded": f"{count([record], 'bounded').share:.0%}",
    }
    if record["estimator"] == "adaptive":
        reached, kept_to = count([record], "reached"), on_target([record])
        cells |= {
            "target": f"{recipe['target']:g}",
            "reached": f"{reached.k} of {reached.n}",
            "and true": f"{kept_to.k} of {kept_to.n}" if kept_to.n else "",
        }
    return cells | {"decoder runs a datum": f"{mean(sets['evaluations']):,.0f}"}


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return rows as a table in Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(cells.values()) for cells in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sentence(estimator: str, records: Sequence[dict[str, Any]]) -> str:
    """Return what all models together say of an estimator."""
    over = "1 model" if len(records) == 1 else f"{len(records)} models"
    if estimator == "comparison":
        apart = count(records, "apart")
        return (
            "One estimate uses its guide, the other a guide of 0.6 times the scale, K = 5,000. The true difference is "
            f"zero, so to tell the two apart is wrong. This happened in {apart.k} of {apart.n} sets of {over}; the 95 "
            f"% interval of the share ends at {apart.bounds[1]:.1%}. {code(records)}"
        )
    covered, bounded = count(records, "covers"), count(records, "bounded")
    parts = [f"Of {covered.n} intervals of {over}, {covered.k} cover the exact NLL: {covered}."]
    if 0 < bounded.k < bounded.n:
        both = count(records, "covers", "bounded")
        parts.append(f"{bounded.k} are bounded from below, and {both.k} of these cover it: {both}.")
    elif bounded.k == 0:
        parts.append("None is bounded from below.")
    if estimator.startswith("annealed"):
        parts.append("Decoder runs include the eight chains from the prior of each datum, 792 of them.")
    if estimator == "adaptive":
        reached, true = count(records, "reached"), on_target(records)
        parts.append(f"The estimator reports that it reached the target for {reached.k} sets.")
        if true.n:
            parts.append(f"For {true.k} of these the error is within the target: {true}; this should be so for 95 %.")
        parts.append("Decoder runs do not include those of the check by chains from the prior.")
    return " ".join([*parts, code(records)])


def code(records: Sequence[dict[str, Any]]) -> str:
    """Return by which code the models were measured, as the files have it; without names if it is the same for all."""
    by: dict[str, list[str]] = {}
    for record in records:
        by.setdefault(record["code"], []).append(record["model"].replace(",", ""))
    if len(by) == 1:
        return f"The code's digest is {next(iter(by))}."
    each = "; ".join(f"{digest} ({', '.join(names)})" for digest, names in by.items())
    return f"The code's digests are {each}."


def section(folder: str) -> str:
    """Return the section's text."""
    tables = kept(folder)
    if not tables:
        raise checks.InputError(f"out must hold results, but {folder} holds none")
    records = [record for by_model in tables.values() for record in by_model.values()]
    dates = sorted({record["date"] for record in records})
    missing = [
        f"{ESTIMATORS[estimator]} ({', '.join(name.replace(',', '') for name in lacking)})"
        for estimator in ESTIMATORS
        if (lacking := [name for name in truth.CASES if name not in tables.get(estimator, {})])
    ]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(SECTION).render(
        folder=Path(folder).name,
        seeds=f"seed {', '.join(sorted({str(record['recipe']['seed']) for record in records}))}",
        dates=dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        versions=", ".join(sorted({f"{name} {of}" for record in records for name, of in record["versions"].items()})),
        missing=missing,
        titles=ESTIMATORS,
        sentences={name: sentence(name, list(by_model.values())) for name, by_model in tables.items()},
        tables={name: [row(record) for record in by_model.values()] for name, by_model in tables.items()},
        table=table,
    )


def write(folder: str, page: str) -> None:
    """Write the picture beside the results, and the section into the page."""
    text = section(folder)
    figures.save(drawn(kept(folder)), f"{folder}/coverage.png")
    page_section.write(page, NAME, text)


def drawn(tables: dict[str, dict[str, dict[str, Any]]]) -> Any:
    """Draw true and told errors above, and the share of intervals that cover below; a column an estimator."""
    tables = {name: records for name, records in tables.items() if name in SHORT}
    models = [name for name in truth.CASES if any(name in records for records in tables.values())]
    figure = blank(8.2, 0.46 * len(models) + 2.2)
    grid = figure.subplots(2, len(tables), sharey=True, sharex="row", squeeze=False)
    for (name, records), (errors, shares) in zip(tables.items(), grid.T, strict=True):
        errors.set_title(SHORT[name], fontsize=9)
        errors.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        shares.axvline(0.95, color=COLOURS[0], linewidth=0.9, linestyle="--", zorder=1, label="95 %")
        for model, record in records.items():
            y, sets = models.index(model), record["sets"]
            share, bounded = count([record], "covers"), count([record], "bounded").share
            low, high = share.bounds
            around = [[share.share - low], [high - share.share]]
            true, told = deviation(sets["error"]) or 0.0, mean(sets["mc_error"])
            marks(errors, mean(sets["error"]), y - 0.17, true, COLOURS[0], "true: mean ± standard deviation", "o")
            marks(errors, mean(sets["bias"]), y + 0.17, told, COLOURS[5], "told: bias ± Monte Carlo error", "s")
            if record["recipe"]["target"] is not None:
                target = [record["recipe"]["target"]]
                errors.plot(target, [y], "|", color="black", markersize=11, label="target")
            shares.barh(y, bounded, 0.8, color="0.87", zorder=0, label="intervals with a lower end")
            marks(shares, share.share, y, around, "black", "intervals that cover, with the share's 95 % interval", "o")
        for axes in (errors, shares):
            axes.tick_params(labelsize=8)
            axes.set_yticks(range(len(models)), models)
            axes.set_ylim(len(models) - 0.4, -0.6)
            if name != next(iter(tables)):
                axes.tick_params(left=False)
    errors, shares = grid[0][0], grid[1][0]
    errors.set_xscale("symlog", linthresh=0.01)
    errors.set_xlim(*limits(tables))
    errors.set_xticks([tick for tick in (-0.1, -0.01, 0, 0.01, 0.1, 1, 10) if within(tick, errors.get_xlim())])
    errors.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    errors.xaxis.set_minor_locator(NullLocator())
    shares.set_xlim(0, 1.03)
    shares.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    for row_of, label in zip(grid, ("nats per datum", "share of the sets"), strict=True):
        for axes in row_of:
            axes.set_xlabel(label, fontsize=8)
    named = {}
    for axes in grid.flat:
        named |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), fontsize=8, frameon=False, ncols=2, loc="outside lower center")
    return figure


def marks(axes: Any, x: float, y: float, around: Any, colour: str, label: str, fmt: str) -> None:
    """Draw a value with what lies around it."""
    face = "white" if fmt == "s" else colour
    axes.errorbar(
        x, y, xerr=around, color=colour, label=label, fmt=fmt, markersize=3.5, markerfacecolor=face, elinewidth=1.1
    )


def limits(tables: dict[str, dict[str, dict[str, Any]]]) -> tuple[float, float]:
    """Return the ends of the axis of errors: what is drawn, and something more."""
    all_sets = [record["sets"] for records in tables.values() for record in records.values()]
    pairs = [(mean(sets["error"]), deviation(sets["error"]) or 0.0) for sets in all_sets]
    pairs += [(mean(sets["bias"]), mean(sets["mc_error"])) for sets in all_sets]
    low, high = min(x - around for x, around in pairs), max(x + around for x, around in pairs)
    return min(-0.005, 1.5 * low), max(0.03, 1.5 * high)


def within(value: float, ends: tuple[float, float]) -> bool:
    """Return whether a value lies between two others."""
    return ends[0] <= value <= ends[1]
