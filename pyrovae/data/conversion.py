"""Data sets of arrays, data frames, lists and torch's data sets."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from pyrovae import checks, progress
from pyrovae.data.dataset import DataSet
from pyrovae.programs import PyroFunction, uses_labels
from pyrovae.tensors import as_tensor, is_data, parts_of_dataset

__all__ = ["as_data_set"]


def as_data_set(data: Any, *programs: PyroFunction) -> DataSet:
    """Return a data set as it is, or make one of an array, a tuple (x, y), a data frame, a list or torch's data set.

    It is split as :class:`DataSet` splits by default: a tenth for validation and a tenth for the test. A note says so.

    Args:
        data: the data.
        programs: programs that the data are for; if none takes labels, those of torch's data sets are left out.

    Raises:
        ValueError: if it is none of these.

    Example:
        >>> as_data_set([[0.0, 1.5]] * 30)
        DataSet(train=24, validation=3, test=3, data_shape=(2,), kind='discrete')
    """
    if isinstance(data, DataSet):
        return data
    if not is_data(data):
        raise checks.InputError(
            "data must be a DataSet, a tensor, an array, a data frame, a list of numbers or a torch Dataset, but a "
            f"{type(data).__name__} was given"
        )
    parts = parts_of_dataset("data", data) if isinstance(data, Dataset) else data
    given = parts if isinstance(parts, tuple) else (parts,)
    if isinstance(data, Dataset) and all(uses_labels(program) == "no" for program in programs):
        given = given[:1]
    x, *labels = given
    made = DataSet(as_tensor("data", x), *(as_tensor("labels", y) for y in labels[:1]))
    progress.note(f"the data are split: {made!r}")
    return made
