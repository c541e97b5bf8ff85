"""Gallery of test data on the page, with their reconstructions and values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import DataSet
from pyrovae.evaluation import log_marginal
from pyrovae.execution import evaluating
from pyrovae.prediction import encode, reconstruct
from pyrovae.programs import Batch, arguments_of, uses_labels
from pyrovae.report.image_sheet import PixelScale, image_sheet
from pyrovae.report.skipped import attempt
from pyrovae.rng import forked_rng
from pyrovae.runs import labels_of

__all__ = ["batch_at", "chosen", "codes_at", "evaluated_values", "gallery"]

_NUM_SAMPLES = 50  # number of samples per datum for the bound, if there is no evaluation


def batch_at(program: Any, data: DataSet, positions: Tensor) -> Batch:
    """Return test data as arguments of the program: x, or (x, y) if it requires labels.

    Args:
        program: program with a model.
        data: the data set.
        positions: positions in the test split, ``(N,)``.
    """
    x = data.test[positions]
    return (x, labels_of(data.test)[positions]) if uses_labels(program.model) == "always" else x


def codes_at(program: Any, data: DataSet, positions: Tensor) -> dict[str, Tensor]:
    """Return the means of the latents of test data by site name, ``(N, *event_shape)``; data are read in parts.

    Args:
        program: program with a model and a guide.
        data: the data set.
        positions: positions in the test split, ``(N,)``.
    """
    parts = [encode(program.guide, batch_at(program, data, part)) for part in positions.split(500)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def evaluated_values(values: Any) -> dict[str, Tensor]:
    """Return the values of an evaluation for each datum: log p(x), its error, k̂ and the ELBO, each ``(N,)``.

    Args:
        values: result of :meth:`LogMarginal.to_arviz`.
    """
    stats = values.sample_stats
    names = ("log_prob", "elbo", "pareto_k", "standard_error")
    return {name: torch.from_numpy(np.array(stats[name].values)) for name in names}


def chosen(known: dict[str, Tensor], total: int, count: int) -> Tensor:
    """Choose test data: with the lowest, highest and least reliable log p(x), and others evenly spaced.

    Args:
        known: values of an evaluation by name, of the first test data; may be empty.
        total: number of test data.
        count: largest number of chosen data.

    Returns:
        their positions in ascending order.

    Example:
        >>> known = {"log_prob": torch.arange(1000.0), "pareto_k": torch.zeros(1000)}
        >>> chosen(known, total=2000, count=10)
        tensor([   0,    1,    2,  334,  667,  998,  999, 1002, 1334, 1667])
    """
    if total <= count:
        return torch.arange(total)
    picked = torch.zeros(total, dtype=torch.bool)
    if known:
        doubt = known["pareto_k"] if bool((~known["pareto_k"].isnan()).any()) else known["standard_error"]
        order = known["log_prob"].nan_to_num(-torch.inf).argsort(stable=True)
        doubtful = doubt.nan_to_num(-torch.inf).argsort(descending=True, stable=True)
        fifth = count // 5
        for part in (order[:fifth], order[len(order) - fifth :], doubtful[:fifth]):
            picked[part] = True
    others, missing = (~picked).nonzero()[:, 0], count - int(picked.sum())
    picked[others[torch.arange(missing) * len(others) // max(missing, 1)]] = True
    return picked.nonzero()[:, 0]


def gallery(
    program: Any, data: DataSet, positions: Tensor, known: dict[str, Tensor], pixels: PixelScale, skipped: list[str]
) -> dict[str, Any]:
    """Return the gallery for the page: images, their reconstructions, and the values of each.

    Args:
        program: program with a model and a guide.
        data: the data set.
        positions: positions of the test data, ``(N,)``.
        known: values of an evaluation by name, of the first test data; if empty, a bound is estimated from a few
            samples.
        pixels: converts data to images.
        skipped: list to which a sentence is appended for each thing that cannot be shown.
    """
    batch = batch_at(program, data, positions)
    x = arguments_of(batch)[0]
    per_row = math.ceil(math.sqrt(len(x)))
    shown = {"images": image_sheet(pixels(x), per_row), "reconstructions": None}
    columns: list[dict[str, Any]] = []
    if known:
        columns += _evaluated(known, positions)
    else:
        with attempt("log p(x) of test data", skipped):
            columns += _estimated(program, batch)
    with attempt("reconstructions of test data", skipped):
        means = reconstruct(program.model, program.guide, batch)
        shown["reconstructions"] = image_sheet(pixels(means), per_row)
        error = (x.double() - means.double()).square().flatten(1).mean(1)
        columns.append(_column("squared_error", "squared error", 4, error, rising=False))
    classes: list[int] = []
    if data.test.labels is not None:
        labels = data.test.labels[positions]
        classes = labels[labels >= 0].unique().tolist()
        columns.append(_column("label", "class", 0, labels.double().masked_fill(labels < 0, math.nan)))
    if callable(getattr(program, "classify", None)):
        with evaluating(program.guide):
            columns.append(_column("predicted", "predicted class", 0, program.classify(x).argmax(-1)))
    columns.append(_column("index", "place", 0, positions))
    return {
        **shown,
        "description": _description(columns, len(data.test), len(known.get("log_prob", ()))),
        "count": len(x),
        "classes": classes,
        "columns": columns,
    }


def _description(columns: list[dict[str, Any]], total: int, evaluated: int) -> str:
    keys, count = {column["key"] for column in columns}, len(columns[0]["values"])
    figures = " Logarithms of probabilities are in nats." if "log_prob" in keys else ""
    if "squared_error" in keys:
        figures += " The squared error is that of the reconstruction, a mean over the pixels."
    if count == total:
        return f"All {total:,} test data.{figures}"
    which = "evenly spaced"
    if evaluated:
        among = "" if evaluated == total else f" of the {evaluated:,} that were evaluated"
        which = f"the lowest, highest and least reliable log p(x){among}, and others evenly spaced"
    return f"{count:,} of {total:,} test data: {which}.{figures}"


def _evaluated(known: dict[str, Tensor], positions: Tensor) -> list[dict[str, Any]]:
    """Return the columns of an evaluation, whose values may exist for the first test data only."""
    names = {
        "log_prob": ("log p(x)", 2, True),
        "elbo": ("ELBO", 2, True),
        "pareto_k": ("k̂", 2, False),
        "standard_error": ("Monte Carlo error", 4, False),
    }
    count = len(known["log_prob"])
    inside = positions < count
    columns = []
    for name, (label, digits, rising) in names.items():
        values = torch.full((len(positions),), math.nan, dtype=torch.float64)
        values[inside] = known[name].double()[positions[inside]]
        if bool(values.isfinite().any()):
            columns.append(_column(name, label, digits, values, rising=rising))
    return columns


def _estimated(program: Any, batch: Batch) -> list[dict[str, Any]]:
    """Return columns of a bound of log p(x) from a few samples, and of the ELBO."""
    with forked_rng(arguments_of(batch)[0].device):
        found = log_marginal(program.model, program.guide, batch, num_samples=_NUM_SAMPLES, progress=False)
    return [
        _column("log_prob", f"log p(x), bound of {_NUM_SAMPLES} samples", 2, found.log_prob),
        _column("elbo", "ELBO", 2, found.elbo),
    ]


def _column(key: str, label: str, digits: int, values: Tensor, *, rising: bool = True) -> dict[str, Any]:
    """Return a column of values for the page, with null for unknown or infinite ones.

    The page sorts by it with the lowest value first if ``rising``, so that interesting data come first.
    """
    numbers = [round(value, digits or None) if math.isfinite(value) else None for value in values.tolist()]
    return {"key": key, "label": label, "digits": digits, "rising": rising, "values": numbers}
