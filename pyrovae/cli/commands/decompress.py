"""``pyrovae decompress``."""

from __future__ import annotations

from typing import Literal

from pyrovae.runs import Run, decompress_run

__all__ = ["decompress"]


def decompress(
    file: str,
    run: str = "runs/vae",
    out: str = "data.npy",
    overwrite: bool = False,
    weights: Literal["best", "last"] = "best",
) -> None:
    """Restore the data that pyrovae compress compressed, bit for bit, as an array.

    Args:
        file: the compressed file.
        run: the folder of the run that they were compressed by.
        out: the .npy file to write.
        overwrite: replace an existing file.
        weights: weights of the best validation ELBO, or of the last epoch, as when they were compressed.
    """
    found = decompress_run(Run(run), file, out, overwrite=overwrite, weights=weights)
    if found is not None:
        print(f"{found.num_data} data of shape {found.data_shape} and type {found.dtype}")
        print(f"written to {out}")
