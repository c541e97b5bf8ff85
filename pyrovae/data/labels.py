"""Data with few known labels."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from pyrovae import checks
from pyrovae.construction import record_arguments
from pyrovae.data.benchmarks import Digits
from pyrovae.data.dataset import DataSet

__all__ = ["PartlyLabelled"]


class PartlyLabelled(DataSet):
    """A data set in which only a few training images keep their label, equally many of each class.

    Args:
        data: makes the data set.
        num_labels: number of training images that keep their label; the others get -1.
        seed: seed of the choice of these images.

    Raises:
        ValueError: if the data set has no labels, or too few of a class.

    Example:
        >>> data = PartlyLabelled(Digits, num_labels=50)
        >>> int((data.train.labels >= 0).sum()), int((data.test.labels >= 0).sum()) == len(data.test)
        (50, True)
    """

    def __init__(self, data: Callable[[], DataSet] = Digits, num_labels: int = 100, seed: int = 0) -> None:
        whole = checks.make("data", data, DataSet, like="Digits")
        self.__dict__.update(whole.__dict__)
        record_arguments(self)
        labels = whole.train.labels
        if labels is None:
            raise checks.InputError(f"data must have labels, but {type(whole).__name__} has none")
        classes = labels[labels >= 0].unique()
        if len(classes) == 0:
            raise checks.InputError(f"data must have labels, but all of {type(whole).__name__} are unknown")
        share, rest = divmod(checks.integer("num_labels", num_labels), len(classes))
        generator = torch.Generator().manual_seed(checks.seed(seed))
        kept = torch.full_like(labels, -1)
        for i, label in enumerate(classes):
            members = (labels == label).nonzero().flatten()
            count = share + (i < rest)
            if count > len(members):
                raise checks.InputError(
                    f"num_labels must leave no class with more labels than it has images, but class {int(label)} "
                    f"has {len(members)} and {num_labels} were given for {len(classes)} classes"
                )
            chosen = members[torch.randperm(len(members), generator=generator)[:count]]
            kept[chosen] = label
        self.train = copy.copy(whole.train)  # the given data set keeps its own labels
        self.train.labels = kept
