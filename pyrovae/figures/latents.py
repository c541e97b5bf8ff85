"""The picture of latents: where the encoder puts the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae.figures.base import COLOURS, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["latent_map"]


def latent_map(codes: Tensor, labels: Tensor | None) -> Figure:
    """Draw the means of q(z|x) as a map, coloured by label: as they are in 2-D, else their first principal components.

    Args:
        codes: ``(N, D)``.
        labels: ``(N,)`` integers, or None.
    """
    figure = blank(6.4, 5.4)
    axes = figure.subplots()
    points, shares = codes.detach().cpu().numpy().astype(np.float64), None
    if points.shape[1] == 1:
        points = np.c_[points, np.zeros(len(points))]
    elif points.shape[1] > 2:
        from sklearn.decomposition import PCA

        pca = PCA(2, svd_solver="full").fit(points)
        points, shares = pca.transform(points), pca.explained_variance_ratio_
    size = float(np.clip(4000 / len(points), 2, 20))
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, color=COLOURS[0], linewidths=0)
    else:
        from matplotlib import colormaps

        classes = labels.cpu().numpy()
        names = np.unique(classes)
        colours = COLOURS if len(names) <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 1, len(names)))
        for name, colour in zip(names, colours, strict=False):
            members = points[classes == name]
            axes.scatter(members[:, 0], members[:, 1], s=size, color=colour, linewidths=0, label=str(name))
        if len(names) <= 20:
            axes.legend(
                title="class", frameon=False, markerscale=(30 / size) ** 0.5, loc="center left", bbox_to_anchor=(1, 0.5)
            )
    axes.set_title("means of q(z|x)")
    if shares is None:
        axes.set(xlabel="$z_1$", ylabel="$z_2$")
    else:
        axes.set(xlabel=f"principal component 1 ({shares[0]:.0%})", ylabel=f"principal component 2 ({shares[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")
    return figure
