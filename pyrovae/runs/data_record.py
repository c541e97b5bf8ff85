"""What a run keeps of its data: their shape and kind, and how many they are and a hash of each split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.files import write_text
from pyrovae.programs import Batch, uses_labels

__all__ = ["DataRecord"]

_FORMAT = 1


@dataclass(frozen=True)
class DataRecord:
    """Describe a data set: enough to know it again, and to do without it what needs no data.

    Attributes:
        name: of its class.
        data_shape: of one datum.
        kind: see :attr:`DataSet.kind`.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        levels: number of grey levels, or None.
        observed_levels: number of grey levels that a batch has, or None.
        classes: labels of the test data, each once, or None if they have none or some are unknown.
        sizes: number of data, by split.
        hashes: see :meth:`Split.hash`, by split.

    Example:
        >>> from pyrovae import Digits
        >>> record = DataRecord.of(Digits())
        >>> record.sizes["test"], record.difference(DataRecord.of(Digits(seed=1)))
        (180, 'the train data have other values, labels or places in the split')
    """

    name: str
    data_shape: tuple[int, ...]
    kind: str
    binarization: str
    dequantize: bool
    levels: int | None
    observed_levels: int | None
    classes: list[int] | None
    sizes: dict[str, int]
    hashes: dict[str, str]

    @classmethod
    def of(cls, data: DataSet) -> DataRecord:
        """Describe a data set; of a memory map only parts are read."""
        splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
        labels = data.test.labels
        known = labels is not None and bool((labels >= 0).all())
        return cls(
            name=type(data).__name__,
            data_shape=data.data_shape,
            kind=data.kind,
            binarization=data.binarization,
            dequantize=data.dequantize,
            levels=data.levels,
            observed_levels=data.observed_levels,
            classes=labels.unique().tolist() if known and labels is not None else None,
            sizes={name: len(split) for name, split in splits.items()},
            hashes={name: split.hash() for name, split in splits.items()},
        )

    @classmethod
    def read(cls, path: Path) -> DataRecord | None:
        """Read a record, or None where there is none, as older runs have none.

        Raises:
            ValueError: if it cannot be read, or is of another format.
        """
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told.pop("format") != _FORMAT:
                raise ValueError(f"it is not of format {_FORMAT}")
            return cls(**{**told, "data_shape": checks.shape("data_shape", told["data_shape"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise checks.InputError(f"{path} must describe the run's data: {checks.reason(error)}") from error

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        write_text(path, json.dumps({"format": _FORMAT, **asdict(self)}, indent=2))

    def difference(self, other: DataRecord) -> str | None:
        """Say in what other data differ from these, which makes them others; None if in nothing."""
        if other.data_shape != self.data_shape:
            return f"their shape is {other.data_shape}, and was {self.data_shape}"
        for name, size in self.sizes.items():
            if other.sizes.get(name) != size:
                return f"there are {other.sizes.get(name)} {name} data, and were {size}"
        for name, digest in self.hashes.items():
            if other.hashes.get(name) != digest:
                return f"the {name} data have other values, labels or places in the split"
        return None

    def template(self, program: Any) -> Batch:
        """Return what new data are to be like: one x, with each of the classes if the program always takes labels.

        Raises:
            ValueError: if it does, and the classes are not known.
        """
        x = torch.zeros(1, *self.data_shape)
        if uses_labels(program.model) != "always":
            return x
        if self.classes is None:
            raise checks.InputError("data must have the labels that the program needs, but some images have none")
        return x, torch.tensor(self.classes)
