"""Imputed data of a run: a row a datum, written block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pyrovae import checks, distributed, matmul
from pyrovae.data import SplitName
from pyrovae.evaluation import Estimator, Importance, impute
from pyrovae.matmul import Precision
from pyrovae.programs import Batch, schema_of
from pyrovae.runs.blocks import Blocks
from pyrovae.runs.codes import code_names
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.table_file import check_out, write_matrix

if TYPE_CHECKING:
    import pandas

__all__ = ["Imputations", "impute_run"]

_MISSING, _RELIABLE = "number missing", "is reliable"  # columns that are counted and not written


@dataclass(frozen=True)
class Imputations:
    """Imputed data, as they were written to a file.

    Attributes:
        path: path of the file.
        num_data: number of data.
        num_missing: number of values that were missing.
        num_reliable: number of data that are complete, or whose weights are reliable.
        sentences: what tells the data from the run's own.
    """

    path: Path
    num_data: int
    num_missing: int
    num_reliable: int
    sentences: list[str]


def impute_run(
    run: Run,
    out: str | os.PathLike[str],
    estimator: Estimator | None = None,
    *,
    data: DataFactory | None = None,
    split: SplitName = "all",
    num_data: int | None = None,
    scales: bool = False,
    num_imputations: int = 0,
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
    precision: Precision = "float32",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Imputations | None:
    """Impute data by a run's program, and write them with the missing values filled, in the order of the data.

    A ``.npy`` file holds ``(N, *data_shape)`` numbers, ``(N, S, *data_shape)`` for S imputations, or with standard
    deviations ``(N, 2, *data_shape)``. A ``.csv`` or ``.parquet`` file has the columns ``row``, the position in the
    stored data from 0, for imputations ``draw``, and ``x0`` and so on, or those of a table, with the names of
    categories (``row_`` and ``draw_`` if a column has that name). Blocks have seeds of their own and are sharded over
    processes; the first writes them. A long table that was begun goes on, as in :func:`score_run`.

    Args:
        run: the run.
        out: path of the file: ``.npy``, ``.csv`` or ``.parquet``.
        estimator: ``Importance()`` if not given.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data, from the first; all if not given.
        scales: whether columns with the standard deviations, 0 for observed values, follow those with the means.
        num_imputations: number S of draws of each datum to write instead of the means; 0 for the means.
        overwrite: whether an existing file may be replaced.
        weights: weights of the best validation ELBO, or of the last epoch.
        precision: precision of the networks' matrix products.
        device: device to run the program on.
        seed: seed of the samples.

    Returns:
        what was written; None in all processes except the first.

    Raises:
        ValueError: if an option is invalid, or the run and its data cannot be loaded.
    """
    checks.integer("num_imputations", num_imputations, minimum=0)
    if scales and num_imputations:
        raise checks.InputError("scales must be false where imputations are written, but num_imputations is given too")
    chosen = Importance() if estimator is None else checks.instance("estimator", estimator, Estimator)
    path = distributed.on_rank_zero(lambda: check_out(out, overwrite))
    blocks = Blocks.load(run, data=data, split=split, num_data=num_data, weights=weights, device=device, seed=seed)
    program, rows, totals = blocks.program, blocks.part.rows.numpy(), [0, 0]

    def imputed(batch: Batch, chunk: int) -> dict[str, Tensor]:
        with matmul.precision(precision, blocks.device):
            found = impute(
                program.model,
                program.guide,
                batch,
                chosen,
                num_imputations=num_imputations,
                num_draws=max(200, num_imputations),
                chunk_size=chunk,
                progress=False,
            )
        counts = {_MISSING: found.missing.flatten(1).sum(1), _RELIABLE: found.reliable}  # (b,)
        if num_imputations:
            return {"values": found.imputations.movedim(1, 0).flatten(2), **counts}  # (b, S, P)
        values = (found.mean, found.standard_deviation) if scales else (found.mean,)
        return {"values": torch.cat([part.flatten(1) for part in values], 1)[:, None], **counts}

    shape, schema = blocks.dataset.data_shape, schema_of(program.model)
    columns = code_names({"x": shape}) if schema is None else schema.names
    names = columns + ([_free(f"{name}_scale", columns) for name in columns] if scales else [])
    row, draw = (_free(name, names) for name in ("row", "draw"))
    parts = blocks.parts(
        path, kind="imputed", scales=scales, draws=num_imputations, estimator=repr(chosen), precision=precision
    )
    done = distributed.on_rank_zero(lambda: 0 if parts is None else parts.num_blocks)

    def tables() -> Iterator[pandas.DataFrame]:
        import pandas

        start = done * blocks.size
        for found in blocks.map(f"{split}, imputation", imputed, size=blocks.size, start=done):
            values = found["values"]
            b, S = values.shape[:2]
            table = pandas.DataFrame(values.flatten(0, 1).numpy(), columns=names)
            if num_imputations:
                table.insert(0, draw, torch.arange(S).repeat(b).numpy())
            table.insert(0, row, rows[start : start + b].repeat(S))
            for name in (_MISSING, _RELIABLE):
                table[name] = found[name].repeat_interleave(S).numpy()
            start += b
            yield table

    def counted() -> Iterator[pandas.DataFrame]:
        for table in tables() if parts is None else parts.kept(tables()):
            for i, name in enumerate((_MISSING, _RELIABLE)):
                totals[i] += int(table[name].sum()) // max(1, num_imputations)
            shown = table.drop(columns=[_MISSING, _RELIABLE]).reset_index(drop=True)
            if schema is not None and path.suffix != ".npy":
                named = schema.to_frame(
                    shown[columns].to_numpy()
                )  # numbers stay as they are, of one type in all blocks
                shown = shown.assign(**{column.name: named[column.name] for column in schema.columns if column.levels})
            yield shown

    if distributed.rank() > 0:
        list(tables())
        return None
    lead = (blocks.count, num_imputations) if num_imputations else (blocks.count,)
    index = [row, draw] if num_imputations else [row]
    write_matrix(path, counted(), lead, index, (2, *shape) if scales else shape)
    if parts is not None:
        parts.discard()
    return Imputations(
        path, blocks.count, totals[0], totals[1], [] if blocks.other is None else [blocks.other.sentence]
    )


def _free(name: str, taken: list[str]) -> str:
    """Return a name with as many underscores after it as make it differ from others."""
    while name in taken:
        name += "_"
    return name
