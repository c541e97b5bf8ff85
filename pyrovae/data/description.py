"""Description of a data set in a few lines."""

from __future__ import annotations

from pyrovae.data.dataset import DataSet
from pyrovae.data.split import Split
from pyrovae.missing import is_missing

__all__ = ["describe"]

_READ = 10_000  # number of data of each split whose range and mean are computed


def describe(data: DataSet) -> str:
    """Describe a data set: its representation, and a line with size, classes and values of each split.

    Range and mean are those of the first 10,000 data of a split, as batches have them.

    Args:
        data: the data set.

    Example:
        >>> print(describe(Digits()).splitlines()[1].partition(";")[0])
          train        1437 data, 10 classes
    """
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return "\n".join([repr(data), *(_line(name, split) for name, split in splits.items())])


def _line(name: str, split: Split) -> str:
    if len(split) == 0:
        return f"  {name:10}      0 data"
    x, classes, gaps = split[:_READ], "no labels", ""
    if split.has_missing:
        gaps = f", {is_missing(x).double().mean().item():.1%} of the values missing"
        x = x[~is_missing(x)]
    if split.labels is not None:
        known = split.labels[split.labels >= 0]
        classes = f"{len(known.unique())} classes"
        classes += f" ({len(known)} data have a label)" if len(known) < len(split) else ""
    return (
        f"  {name:10} {len(split):6} data, {classes}; batches in [{x.min().item():g}, {x.max().item():g}], "
        f"mean {x.mean().item():.4f}{gaps}"
    )
