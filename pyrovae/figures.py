"""Pictures: arrays in, a matplotlib ``Figure`` out, no global state of matplotlib touched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae import checks
from pyrovae.training import History

__all__ = ["image_grid", "latent_map", "manifold", "reconstructions", "samples", "training_curves"]

# Okabe & Ito's colours, which the colour-blind can tell apart, and three that keep clear of them.
_COLOURS = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999933",
    "#882255",
    "#000000",
    "#999999",
]


def training_curves(history: History) -> Figure:
    """Draw ELBO, reconstruction and KL by epoch, training and validation, in nats per datum.

    Args:
        history: the epochs' figures.
    """
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    epochs = [row.epoch for row in history.epochs]
    titles = {"elbo": "ELBO", "reconstruction": "reconstruction, E log p(x|z)", "kl": "KL(q(z|x) ‖ p(z))"}
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for part, colour in (("train", _COLOURS[0]), ("validation", _COLOURS[1])):
            values = [getattr(row, f"{part}_{name}") for row in history.epochs]
            axes.plot(epochs, values, color=colour, label=part, marker="o" if len(epochs) < 15 else None, markersize=3)
        axes.set(title=title, xlabel="epoch", ylabel="nats per datum")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if name == "elbo" and len(epochs) > 3:
            _skip_the_first(
                axes, [row.train_elbo for row in history.epochs] + [row.validation_elbo for row in history.epochs]
            )
    figure.axes[0].legend(frameon=False)
    return figure


def reconstructions(x: Tensor, means: Tensor) -> Figure:
    """Draw data above, their reconstructions below.

    Args:
        x: data, ``(B, *data_shape)``.
        means: reconstructions, likewise.
    """
    if x.shape != means.shape:
        raise checks.InputError(f"x and means must have one shape, but have {tuple(x.shape)} and {tuple(means.shape)}")
    per_row = min(10, len(x))
    blank = torch.full_like(x[:1], 0.5).expand(-len(x) % per_row, *x.shape[1:])  # fills the last row
    x, means = torch.cat((x, blank)), torch.cat((means, blank))
    rows = [part for pair in zip(x.split(per_row), means.split(per_row), strict=True) for part in pair]
    figure = image_grid(torch.cat(rows), columns=per_row)
    figure.axes[0].set_title("data (upper rows) and reconstructions (lower rows)", fontsize=10)
    return figure


def samples(x: Tensor, columns: int | None = None, *, noise: bool = False) -> Figure:
    """Draw new data, in a square or in so many columns.

    Args:
        x: ``(N, *data_shape)``.
        columns: images in a row.
        noise: whether they are draws from p(x|z), and not its means.
    """
    figure = image_grid(x, columns=math.ceil(math.sqrt(len(x))) if columns is None else columns)
    figure.axes[0].set_title(f"samples from the prior ({'draws from' if noise else 'means of'} p(x|z))", fontsize=10)
    return figure


def manifold(means: Tensor, columns: int) -> Figure:
    """Draw the decoder's image of a grid of codes, the first coordinate to the right, the second upwards.

    Args:
        means: ``(columns * columns, *data_shape)``, the second coordinate's rows from bottom to top.
        columns: codes in a row.
    """
    rows = means.unflatten(0, (-1, columns)).flip(0).flatten(0, 1)
    figure = image_grid(rows, columns, padding=0)
    figure.axes[0].set_title("the decoder at evenly spaced percentiles of the prior", fontsize=10)
    return figure


def latent_map(codes: Tensor, labels: Tensor | None) -> Figure:
    """Draw the means of q(z|x) as a map, coloured by label: as they are in 2-D, else their first principal components.

    Args:
        codes: ``(N, D)``.
        labels: ``(N,)`` integers, or None.
    """
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
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
        axes.scatter(points[:, 0], points[:, 1], s=size, color=_COLOURS[0], linewidths=0)
    else:
        classes = labels.cpu().numpy()
        names = np.unique(classes)
        colours = (
            _COLOURS if len(names) <= len(_COLOURS) else matplotlib.colormaps["viridis"](np.linspace(0, 1, len(names)))
        )
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


def image_grid(x: Tensor, columns: int, padding: int = 1) -> Figure:
    """Draw data as images in a grid; vectors are drawn as squares where they can be, else as rows.

    Args:
        x: ``(N, *data_shape)``.
        columns: images in a row.
        padding: pixels between images.
    """
    from torchvision.utils import make_grid

    images = _as_images(x.detach().cpu().float())  # (N, C, H, W)
    if float(images.min()) < 0 or float(images.max()) > 1:
        low, high = images.min(), images.max()
        images = (images - low) / (high - low).clamp(min=1e-12)
    grid = make_grid(images, columns, padding, pad_value=0.5).permute(1, 2, 0).numpy()  # (H, W, 3)
    height, width = grid.shape[:2]
    inches = min(10.0, max(6.0, width / 40))
    figure = Figure(figsize=(inches, max(1.0, inches * height / width) + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def _as_images(x: Tensor) -> Tensor:
    shape: Sequence[int] = x.shape[1:]
    if len(shape) == 3 and shape[0] in (1, 3):
        return x
    if len(shape) == 2:
        return x[:, None]
    flat = x.flatten(1)  # (N, n)
    side = math.isqrt(flat.shape[1])
    return flat.reshape(len(x), 1, side, side) if side * side == flat.shape[1] else flat[:, None, None]


def _skip_the_first(axes: Axes, values: list[float]) -> None:
    """Let the vertical axis leave out the steep beginning, so that what comes after can be read."""
    low, high = float(np.quantile(values, 0.08)), max(values)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.05 * (high - low) + 1e-9)
