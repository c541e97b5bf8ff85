"""``pyrovae sample``, ``report`` and ``data``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pyrovae import checks, figures
from pyrovae.data import Digits, Split
from pyrovae.files import atomic_write
from pyrovae.prediction import generate
from pyrovae.report import write_report
from pyrovae.runs import DataFactory, Run

__all__ = ["data", "report", "sample"]


def sample(run: str, num_samples: int = 64, out: str = "samples.png", noise: bool = False, seed: int = 0) -> None:
    """Draw new images from a run's model, as a picture or as an array.

    Args:
        run: the run's folder.
        num_samples: how many.
        out: a .png file for a picture, or a .npy file for an array (N, ...).
        noise: draw x from p(x|z) instead of taking its mean.
        seed: of the samples.
    """
    path = Path(out)
    checks.choice("out's ending", path.suffix, (".png", ".npy"))
    checks.integer("num_samples", num_samples)
    folder = Run(run)
    program = folder.load_program()
    torch.manual_seed(checks.seed(seed))
    template = folder.described().template(program)
    x = generate(program.model, num_samples, template, noise=noise)
    columns = len(template[1]) if isinstance(template, tuple) else None  # one for each class
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, x.numpy())
    else:
        figures.save(figures.samples(x, columns, noise=noise), path)
    print(f"{num_samples} samples written to {path}")


def report(
    run: str,
    data: DataFactory | None = None,
    latents: tuple[int, int] | Literal["pca"] | None = None,
    num_data: int = 400,
    seed: int = 0,
) -> None:
    """Draw a run's pictures and write its page, report.html, which needs no network and no other file.

    Args:
        run: the run's folder.
        data: where the run's data are now, if not where they were; or other data.
        latents: the plane of codes to explore: two latents by their numbers from 0, such as [0,1], or pca for the first
            two principal directions of the codes; if not given, the latents where there are two, else pca.
        num_data: test images in the gallery, at most.
        seed: of the samples that are drawn.
    """
    page = write_report(run, data=data, latents=latents, num_data=num_data, seed=checks.seed(seed))
    print(f"the page is {page}")


def data(data: DataFactory = Digits, out: str | None = None) -> None:
    """Say what a data set holds, and draw some of it.

    Args:
        data: the data set.
        out: a .png file for a picture of training images as the likelihood sees them.
    """
    dataset = data()
    path = None if out is None else Path(out)
    if path is not None:
        checks.choice("out's ending", path.suffix, (".png",))
    print(repr(dataset))
    for name in ("train", "validation", "test"):
        part: Split = getattr(dataset, name)
        x = part[:10_000]
        classes = "no labels"
        if part.labels is not None:
            known = part.labels[part.labels >= 0]
            classes = f"{len(known.unique())} classes"
            classes += f" ({len(known)} images have a label)" if len(known) < len(part) else ""
        print(
            f"  {name:10} {len(part):6} images, {classes}; batches in [{x.min().item():g}, {x.max().item():g}], "
            f"mean {x.mean().item():.4f}"
        )
    if path is not None:
        figures.save(figures.image_grid(dataset.train[:100], columns=10), path, dpi=120)
        print(f"picture written to {path}")
