"""Record of a run's data: their shape and kind, and the size and hash of each split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pyrovae import checks
from pyrovae.columns import Schema
from pyrovae.data import DataSet
from pyrovae.files import write_text
from pyrovae.programs import Batch, uses_labels
from pyrovae.runs.json_fields import COUNT, FLAG, REAL, TEXT, Each, Fields, check_fields, optional, or_null

__all__ = ["DataRecord"]

_FORMAT = 1
_SPLITS = ("train", "validation", "test")
_COLUMN: Fields = {
    "name": TEXT,
    "kind": TEXT,
    "categories": Each(list, TEXT),
    **dict.fromkeys(("mean", "std", "log_mean", "log_std"), REAL),
    "gaps": FLAG,
}
_FIELDS: Fields = {
    "format": COUNT,
    **dict.fromkeys(("name", "kind", "binarization"), TEXT),
    "data_shape": Each(list, COUNT),
    "dequantize": FLAG,
    **dict.fromkeys(("levels", "observed_levels"), or_null(COUNT)),
    "classes": optional(Each(list, COUNT)),
    "sizes": dict.fromkeys(_SPLITS, COUNT),
    "hashes": dict.fromkeys(_SPLITS, TEXT),
    "schema": optional({"columns": Each(list, _COLUMN), "label": optional(_COLUMN)}),
}


@dataclass(frozen=True)
class DataRecord:
    """A description of a data set, enough to recognise it, and to use a program without its data.

    Attributes:
        name: name of the data set's class.
        data_shape: shape of one datum.
        kind: see :attr:`DataSet.kind`.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        levels: number of grey levels, or None.
        observed_levels: number of grey levels in a batch, or None.
        classes: distinct labels of the test data, or None if labels are missing or partly unknown.
        sizes: number of data by split.
        hashes: hash by split, see :meth:`Split.hash`.
        schema: columns of a table, else None.

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
    schema: Schema | None = None

    @classmethod
    def of(cls, data: DataSet) -> DataRecord:
        """Describe a data set; of a memory map, only parts are read."""
        splits = {name: getattr(data, name) for name in _SPLITS}
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
            schema=getattr(data, "schema", None),
        )

    @classmethod
    def read(cls, path: Path) -> DataRecord | None:
        """Read a record; return None for older runs, which have none.

        Raises:
            ValueError: if it cannot be read, or has another format.
        """
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            check_fields(stored, _FIELDS)
            if stored.pop("format") != _FORMAT:
                raise ValueError(f"it is not of format {_FORMAT}")
            if stored.get("schema") is not None:
                stored["schema"] = Schema.from_dict(stored["schema"])
            return cls(**{**stored, "data_shape": checks.shape("data_shape", stored["data_shape"])})
        except (OSError, RecursionError, TypeError, ValueError) as error:
            raise checks.InputError(f"{path} must describe the run's data: {checks.reason(error)}") from error

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        write_text(path, json.dumps({"format": _FORMAT, **asdict(self)}, indent=2))

    def difference(self, other: DataRecord) -> str | None:
        """Describe how other data differ from these; None if they are the same."""
        if other.data_shape != self.data_shape:
            return f"their shape is {other.data_shape}, and was {self.data_shape}"
        for name, size in self.sizes.items():
            if other.sizes.get(name) != size:
                return f"there are {other.sizes.get(name)} {name} data, and were {size}"
        for name, digest in self.hashes.items():
            if other.hashes.get(name) != digest:
                return f"the {name} data have other values, labels or places in the split"
        return None

    def mismatch(self, other: DataRecord) -> str | None:
        """Describe why a program for these data cannot be used on others: shape, kind or levels; None if it can.

        Values that are used as stored may be more special than these: counts where these are real numbers.
        """
        if other.data_shape != self.data_shape:
            return f"their shape is {other.data_shape}, and was {self.data_shape}"
        if self.schema is not None and other.schema is not None:
            return None  # read by the columns of these
        stored = ("binary", "counts", "discrete", "real")
        if self.kind in stored[1:] and other.kind in stored[: stored.index(self.kind) + 1]:
            return None
        if other.kind == self.kind and (self.kind == "binary" or other.levels == self.levels):
            return None
        return (
            f"they are {other._values}, and were {self._values} (options of the data set say how it is read: "
            "binarization, dequantize and levels)"
        )

    @property
    def _values(self) -> str:
        """Kind and levels, in words."""
        if self.kind in ("dequantized", "scaled"):
            return f"{self.kind} from {self.levels} levels"
        return {"real": "real numbers", "discrete": "discrete numbers"}.get(self.kind, self.kind)

    def template(self, program: Any) -> Batch:
        """Return a template of new data: one x, and all classes if the program always takes labels.

        Raises:
            ValueError: if the program always takes labels, and the classes are unknown.
        """
        x = torch.zeros(1, *self.data_shape)
        if uses_labels(program.model) != "always":
            return x
        if self.classes is None:
            raise checks.InputError("data must have the labels that the program needs, but some data have none")
        return x, torch.tensor(self.classes)
