"""Codes of the data of a run: a row a datum, written block by block."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pyrovae import checks, distributed
from pyrovae.data import SplitName
from pyrovae.prediction import encode, posterior_scales, sample_posterior
from pyrovae.programs import Batch
from pyrovae.runs.blocks import Blocks
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.table_file import check_out, write_matrix

if TYPE_CHECKING:
    import pandas

__all__ = ["Codes", "code_names", "encode_run"]


@dataclass(frozen=True)
class Codes:
    """Codes of data, as they were written to a file.

    Attributes:
        path: path of the file.
        num_data: number of data.
        names: names of the columns, those that number the rows of a CSV file left out.
        sentences: what tells the data from the run's own.
    """

    path: Path
    num_data: int
    names: list[str]
    sentences: list[str]


def encode_run(
    run: Run,
    out: str | os.PathLike[str],
    *,
    data: DataFactory | None = None,
    split: SplitName = "all",
    num_data: int | None = None,
    scales: bool = False,
    num_draws: int = 0,
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Codes | None:
    """Encode data by a run's program, and write the means of q(z|x), or samples of it, in the order of the data.

    A ``.npy`` file holds ``(N, C)`` numbers, or ``(N, S, C)`` for S samples. A ``.csv`` or ``.parquet`` file has the
    columns ``row``, the position in the stored data from 0, for samples ``draw``, and those of
    :func:`code_names`. Blocks have seeds of their own and are sharded over processes; the first writes them. A long
    table that was begun goes on, as in :func:`score_run`.

    Args:
        run: the run.
        out: path of the file: ``.npy``, ``.csv`` or ``.parquet``.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data, from the first; all if not given.
        scales: whether columns with the standard deviations follow those with the means.
        num_draws: number S of samples of each datum to write instead of the means; 0 for the means.
        overwrite: whether an existing file may be replaced.
        weights: weights of the best validation ELBO, or of the last epoch.
        device: device to run the program on.
        seed: seed of the samples.

    Returns:
        what was written; None in all processes except the first.

    Raises:
        ValueError: if an option is invalid, or the run and its data cannot be loaded.
    """
    checks.integer("num_draws", num_draws, minimum=0)
    if scales and num_draws:
        raise checks.InputError("scales must be false where samples are written, but num_draws is given too")
    path = distributed.on_rank_zero(lambda: check_out(out, overwrite))
    blocks = Blocks.load(run, data=data, split=split, num_data=num_data, weights=weights, device=device, seed=seed)
    guide, rows, names = blocks.program.guide, blocks.part.rows.numpy(), list[str]()
    parts = blocks.parts(path, kind="codes", scales=scales, num_draws=num_draws)
    done = distributed.on_rank_zero(lambda: 0 if parts is None else parts.num_blocks)

    def coded(batch: Batch, _: int) -> dict[str, Tensor]:
        if num_draws:
            return sample_posterior(guide, batch, num_draws)
        scale = posterior_scales(guide, batch) if scales else {}
        return {**encode(guide, batch), **{f"{site} scale": z for site, z in scale.items()}}

    def tables() -> Iterator[pandas.DataFrame]:
        start = done * blocks.size
        for codes in blocks.map(f"{split}, codes", coded, size=blocks.size, start=done):
            table = _table(codes, num_draws)
            of_block = rows[start : start + len(table) // max(1, num_draws)]
            start += len(of_block)
            table.insert(0, "row", of_block.repeat(max(1, num_draws)))
            yield table

    if distributed.rank() > 0:
        list(tables())
        return None

    def named() -> Iterator[pandas.DataFrame]:
        for table in tables() if parts is None else parts.kept(tables()):
            names[:] = [name for name in table.columns if name not in ("row", "draw")]
            yield table

    shape = (blocks.count, num_draws) if num_draws else (blocks.count,)
    write_matrix(path, named(), shape, ["row", "draw"] if num_draws else ["row"])
    if parts is not None:
        parts.discard()
    return Codes(path, blocks.count, names, [] if blocks.other is None else [blocks.other.sentence])


def code_names(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Return the names of columns of codes: those of the sites, with the position within each.

    Args:
        shapes: shape of the code of one datum by site.

    Example:
        >>> code_names({"z": (3,)}), code_names({"z1": (2,), "z2": (1,)}), code_names({"z": (), "w": (2, 1)})
        (['z0', 'z1', 'z2'], ['z1_0', 'z1_1', 'z2_0'], ['z', 'w_0_0', 'w_1_0'])
    """
    names = []
    for site, shape in shapes.items():
        plain = len(shapes) == 1 and len(shape) == 1 and not site[-1].isdigit()
        for i in range(math.prod(shape)):
            position = torch.unravel_index(torch.tensor(i), shape) if shape else ()
            names.append(f"{site}{i}" if plain else "_".join([site, *(str(int(at)) for at in position)]))
    return names


def _table(codes: dict[str, Tensor], num_draws: int) -> pandas.DataFrame:
    """Return codes of some data as a table with a row a datum, or a row a sample."""
    import pandas

    dims = 2 if num_draws else 1
    means = {site: z for site, z in codes.items() if not site.endswith(" scale")}
    names = code_names({site: tuple(z.shape[dims:]) for site, z in means.items()})
    if len(codes) > len(means):
        names += [f"{name}_scale" for name in names]
    flat = torch.cat([z.reshape(*z.shape[:dims], -1).flatten(0, dims - 1) for z in codes.values()], 1)
    table = pandas.DataFrame(flat.numpy(), columns=names)
    if num_draws:
        table.insert(0, "draw", torch.arange(num_draws).repeat(len(table) // num_draws).numpy())
    return table
