"""The plane of codes that a page lets its reader explore: where the test images lie, and a sheet of decoded images."""

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

_BYTES = 1_500_000  # of the sheets, before they are compressed
_COLUMNS = 35  # images in a row of a sheet, at most: between neighbours the page mixes
_POINTS = 2000  # test images on the map
_SHEETS = 10  # classes that are decoded for


def explorer(
    program: Any, data: DataSet, latents: Latents, positions: Tensor, pixels: PixelScale, skipped: list[str]
) -> dict[str, Any] | None:
    """Return what the page holds of a plane of codes; None where there is none.

    Args:
        program: with a model and a guide.
        data: the data set.
        latents: which plane.
        positions: of the test images of the gallery, whose places are told, ``(N,)``.
        pixels: makes images of data.
        skipped: gets a sentence about each thing that cannot be shown.

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
    plane = plane_of(site, rows, _drawn(program, data, site), latents)
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
        "told": _told(plane, labels is not None, shown["sheets"]),
        "nearest": "nearest test image" + (" in the plane" if rows.shape[1] > 2 else ""),
        "names": list(plane.names),
        "left": u - r,
        "right": u + r,
        "bottom": v - r,
        "top": v + r,
        "points": [[round(value, 3) for value in point] for point in places[: len(on_map)].tolist()],
        "point_labels": labels,
        "places": [[round(value, 3) for value in point] for point in places[len(on_map) :].tolist()],
    }


def _told(plane: Plane, labelled: bool, sheets: list[Any]) -> str:
    told = f"Each dot is the code of a test image{', coloured by its class' if labelled else ''}. "
    told += "Beside the map stands what the decoder makes of the point that you choose. "
    if plane.names[0].startswith("direction"):
        told += "The directions are the two in which the codes differ most, each with its share of their variance. "
    if len(plane.origin) > 2:
        told += "What is not in the plane stays at the mean of the codes. "
    if plane.directions:
        told += "Codes have length 1 here: a point stands for the direction in which it lies. "
    if sheets != [None]:
        which = "" if len(sheets) < _SHEETS else f" (one of {', '.join(map(str, sheets))})"
        told += f"The decoder is told a class too: that which you choose{which}. "
    return told.rstrip()


def _drawn(program: Any, data: DataSet, site: str) -> Tensor | None:
    """Return codes from the prior, ``(M, D)``, or None if the model draws none at the site."""
    with attempt("draws from the prior", []):
        drawn = sample_prior(program.model, 1000, template_of(program, data))[0]
        return drawn[site].reshape(len(drawn[site]), -1) if site in drawn else None
    return None


def _sheets(program: Any, data: DataSet, plane: Plane, code: Tensor, pixels: PixelScale) -> dict[str, Any]:
    """Return a sheet of decoded images for each class that the program can be told of, one below the other."""
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
    """Return colours of classes that the colour-blind can tell apart, on a light page or a dark one.

    Args:
        count: how many.
        dark: whether they are seen on a dark page.

    Example:
        >>> colours(3)
        ['#0072B2', '#E69F00', '#009E73']
    """
    if count <= len(COLOURS):
        instead = {"#000000": "#FFFFFF", "#882255": "#F0E442"} if dark else {}  # what is lost on a dark page
        return [instead.get(colour, colour) for colour in COLOURS[:count]]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = (0.2, 1.0) if dark else (0.0, 0.85)
    return [to_hex(colormaps["viridis"](low + (high - low) * i / (count - 1))) for i in range(count)]
