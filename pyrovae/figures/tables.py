"""Figures of tables: marginals and pairs of columns, data beside samples, and how each column and row is explained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyrovae.evaluation.columns import ColumnReport

__all__ = ["column_report", "marginals", "pairs", "worst_rows"]

_COLUMNS = 24  # largest number of columns of a figure
_CATEGORIES = 12  # largest number of categories of a panel


def marginals(data: pandas.DataFrame, samples: pandas.DataFrame) -> Figure:
    """Draw the marginal distribution of each column, of data and of samples of the model, for at most 24 columns.

    Args:
        data: rows.
        samples: rows of the same columns.
    """
    names = list(data.columns)[:_COLUMNS]
    across = min(4, len(names))
    down = math.ceil(len(names) / across)
    figure = blank(2.5 * across + 0.3, 1.9 * down + 0.5)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _marginal(axes, data[name], samples[name])
        axes.set_title(_short(name), fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_yticks([])
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def pairs(data: pandas.DataFrame, samples: pandas.DataFrame, count: int = 4) -> Figure:
    """Draw pairs of the numbers that are correlated most: data above the diagonal, samples of the model below.

    Args:
        data: rows.
        samples: rows of the same columns.
        count: largest number of columns.
    """
    numbers = {name: _numbers(values) for name, values in data.items() if not _is_coded(values)}
    names = _correlated(numbers, count)
    if len(names) < 2:
        raise checks.InputError("data must have two columns of numbers to draw pairs of")
    size = len(names)
    figure = blank(1.9 * size + 0.4, 1.9 * size + 0.4)
    panels = figure.subplots(size, size, squeeze=False, sharex="col")
    limits = {name: np.nanquantile(numbers[name], [0.002, 0.998]) for name in names}
    for i, below in enumerate(names):
        for j, beside in enumerate(names):
            axes = panels[i, j]
            axes.tick_params(labelsize=7)
            axes.set_xlim(*_padded(limits[beside]))
            if i == j:
                _marginal(axes, data[below], samples[below])
                axes.set_yticks([])
            else:
                rows, colour = (data, COLOURS[0]) if i < j else (samples, COLOURS[1])
                axes.plot(
                    _numbers(rows[beside])[:2000], _numbers(rows[below])[:2000], ".", ms=2, color=colour, alpha=0.6
                )
                axes.set_ylim(*_padded(limits[below]))
            if j == 0:
                axes.set_ylabel(_short(below), fontsize=8)
            if i == size - 1:
                axes.set_xlabel(_short(beside), fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def column_report(report: ColumnReport) -> Figure:
    """Draw reconstruction error and calibration of each column; at most 24 columns, those of the largest errors.

    Args:
        report: result of :func:`pyrovae.evaluation.report_columns`.
    """
    table = report.to_dataframe().sort_values("error").tail(_COLUMNS)
    figure = blank(8.4, 0.28 * len(table) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(table))
    left.barh(place, table["error"], color=COLOURS[0], height=0.6)
    left.set_yticks(place, [_short(name) for name in table["column"]], fontsize=8)
    left.set_xlabel("error of reconstructions\n(standard deviations; share of wrong categories, root)")
    for width, colour, mark in ((50, COLOURS[1], "o"), (90, COLOURS[2], "s")):
        right.plot(table[f"inside_{width}"], place, mark, color=colour, ms=5, label=f"central {width} %")
        right.axvline(width / 100, color=colour, lw=1, ls="--")
    right.set(xlim=(0, 1.02), xlabel="share of cells inside what p(x|z) predicts\n(dashed: if calibrated)")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def worst_rows(report: ColumnReport, count: int = 12) -> Figure:
    """Draw the rows with the lowest ELBO: the values of the columns that are most to blame, coloured by their share.

    Args:
        report: result of :func:`pyrovae.evaluation.report_columns`.
        count: number of rows.
    """
    rows = report.elbo.argsort()[:count]
    excess = report.excess[rows].nan_to_num(0.0).numpy()
    columns = np.sort(np.argsort(-excess.max(0), kind="stable")[:10])
    frame = report.schema.to_frame(report.x[rows])
    figure = blank(1.0 * len(columns) + 2.2, 0.3 * len(rows) + 1.5)
    axes = figure.subplots()
    high = max(1.0, float(np.quantile(excess, 0.98)))
    picture = axes.pcolormesh(excess[:, columns], cmap="Oranges", vmin=0, vmax=high)
    for i in range(len(rows)):
        for j, column in enumerate(columns):
            colour = "white" if excess[i, column] > 0.6 * high else "black"
            text = _written(frame.iloc[i, int(column)])
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [_short(report.schema.names[i]) for i in columns], fontsize=8)
    axes.tick_params(axis="x", rotation=30, length=0)
    names = [f"{int(row)}: {report.elbo[row].item():.1f}" for row in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=8)
    axes.set_ylabel("row: ELBO in nats")
    axes.invert_yaxis()
    figure.colorbar(picture, ax=axes, label="nats below the column's mean")
    return figure


def _marginal(axes: Axes, data: pandas.Series, samples: pandas.Series) -> None:
    if _is_coded(data):
        names = [str(name) for name in data.cat.categories][:_CATEGORIES]
        for shift, values, colour, label in ((-0.2, data, COLOURS[0], "data"), (0.2, samples, COLOURS[1], "samples")):
            shares = values.astype(str).value_counts(normalize=True).reindex(names, fill_value=0.0)
            axes.bar(np.arange(len(names)) + shift, shares, 0.4, color=colour, label=label)
        axes.set_xticks(range(len(names)), [_short(name, 8) for name in names], rotation=30 if len(names) > 3 else 0)
        return
    x, y = _numbers(data), _numbers(samples)
    edges = int(np.clip(3 * len(x) ** (1 / 3), 9, 31))
    low, high = (float(end) for end in np.nanquantile(x, [0.002, 0.998]))
    bins = np.linspace(low, high, edges) if high > low else np.linspace(low - 0.5, low + 0.5, edges)
    whole = np.all(np.isnan(x) | (x % 1 == 0)) and bins[-1] - bins[0] <= 60
    bins = np.arange(math.floor(bins[0]) - 0.5, math.ceil(bins[-1]) + 1) if whole else bins
    axes.hist(x[~np.isnan(x)], bins.tolist(), density=True, color=COLOURS[0], alpha=0.5, label="data")
    inside = y[~np.isnan(y)]
    weights = np.full(len(inside), 1 / (len(inside) * (bins[1] - bins[0])))  # also of those beyond the panel
    axes.hist(inside, bins.tolist(), weights=weights, histtype="step", color=COLOURS[1], lw=1.5, label="samples")


def _correlated(numbers: dict[str, NDArray[np.float64]], count: int) -> list[str]:
    """Return the columns with the largest correlations of ranks, in the order of the table."""
    import pandas

    strength = pandas.DataFrame(numbers).corr("spearman").abs().to_numpy(copy=True)
    np.fill_diagonal(strength, 0)
    best = np.argsort(-np.nan_to_num(strength).max(1, initial=0), kind="stable")[:count]
    names = list(numbers)
    return [names[i] for i in sorted(best)]


def _is_coded(values: pandas.Series) -> bool:
    return hasattr(values, "cat")


def _numbers(values: pandas.Series) -> NDArray[np.float64]:
    return values.to_numpy(np.float64, na_value=np.nan)


def _padded(limits: NDArray[np.float64]) -> tuple[float, float]:
    pad = 0.05 * float(limits[1] - limits[0]) or 0.5
    return float(limits[0]) - pad, float(limits[1]) + pad


def _short(name: object, length: int = 20) -> str:
    text = str(name).replace("$", r"\$")
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _written(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if str(value) in ("nan", "<NA>") else _short(value, 12)
