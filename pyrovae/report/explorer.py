"""Interactive plane of codes on the page: positions of test data, and a sheet of decoded images."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.figures.base import COLOURS
from pyrovae.prediction.latent_axes import narrowest_site
from pyrovae.prediction.simulation import sample_prior
from pyrovae.programs import arguments_of, uses_labels
from pyrovae.report.gallery import batch_at, codes_at
from pyrovae.report.image_sheet import PixelScale, image_sheet
from pyrovae.report.plane import Latents, Plane, plane_of
from pyrovae.report.skipped import attempt
from pyrovae.runs import template_of

__all__ = ["colours", "explorer"]

_BYTES = 1_500_000  # size of the sheets before compression
_COLUMNS = 35  # largest number of images in a row of a sheet; the page interpolates between neighbours
_POINTS = 2000  # test data on the map
_SHEETS = 10  # largest number of classes with a sheet of their own


def explorer(
    program: Any, data: DataSet, latents: Latents, positions: Tensor, pixels: PixelScale, skipped: list[str]
) -> dict[str, Any] | None:
    """Return the plane of codes for the page; None if there is none.

    Args:
        program: program with a model and a guide.
        data: the data set.
        latents: choice of the plane.
        positions: positions of the gallery's test data in the split, ``(N,)``; their coordinates are included.
        pixels: converts data to images.
        skipped: list to which a sentence is appended for each thing that cannot be shown.

    Raises:
        ValueError: if the program has no such latents.
    """
    on_map = torch.arange(min(_POINTS, len(data.test)))
    found: dict[str, Tensor] = {}
    with attempt("map of codes", skipped):
        found = codes_at(program, data, torch.cat((on_map, positions)))
    site = narrowest_site(found)
    if site is None:
        if latents is not None:
            raise checks.InputError(
                f"latents must be left out for a program without codes of real numbers, but {latents} was given"
            )
        return None
    codes = found[site]
    rows = codes.reshape(len(codes), -1)  # (M + N, D)
    plane = plane_of(site, rows, _prior_codes(program, data, site), latents)
    places = plane.coordinates(rows.cpu().float())  # (M + N, 2)
    shown: dict[str, Any] = {}
    with attempt("sheet of decoded images", skipped):
        shown = _sheets(program, data, plane, codes[:1], pixels)
    if not shown:
        return None
    labels = None if data.test.labels is None else data.test.labels[on_map].tolist()
    (u, v), r = plane.centre, plane.radius
    return {
        **shown,
        "description": _description(plane, labels is not None, shown["sheets"]),
        "nearest": "nearest test datum" + (" in the plane" if rows.shape[1] > 2 else ""),
        "names": list(plane.names),
        "left": u - r,
        "right": u + r,
        "bottom": v - r,
        "top": v + r,
        "points": [[round(value, 3) for value in point] for point in places[: len(on_map)].tolist()],
        "point_labels": labels,
        "places": [[round(value, 3) for value in point] for point in places[len(on_map) :].tolist()],
    }


def _description(plane: Plane, labelled: bool, sheets: list[Any]) -> str:
    text = f"Each dot is the code of a test datum{', coloured by its class' if labelled else ''}. "
    text += "Beside the map is the decoded image of the chosen point. "
    if plane.names[0].startswith("direction"):
        text += "The axes are the two principal directions of the codes, each with its share of their variance. "
    if len(plane.origin) > 2:
        text += "All other directions are at the mean of the codes. "
    if plane.directions:
        text += "Codes have length 1 here: a point stands for the direction in which it lies. "
    if sheets != [None]:
        which = "" if len(sheets) < _SHEETS else f" (one of {', '.join(map(str, sheets))})"
        text += f"The decoder also takes a class, which you can choose{which}. "
    return text.rstrip()


def _prior_codes(program: Any, data: DataSet, site: str) -> Tensor | None:
    """Return codes from the prior, ``(M, D)``, or None if the site cannot be sampled."""
    with attempt("draws from the prior", []):
        samples = sample_prior(program.model, 1000, template_of(program, data))[0]
        return samples[site].reshape(len(samples[site]), -1) if site in samples else None
    return None


def _sheets(program: Any, data: DataSet, plane: Plane, code: Tensor, pixels: PixelScale) -> dict[str, Any]:
    """Return sheets of decoded images, one for each class that the program takes as a label, below each other."""
    template = arguments_of(batch_at(program, data, torch.arange(1)))[0]
    classes: list[Any] = [None]
    if uses_labels(program.model) != "no" and data.test.labels is not None:
        classes = data.test.labels[data.test.labels >= 0].unique().tolist()[:_SHEETS] or [None]
    each = pixels(torch.zeros_like(template)).numel()
    columns = int(min(_COLUMNS, max(5, math.sqrt(_BYTES / (each * len(classes))))))
    points = plane.grid(columns)
    means = [plane.decoded(program.model, points, template, code, label) for label in classes]
    sheet = image_sheet(pixels(torch.cat(means)), columns)
    return {"sheet": sheet, "rows": len(points) // columns, "sheets": classes}


def colours(count: int, *, dark: bool = False) -> list[str]:
    """Return colours of classes that colour-blind readers can distinguish, for a light or a dark page.

    Args:
        count: number of colours.
        dark: True if the page is dark.

    Example:
        >>> colours(3)
        ['#0072B2', '#E69F00', '#009E73']
    """
    if count <= len(COLOURS):
        instead = (
            {"#000000": "#FFFFFF", "#882255": "#F0E442"} if dark else {}
        )  # for colours that are invisible on a dark page
        return [instead.get(colour, colour) for colour in COLOURS[:count]]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = (0.2, 1.0) if dark else (0.0, 0.85)
    return [to_hex(colormaps["viridis"](low + (high - low) * i / (count - 1))) for i in range(count)]
