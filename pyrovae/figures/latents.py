"""Maps of codes: means of q(z|x), coloured by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.figures.base import COLOURS, array, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_classes", "latent_map", "latent_maps"]


def latent_map(codes: Tensor, labels: Tensor | None) -> Figure:
    """Draw a map of the means of q(z|x), coloured by label; for more than two dimensions, of principal components.

    Args:
        codes: codes, ``(N, D)``.
        labels: classes, ``(N,)`` integers, or None.

    Raises:
        InputError: if there is only one datum, and its code has more than two dimensions.
    """
    if len(codes) < 2 and codes.shape[1] > 2:
        raise checks.InputError("codes must be of 2 data or more to have principal components")
    figure = blank(6.4, 5.4)
    axes = figure.subplots()
    points, shares = array(codes), None
    if points.shape[1] == 1:
        points = np.c_[points, np.zeros(len(points))]
    elif points.shape[1] > 2:
        from sklearn.decomposition import PCA

        pca = PCA(2, svd_solver="full").fit(points)
        points, shares = pca.transform(points), pca.explained_variance_ratio_
    size = float(np.clip(4000 / len(points), 2, 20))
    if 0 < draw_classes(axes, points, labels, size) <= 20:
        scale = (30 / size) ** 0.5
        axes.legend(title="class", frameon=False, markerscale=scale, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("means of q(z|x)")
    if shares is None:
        axes.set(xlabel="$z_1$", ylabel="$z_2$")
    else:
        axes.set(xlabel=f"principal component 1 ({shares[0]:.0%})", ylabel=f"principal component 2 ({shares[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def latent_maps(points: Mapping[str, Tensor], labels: Tensor | None) -> Figure:
    """Draw several maps of the same data beside each other, coloured by label.

    Args:
        points: points by the title of the map, ``(N, 2)`` each.
        labels: classes, ``(N,)`` integers, or None.

    Raises:
        InputError: if there is no map, or one has not two dimensions.
    """
    if not points or any(part.dim() != 2 or part.shape[1] != 2 for part in points.values()):
        raise checks.InputError("points must hold at least one map, each of the shape (N, 2)")
    figure = blank(4.6 * len(points) + 0.8, 4.8)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axes, (title, part) in zip(panels, points.items(), strict=True):
        size = float(np.clip(4000 / len(part), 2, 20))
        draw_classes(axes, array(part), labels, size)
        axes.set_title(title, fontsize=11)
        axes.set_aspect("equal", adjustable="datalim")
    handles, names = panels[0].get_legend_handles_labels()
    if 0 < len(names) <= 20:
        scale = (30 / size) ** 0.5
        figure.legend(handles, names, title="class", frameon=False, markerscale=scale, loc="outside right center")
    return figure


def draw_classes(axes: Axes, points: NDArray[np.float64], labels: Tensor | None, size: float) -> int:
    """Scatter points in the colours of their classes; return the number of classes, 0 without labels.

    Args:
        axes: axes to draw on.
        points: points, ``(N, 2)``.
        labels: classes, ``(N,)`` integers, negative if unknown; or None.
        size: area of a point, in square points.
    """
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, color=COLOURS[0], linewidths=0)
        return 0
    from matplotlib import colormaps

    classes = labels.cpu().numpy()
    unknown = points[classes < 0]
    if len(unknown):
        axes.scatter(unknown[:, 0], unknown[:, 1], s=size, color="#bbbbbb", linewidths=0, label="unknown")
    names = np.unique(classes[classes >= 0])
    colours = COLOURS if len(names) <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 1, len(names)))
    for name, colour in zip(names, colours, strict=False):
        members = points[classes == name]
        axes.scatter(members[:, 0], members[:, 1], s=size, color=colour, linewidths=0, label=str(name))
    return len(names)
