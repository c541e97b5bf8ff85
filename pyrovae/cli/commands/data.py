"""``pyrovae data``."""

from __future__ import annotations

from pathlib import Path

from pyrovae import checks, figures
from pyrovae.data import Digits, describe
from pyrovae.runs import DataFactory

__all__ = ["data"]


def data(data: DataFactory = Digits, out: str | None = None) -> None:
    """Describe a data set, and draw some of it.

    Args:
        data: the data set.
        out: a .png file for a picture of training images as the likelihood sees them.
    """
    path = None if out is None else Path(out)
    if path is not None:
        checks.choice("out's ending", path.suffix, (".png",))
    dataset = data()
    print(describe(dataset))
    if path is not None:
        figures.save(figures.image_grid(dataset.train[:100], columns=10), path, dpi=120)
        print(f"picture written to {path}")
