"""``pyrovae compress``."""

from __future__ import annotations

from typing import Literal

from pyrovae.data import SplitName
from pyrovae.runs import DataFactory, Run, compress_run

__all__ = ["compress"]


def compress(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "all",
    out: str = "data.pyrovae",
    overwrite: bool = False,
    num_particles: int = 1,
    latent_bits: int = 14,
    num_chunks: int | None = None,
    verify: bool = True,
    num_data: int | None = None,
    weights: Literal["best", "last"] = "best",
) -> None:
    """Compress discrete data without loss, in about as many bits as the ELBO, or log p(x), promises.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        out: the file to write.
        overwrite: replace an existing file.
        num_particles: number of particles; with more, the length goes from the ELBO to log p(x).
        latent_bits: binary logarithm of the number of bins of each latent.
        num_chunks: number of parts that are coded apart, for several processes to share; one for each if not given.
        verify: decode the result before it is written, and compare.
        num_data: number of data, from the first; all if not given.
        weights: weights of the best validation ELBO, or of the last epoch.
    """
    found = compress_run(
        Run(run),
        out,
        data=data,
        split=split,
        num_data=num_data,
        num_particles=num_particles,
        latent_bits=latent_bits,
        num_chunks=num_chunks,
        verify=verify,
        overwrite=overwrite,
        weights=weights,
    )
    if found is not None:
        print(f"{found.num_data} data: {found.line}")
        for sentence in found.sentences:
            print(f"  {sentence}")
        print(f"written to {found.path}")
