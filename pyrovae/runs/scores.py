"""Scores of the data of a run: a table with a row a datum, written block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from pyrovae import checks, distributed, matmul
from pyrovae.data import SplitName
from pyrovae.evaluation import Adaptive, Estimator, Importance, score
from pyrovae.matmul import Precision
from pyrovae.programs import Batch
from pyrovae.runs.blocks import Blocks
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.evaluation import check_processes
from pyrovae.runs.folder import Run
from pyrovae.runs.program import caveats_of
from pyrovae.runs.table_file import check_out, write_table

if TYPE_CHECKING:
    import pandas

__all__ = ["Scores", "score_run"]


@dataclass(frozen=True)
class Scores:
    """Scores of data, as they were written to a file.

    Attributes:
        path: path of the file.
        num_data: number of data.
        num_reliable: number of data whose estimate can be trusted by its own diagnostics.
        nll: mean of -log p(x), in nats per datum.
        sentences: caveats, and what tells the data from the run's own.
    """

    path: Path
    num_data: int
    num_reliable: int
    nll: float
    sentences: list[str]


def score_run(
    run: Run,
    out: str | os.PathLike[str],
    estimator: Estimator | None = None,
    *,
    data: DataFactory | None = None,
    split: SplitName = "all",
    num_data: int | None = None,
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
    chunk_size: int | None = None,
    precision: Precision = "float32",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Scores | None:
    """Score each datum by a run's program, and write a table with a row a datum, in the order of the data.

    Its columns are ``row``, the position in the stored data from 0, and those of :func:`pyrovae.evaluation.score`.
    Blocks are sharded over processes; the first writes them. Of up to 10,000 data, they have the seeds that they have
    in :func:`evaluate_run`. Of more, blocks of up to 1,000 small data are made, and every 10,000 rows are kept in a
    folder beside the table, named ``.scores.csv.parts`` for ``scores.csv``, until it is complete: the same command goes
    on after them if it was killed. An ``Adaptive`` estimator takes all data at once.

    Args:
        run: the run.
        out: path of the table: ``.csv``, ``.parquet``, or ``.npy`` for a structured array.
        estimator: ``Importance()`` if not given.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data, from the first; all if not given.
        overwrite: whether an existing file may be replaced.
        weights: weights of the best validation ELBO, or of the last epoch.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        precision: precision of the networks' matrix products.
        device: device to run the program on.
        seed: seed of the samples.

    Returns:
        what was written; None in all processes except the first.

    Raises:
        ValueError: if an option is invalid, or the run and its data cannot be loaded.
    """
    chosen = Importance() if estimator is None else checks.instance("estimator", estimator, Estimator)
    check_processes(chosen)
    path = distributed.on_rank_zero(lambda: check_out(out, overwrite))
    blocks = Blocks.load(run, data=data, split=split, num_data=num_data, weights=weights, device=device, seed=seed)
    program, rows, totals = blocks.program, blocks.part.rows, [0, 0.0]
    at_once = isinstance(chosen, Adaptive)
    parts = None if at_once else blocks.parts(path, kind="scores", estimator=repr(chosen), precision=precision)
    done = distributed.on_rank_zero(lambda: 0 if parts is None else parts.num_blocks)

    def scored(batch: Batch, chunk: int) -> pandas.DataFrame:
        with matmul.precision(precision, blocks.device):
            return score(program.model, program.guide, batch, chosen, chunk_size=chunk)

    def tables() -> Iterator[pandas.DataFrame]:
        size = blocks.count if at_once else blocks.size
        start = done * size
        what = f"{split}, {chosen.label}"
        for table in blocks.map(what, scored, chunk_size=chunk_size, size=size, start=done):
            table.insert(0, "row", rows[start : start + len(table)].numpy())
            start += len(table)
            yield table

    def counted() -> Iterator[pandas.DataFrame]:
        for table in tables() if parts is None else parts.kept(tables()):
            totals[0] += int(table["reliable"].sum())
            totals[1] -= float(table["log_prob"].sum())
            yield table

    if distributed.rank() > 0:
        list(tables())
        return None
    write_table(path, counted(), blocks.count)
    if parts is not None:
        parts.discard()
    sentences = [*caveats_of(program, blocks.dataset), *([] if blocks.other is None else [blocks.other.sentence])]
    return Scores(path, blocks.count, int(totals[0]), totals[1] / blocks.count, sentences)
