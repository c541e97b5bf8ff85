"""``pyrovae sample``."""

from __future__ import annotations

from pyrovae.runs import Run, sample_run

__all__ = ["sample"]


def sample(run: str, num_samples: int = 64, out: str = "samples.png", noise: bool = False, seed: int = 0) -> None:
    """Draw new data from a run's model, as a picture, as an array or as a table.

    Args:
        run: the run's folder.
        num_samples: number of data.
        out: a .png file for a picture, a .npy file for an array (N, ...), or for a table a .csv or .parquet file.
        noise: draw x from p(x|z) instead of its mean.
        seed: seed of the samples.
    """
    path = sample_run(Run(run), out, num_samples=num_samples, noise=noise, seed=seed)
    print(f"{num_samples} samples written to {path}")
