"""``pyrovae encode``."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.commands.device import device_named
from pyrovae.data import SplitName
from pyrovae.runs import DataFactory, Run, encode_run

__all__ = ["encode"]


def encode(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "all",
    out: str = "codes.npy",
    overwrite: bool = False,
    scales: bool = False,
    num_draws: int = 0,
    num_data: int | None = None,
    weights: Literal["best", "last"] = "best",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Write the codes of data, the means of q(z|x), a row a datum in the file's order.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        out: a .npy file for an array, or a .csv or .parquet file with names.
        overwrite: replace an existing file.
        scales: also write the standard deviations of q(z|x).
        num_draws: number of samples of q(z|x) for each datum to write instead of the means.
        num_data: number of data, from the first; all if not given.
        weights: weights of the best validation ELBO, or of the last epoch.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    found = encode_run(
        Run(run),
        out,
        data=data,
        split=split,
        num_data=num_data,
        scales=scales,
        num_draws=num_draws,
        overwrite=overwrite,
        weights=weights,
        device=device_named(device),
        seed=seed,
    )
    if found is not None:
        names = found.names if len(found.names) <= 6 else [*found.names[:3], "...", found.names[-1]]
        print(f"codes of {found.num_data} data: {', '.join(names)}")
        for sentence in found.sentences:
            print(f"  {sentence}")
        print(f"written to {found.path}")
