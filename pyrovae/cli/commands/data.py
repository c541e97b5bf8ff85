"""``pyrovae data``."""

from __future__ import annotations

from pathlib import Path

from pyrovae import checks, figures
from pyrovae.data import Digits, Split
from pyrovae.runs import DataFactory

__all__ = ["data"]


def data(data: DataFactory = Digits, out: str | None = None) -> None:
    """Describe a data set, and draw some of it.

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
        if len(part) == 0:
            print(f"  {name:10}      0 data")
            continue
        x = part[:10_000]
        classes = "no labels"
        if part.labels is not None:
            known = part.labels[part.labels >= 0]
            classes = f"{len(known.unique())} classes"
            classes += f" ({len(known)} data have a label)" if len(known) < len(part) else ""
        print(
            f"  {name:10} {len(part):6} data, {classes}; batches in [{x.min().item():g}, {x.max().item():g}], "
            f"mean {x.mean().item():.4f}"
        )
    if path is not None:
        figures.save(figures.image_grid(dataset.train[:100], columns=10), path, dpi=120)
        print(f"picture written to {path}")
