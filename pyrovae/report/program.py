"""Figures of a run's program: training curves, reconstructions, samples and codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import checks, figures
from pyrovae.columns import Schema
from pyrovae.data import DataSet
from pyrovae.evaluation import report_columns
from pyrovae.prediction import generate, prior_grid, reconstruct
from pyrovae.prediction.latent_axes import narrowest_site
from pyrovae.programs import Batch, arguments_of
from pyrovae.report.gallery import codes_at
from pyrovae.report.skipped import attempt
from pyrovae.runs import DataRecord, first_data
from pyrovae.training import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pictures"]

_ROWS = 2000  # number of rows of a table that are drawn


def pictures(
    data: DataSet | None, described: DataRecord, program: Any, history: History, skipped: list[str]
) -> dict[str, tuple[Figure, str]]:
    """Draw training curves, reconstructions, samples, and the map of codes, each with a caption.

    Args:
        data: the data set; None if it is missing, then only figures without data are drawn.
        described: the run's record of its data.
        program: the trained program.
        history: history of its training.
        skipped: list to which a sentence is appended for each figure that cannot be drawn.
    """
    template = described.template(program)
    x = template[0] if isinstance(template, tuple) else template
    classes = len(template[1]) if isinstance(template, tuple) else None
    curves = "The bound and its two terms during training, in nats per datum."
    drawn = {"training_curves": (figures.training_curves(history), curves)} if history.epochs else {}
    if described.schema is None:
        drawn |= _of_images(data, program, template, skipped)
    else:
        drawn |= _of_table(data, described.schema, program, template, skipped)
    if data is not None:
        with attempt("picture of the map of codes", skipped):
            codes = _codes(codes_at(program, data, torch.arange(min(5000, len(data.test)))))  # (N, D)
            labels = None if data.test.labels is None else data.test.labels[: len(codes)]
            drawn["latent_map"] = (
                figures.latent_map(codes, labels),
                f"Codes of the test {'images' if described.schema is None else 'rows'}"
                + (", coloured by class." if labels is not None else ".")
                + ("" if codes.shape[1] <= 2 else " The first two principal components of the means."),
            )
    with attempt("picture of the plane of codes", skipped):
        if classes is None and described.schema is None and _has_a_plane(program, x):
            drawn["manifold"] = (
                figures.manifold(prior_grid(program.model, x, columns=20), columns=20),
                "The plane of codes, decoded at evenly spaced percentiles of the prior.",
            )
    return drawn


def _of_images(
    data: DataSet | None, program: Any, template: Batch, skipped: list[str]
) -> dict[str, tuple[Figure, str]]:
    """Draw reconstructions and samples as images."""
    drawn = {}
    classes = len(template[1]) if isinstance(template, tuple) else None
    if data is not None:
        few = first_data(program, data.test, 20)
        with attempt("picture of reconstructions", skipped):
            drawn["reconstructions"] = (
                figures.reconstructions(arguments_of(few)[0], reconstruct(program.model, program.guide, few)),
                "Test images above, their reconstructions through the mean code below.",
            )
    with attempt("picture of samples", skipped):
        drawn["samples"] = (
            figures.samples(generate(program.model, 8 * (classes or 8), template), classes),
            f"Codes drawn from the prior, decoded{', a class in each column' if classes else ''}: the means of p(x|z).",
        )
    return drawn


def _of_table(
    data: DataSet | None, schema: Schema, program: Any, template: Batch, skipped: list[str]
) -> dict[str, tuple[Figure, str]]:
    """Draw marginals and pairs of columns, and how columns and rows are explained."""
    drawn: dict[str, tuple[Figure, str]] = {}
    if data is None:
        return drawn
    rows = first_data(program, data.test, _ROWS)
    of_data = schema.to_frame(arguments_of(rows)[0])
    with attempt("pictures of samples", skipped):
        samples = schema.to_frame(generate(program.model, _ROWS, template, noise=True))
        few = samples[: len(of_data)]
        drawn["marginals"] = (
            figures.marginals(of_data, samples),
            f"Each column of {len(of_data):,} test rows, and of {_ROWS:,} rows drawn from the model.",
        )
        drawn["pairs"] = (
            figures.pairs(of_data, few),
            "Pairs of the columns with the largest correlations: test rows above the diagonal, as many rows drawn from "
            "the model below.",
        )
    with attempt("pictures of columns", skipped):
        report = report_columns(program.model, program.guide, rows)
        drawn["columns"] = (
            figures.column_report(report),
            "How well each column of the test rows is reconstructed, and how often its values lie inside what p(x|z) "
            "predicts at a code drawn from q(z|x).",
        )
        drawn["worst_rows"] = (
            figures.worst_rows(report),
            "The test rows with the lowest ELBO, and how many nats each column takes from it.",
        )
    return drawn


def _codes(latents: dict[str, Tensor]) -> Tensor:
    """Return the codes that a map shows, ``(N, D)``."""
    site = narrowest_site(latents)
    if site is None:
        raise checks.InputError(f"program must have a latent site of real numbers, but has {', '.join(latents)}")
    return latents[site].flatten(1) if latents[site].dim() > 1 else latents[site][:, None]


def _has_a_plane(program: Any, x: Tensor) -> bool:
    try:
        prior_grid(program.model, x, columns=1)
    except checks.InputError:
        return False
    return True
